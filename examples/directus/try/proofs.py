"""What docs/directus.md promises, each a function that fails when it is not so; in the order of this file."""

from __future__ import annotations

import time
import urllib.error
import uuid
from collections.abc import Callable
from typing import Any

from stack import DISPATCHER, LATE, NORMAL, SILENT, Stack, eventually

Row = dict[str, Any]
PROOFS: list[tuple[str, Callable[[Stack], None]]] = []
UNKNOWN = "352093081452251"
SECRET = "hunter2-of-the-device"
CANCEL = "6f0c1b1e-5e0a-4d0e-9f4b-7d3f6a2c9202"
SEND_AGAIN = "6f0c1b1e-5e0a-4d0e-9f4b-7d3f6a2c9203"


def proof(title: str) -> Callable[[Callable[[Stack], None]], Callable[[Stack], None]]:
    """Add a function to the list, in the order of this file."""

    def add(function: Callable[[Stack], None]) -> Callable[[Stack], None]:
        PROOFS.append((title, function))
        return function

    return add


def insert(stack: Stack, payload: str, imei: int | str = NORMAL, **fields: Any) -> str:
    row = {"imei": str(imei), "payload": payload, **fields}
    return str(stack.api("POST", "/items/commands", row, DISPATCHER)["id"])


def insert_silent(stack: Stack, timeout: float) -> str:
    """A command that is not answered; its tracker must be back from the last one."""
    eventually("the tracker is back", lambda: stack.redis.hexists("connections:registry", SILENT))
    return insert(stack, "cpureset", SILENT, response_timeout=timeout)


def read(stack: Stack, key: str) -> Row:
    return dict(stack.api("GET", f"/items/commands/{key}", who=DISPATCHER))


def ended(stack: Stack, key: str, state: str, within: float = 20.0, **expected: Any) -> Row:
    """The row when it is in `state`, with the values that are expected."""
    try:
        row = eventually(
            f"{state} of {key}", lambda: (row := read(stack, key))["state"] == state and row, within
        )
    except AssertionError as late:
        row = read(stack, key)
        raise AssertionError(f"{late}; it is {row['state']} / {row['reason']} / {row['delivery']}") from None
    seen = {name: row[name] for name in expected}
    assert seen == expected, f"{seen}, not {expected}"
    return dict(row)


def events(stack: Stack, **wanted: str) -> list[dict[str, str]]:
    """The events of the log with these values, in order."""
    entries = stack.redis.xrange("commands:responses")
    return [
        fields for _, fields in entries if all(fields.get(name) == value for name, value in wanted.items())
    ]


def logged_since(stack: Stack, start: int, text: str) -> bool:
    return text in stack.logged()[start:]


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


@proof("a row that nobody has sent is sent by the schedule (begins here, ends below)")
def unsent(stack: Stack) -> None:
    # Past Directus, so no hook sees it.
    stack.scheduled = str(uuid.uuid4())
    with stack.database() as database:
        database.execute(
            "INSERT INTO commands (id, imei, payload, state, expect_response, offline, cancel_requested)"
            " VALUES (?, ?, 'getver', 'pending', 1, 'fail', 0)",
            (stack.scheduled, str(NORMAL)),
        )


@proof("a command is answered")
def answered(stack: Stack) -> None:
    row = ended(stack, insert(stack, "getinfo"), "responded", delivery="answered", summary="Answered.")
    assert row["response"].startswith("RTC:")
    assert row["rtt_ms"] is not None
    assert row["finished_at"]
    assert row["last_seq"] == 3


@proof("a command with all options is answered")
def all_options(stack: Stack) -> None:
    first = insert(stack, "getver")
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
    options = {
        "codec": "14",
        "response_timeout": 7.5,
        "expect_response": True,
        "expires_at": at,
        "retry_of": first,
    }
    second = insert(stack, "getver", **options)
    ended(stack, second, "responded")
    [event] = events(stack, command_id=second, state="responded")
    assert (event["codec"], event["retry_of"]) == ("14", first)


@proof("a silent tracker: timeout, and the vehicle may have obeyed")
def silent(stack: Stack) -> None:
    row = ended(stack, insert_silent(stack, 1), "timeout", reason="response_timeout")
    assert row["delivery"] in ("maybe_sent", "received")
    assert "may have obeyed" in row["summary"]


@proof("a late answer is kept beside the verdict")
def late(stack: Stack) -> None:
    key = insert(stack, "getinfo", LATE, response_timeout=1)
    ended(stack, key, "timeout", reason="response_timeout")
    answer = eventually("the late answer", lambda: read(stack, key)["late_response"], 15)
    assert answer.startswith("RTC:")
    assert read(stack, key)["state"] == "timeout"


@proof("an unknown device: not connected, nothing sent")
def unknown(stack: Stack) -> None:
    key = insert(stack, "getinfo", UNKNOWN)
    ended(stack, key, "failed", reason="device_not_connected", delivery="not_sent")
    assert events(stack, command_id=key) == []


