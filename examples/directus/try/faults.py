"""What becomes of rows when something fails, and who sees it. In the order of this file."""

from __future__ import annotations

import time
import uuid

from rows import UNKNOWN, Row, ended, events, insert, logged_since, proof, read
from stack import LATE, NORMAL, Stack, eventually

SECRET = "hunter2-of-the-device"


@proof("the set-up script can be repeated, and mends a field of another type")
def repeated(stack: Stack) -> None:
    field = "/fields/commands/response"
    stack.api("PATCH", field, {"type": "string", "schema": {"max_length": 255}})
    assert stack.api("GET", field)["type"] == "string"
    assert "updated   field response" in stack.set_up()
    assert stack.api("GET", field)["type"] == "text"
    printed = stack.set_up()
    changed = [line for line in printed.splitlines() if not line.startswith(("unchanged", "loaded"))]
    assert changed == [], changed


def insert_past_directus(stack: Stack) -> None:
    """A row that no hook sees; `scheduled` looks at it at the end."""
    stack.scheduled = str(uuid.uuid4())
    with stack.database() as database:
        database.execute(
            "INSERT INTO commands (id, imei, payload, state, expect_response, offline, cancel_requested)"
            " VALUES (?, ?, 'getver', 'pending', 1, 'fail', 0)",
            (stack.scheduled, str(NORMAL)),
        )


@proof("a row that the database refuses does not hold up another, and is given up loudly")
def bad_row(stack: Stack) -> None:
    with stack.database() as database:
        database.execute(
            "CREATE TRIGGER refuse BEFORE UPDATE OF response ON commands"
            " WHEN NEW.response LIKE 'New value 9:%' BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )
    start = len(stack.logged())
    bad = insert(stack, "setparam 9:secret-answer", NORMAL + 2)
    good = insert(stack, "getinfo", NORMAL + 2)
    ended(stack, good, "responded", 10)
    ended(stack, bad, "responded", 30, response=None)
    eventually("the error", lambda: logged_since(stack, start, f"command {bad} does not fit its row"))
    assert not logged_since(stack, start, "secret-answer")
    eventually(
        "nothing is left", lambda: stack.redis.xpending("commands:responses", "directus")["pending"] == 0
    )


@proof("Directus is killed; what happened meanwhile is in the row after its start")
def killed(stack: Stack) -> None:
    key = insert(stack, "getinfo", LATE, response_timeout=20)
    eventually("sent", lambda: events(stack, command_id=key, state="sent"))
    stack.kill_directus()
    eventually("answered", lambda: events(stack, command_id=key, state="responded"))
    stack.start_directus()
    ended(stack, key, "responded", 45)
    ended(stack, insert(stack, "getinfo"), "responded")
    consumers = [one["name"] for one in stack.redis.xinfo_consumers("commands:responses", "directus")]
    assert consumers == ["directus"], consumers


@proof("Redis is away at the insert: the row is sent when it is back")
def redis_away(stack: Stack) -> None:
    start = len(stack.logged())
    stack.wire.cut()
    key = insert(stack, "getinfo")
    for role in ("producer", "consumer"):
        eventually(role, lambda role=role: logged_since(stack, start, f"Redis ({role}) does not answer"), 10)
    assert read(stack, key)["state"] == "pending"
    stack.wire.mend()
    ended(stack, key, "responded", 15)
    for role in ("producer", "consumer"):
        eventually(role, lambda role=role: logged_since(stack, start, f"Redis ({role}) is back after"), 10)


@proof("a half-open connection to Redis costs seconds")
def half_open(stack: Stack) -> None:
    start = len(stack.logged())
    stack.wire.freeze()
    key = insert(stack, "getinfo")
    begun = time.monotonic()
    ended(stack, key, "responded", 20)
    print(f"    {time.monotonic() - begun:.1f} s")
    eventually("the log says so", lambda: logged_since(stack, start, "is back after"), 10)


@proof("Flows see each change")
def flows(stack: Stack) -> None:
    flow = {
        "name": "watch", "status": "active", "trigger": "event", "accountability": None,
        "options": {"type": "action", "scope": ["items.update"], "collections": ["commands"]},
    }  # fmt: skip
    created = stack.api("POST", "/flows", flow)["id"]
    step = {"flow": created, "name": "log", "key": "log", "type": "log", "position_x": 1, "position_y": 1}
    message = {"options": {"message": "seen {{$trigger.keys}} {{$trigger.payload.state}}"}}
    operation = stack.api("POST", "/operations", step | message)["id"]
    stack.api("PATCH", f"/flows/{created}", {"operation": operation})
    key = insert(stack, "getinfo")
    for state in ("queued", "sent", "responded"):
        eventually(state, lambda state=state: seen(stack, key, state))
    stack.api("DELETE", f"/flows/{created}")


@proof("the text of a command is in no log and no revision")
def secrets(stack: Stack) -> None:
    ended(stack, insert(stack, f"setparam 2:{SECRET}"), "responded")
    ended(stack, insert(stack, f"setparam 2:{SECRET}", UNKNOWN), "failed")
    assert SECRET not in stack.logged()
    with stack.database() as database:
        for table in ("directus_revisions", "directus_activity"):
            for row in database.execute(f"SELECT * FROM {table}"):
                assert SECRET not in str(row), table


@proof("a row that no hook has seen is sent by the schedule")
def scheduled(stack: Stack) -> None:
    ended(stack, stack.scheduled, "responded", 75)


@proof("no row is left without a verdict")
def all_ended(stack: Stack) -> None:
    def unfinished() -> list[Row]:
        rows = stack.api("GET", "/items/commands?limit=-1&fields=id,payload,state")
        return [row for row in rows if row["state"] in ("pending", "queued", "sent")]

    eventually("every row has a verdict", lambda: not unfinished(), 60)


def seen(stack: Stack, key: str, state: str) -> bool:
    """Whether the Flow has logged this change."""
    return any("seen " in line and key in line and state in line for line in stack.logged().splitlines())