@proof("offline=wait is stored; the gateway does not wait yet, so the row ends as not connected")
def offline(stack: Stack) -> None:
    key = insert(stack, "getinfo", UNKNOWN, offline="wait")
    ended(stack, key, "failed", reason="device_not_connected", delivery="not_sent", offline="wait")


@proof("wrong rows are refused in the form, and a dispatcher cannot forge a result")
def refused(stack: Stack) -> None:
    wrong = [{"imei": "123"}, {"payload": "two\nlines"}, {"codec": "13"}, {"response_timeout": 4000}]
    good = {"imei": str(NORMAL), "payload": "getinfo"}
    for row in (*wrong, {"state": "responded"}):
        assert status(stack, "POST", "/items/commands", good | row) in (400, 403), row
    key = insert(stack, "getinfo")
    assert status(stack, "PATCH", f"/items/commands/{key}", {"response": "forged"}) == 403
    assert status(stack, "PATCH", f"/items/commands/{key}", {"cancel_requested": False}) == 403


def status(stack: Stack, method: str, path: str, body: Any) -> int:
    """The status of a request of the dispatcher that should be refused."""
    try:
        stack.api(method, path, body, DISPATCHER)
    except urllib.error.HTTPError as error:
        return error.code
    return 200


@proof("the same command again is written to the device once")
def duplicate(stack: Stack) -> None:
    key = insert(stack, "getinfo")
    before = ended(stack, key, "responded")
    entry = {"command_id": key, "imei": str(NORMAL), "payload": "setdigout 1"}
    stack.redis.xadd(f"commands:outbound:{before['instance_id']}", entry)
    eventually("the note", lambda: events(stack, command_id=key, note="duplicate_ignored"))
    assert len(events(stack, command_id=key, state="sent")) == 1
    assert read(stack, key)["response"] == before["response"]


@proof("an answer of 480 characters is stored whole")
def long_answer(stack: Stack) -> None:
    text = "1:" + "x" * 480
    row = ended(stack, insert(stack, f"setparam {text}"), "responded")
    assert row["response"] == f"New value {text}"


@proof("40 rows of one batch are sent in their order, none as queue_full")
def batch(stack: Stack) -> None:
    rows = [{"imei": str(NORMAL + 1), "payload": f"getparam {number}"} for number in range(1, 41)]
    created = {row["payload"]: row["id"] for row in stack.api("POST", "/items/commands", rows, DISPATCHER)}
    keys = [created[row["payload"]] for row in rows]
    ended(stack, keys[-1], "responded", 60)
    sent = [event["command_id"] for event in events(stack, imei=str(NORMAL + 1), state="sent")]
    assert [keys.index(key) for key in sent] == list(range(40))
    for number, key in enumerate(keys, 1):
        ended(stack, key, "responded", response=f"Param ID:{number} Value:0")


@proof("a waiting command is cancelled by the button, a sent one is not")
def cancel(stack: Stack) -> None:
    first = insert(stack, "getinfo", LATE, response_timeout=20)
    second = insert(stack, "getver", LATE)
    eventually("the first is sent", lambda: read(stack, first)["state"] == "sent")
    eventually("the second waits", lambda: read(stack, second)["state"] == "queued")
    body = {"collection": "commands", "keys": [first, second]}
    stack.api("POST", f"/flows/trigger/{CANCEL}", body, DISPATCHER)
    ended(stack, second, "failed", reason="cancelled", delivery="not_sent")
    eventually("the refusal", lambda: "sent already" in (read(stack, first)["cancel_result"] or ""))
    ended(stack, first, "responded")
    stack.api("PATCH", f"/items/commands/{first}", {"cancel_requested": True}, DISPATCHER)
    eventually("the second refusal", lambda: "ended already" in (read(stack, first)["cancel_result"] or ""))


@proof("a command that was not sent is sent again by the button; one that may have obeyed only when told")
def again(stack: Stack) -> None:
    failed = insert(stack, "getinfo", UNKNOWN)
    ended(stack, failed, "failed")
    silent = insert_silent(stack, 1)
    ended(stack, silent, "timeout")
    body: Row = {"collection": "commands", "keys": [failed, silent]}
    stack.api("POST", f"/flows/trigger/{SEND_AGAIN}", body, DISPATCHER)
    assert [row["payload"] for row in retries(stack, failed)] == ["getinfo"]
    assert retries(stack, silent) == []
    stack.api(
        "POST", f"/flows/trigger/{SEND_AGAIN}", body | {"keys": [silent], "also_obeyed": True}, DISPATCHER
    )
    assert len(retries(stack, silent)) == 1


def retries(stack: Stack, key: str) -> list[Row]:
    return list(stack.api("GET", f"/items/commands?filter[retry_of][_eq]={key}", who=DISPATCHER))


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


@proof("the row that nobody had sent was sent by the schedule")
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
