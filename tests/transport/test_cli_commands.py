"""``telgw commands``: what is in flight, what it waits for, and what has ended and why."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import fakeredis
import pytest
from click.testing import Result

from fsm.device_status import HoldStatus
from store.fleet.waits import Wait
from store.keys import Keys
from store.ledger.open_commands import PAGE
from tests.transport.command_line import Telgw
from tests.transport.test_cli_devices import IMEI, NOON, OTHER, STATUS, alive, ask, held
from transport.cli.wait_texts import WAITS

KEYS = Keys()
UUID = "0b0d2a4e-6c1f-4f0e-9a57-0a1b2c3d4e5f"


@pytest.fixture
def redis(fake_server: fakeredis.FakeServer) -> Any:
    """An in-memory Redis with one live gateway."""
    client = fakeredis.FakeRedis(server=fake_server)
    alive(client, "gw-1", "b1")
    return client


@pytest.fixture
def commands(telgw_on_redis: Telgw) -> Telgw:
    """``telgw commands`` in a terminal of 80 columns."""

    def run(*args: object, columns: int = 80) -> Result:
        return telgw_on_redis("commands", *args, env={"COLUMNS": str(columns), "TZ": "UTC"})

    return run


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def waits(result: Result) -> dict[str, str]:
    return {one["command_id"]: one["waits_for"] for one in lines(result)}


def end(redis: Any, command_id: str, state: str, *, at: int = NOON, imei: str = IMEI, **more: str) -> None:
    fields = {
        **{"v": "1", "kind": "command", "command_id": command_id, "seq": "2", "state": state, "trigger": "x"},
        **{"terminal": "1", "imei": imei, "instance_id": "gw-1"},
    }
    redis.xadd(KEYS.responses, {**fields, **more}, id=f"{at}-*")


def test_what_a_command_waits_for(commands: Telgw, redis: Any) -> None:
    states = {"1": "ready", "2": "tainted", "3": "identified"}
    for imei, state in states.items():
        held(redis, imei, replace(STATUS, state=state))
        ask(redis, f"on-{state}", imei)
    doubt = HoldStatus(disputed=False, since=1, until=2, changes=1, before="10.0.0.2", before_auth="plain")
    held(redis, "8", replace(STATUS, hold=doubt))
    ask(redis, "held", "8")
    ask(redis, "behind", "1")
    ask(redis, "sent", "4", "sent")
    ask(redis, "offline", "5")
    alive(redis, "gw-2", "b2")
    held(redis, "6", STATUS, "b2-1", "gw-2")
    ask(redis, "elsewhere", "6")
    redis.hset(KEYS.instances, "gw-3", "1")
    ask(redis, "left", "7", by="gw-3")
    redis.xadd(KEYS.outbound("gw-1"), {"command_id": "new", "imei": "1", "payload": "x"})
    assert waits(commands("--json")) == {
        "on-ready": "turn",
        "held": "identity",
        "on-tainted": "late_answer",
        "on-identified": "first_records",
        "behind": "earlier_command",
        "sent": "answer",
        "offline": "device",
        "elsewhere": "handover",
        "left": "gateway",
        "new": "reader",
    }


def test_each_wait_has_words() -> None:
    assert set(WAITS) == set(Wait)


def test_the_oldest_comes_first_and_what_has_ended_or_is_repeated_is_not_in_flight(
    commands: Telgw, redis: Any
) -> None:
    ask(redis, "younger", IMEI)
    redis.hset(KEYS.ledger("younger"), "accepted_at", NOON + 1)
    ask(redis, "older", IMEI)
    ask(redis, "ended", IMEI, "responded")
    redis.xadd(KEYS.outbound("gw-1"), {"command_id": "older", "imei": IMEI, "payload": "again"})
    redis.xadd(KEYS.outbound("gw-1"), {"command_id": "older", "type": "cancel"})
    redis.xadd(KEYS.outbound("gw-1"), {"nonsense": "x"})
    assert [one["command_id"] for one in lines(commands("--json"))] == ["older", "younger"]


def test_commands_in_flight_are_chosen(commands: Telgw, redis: Any) -> None:
    ask(redis, "one", IMEI)
    ask(redis, "two", OTHER, "sent")
    assert waits(commands("--json", "--imei", OTHER)) == {"two": "answer"}
    assert waits(commands("--json", "--state", "queued")) == {"one": "device"}
    assert waits(commands("--json", "--limit", 1)) == {"one": "device"}
    assert commands("--instance", "gw-2").exit_code == 4
    assert "1 more: --limit" in commands("--limit", 1).stdout


def test_what_has_ended_comes_newest_first(commands: Telgw, redis: Any) -> None:
    end(redis, "c-1", "failed", reason="connection_lost", delivery="maybe_sent")
    end(redis, "c-2", "responded", at=NOON + 1, response="OK", delivery="answered")
    end(redis, "c-3", "timeout", at=NOON + 2, reason="expired", delivery="not_sent", imei=OTHER)
    redis.xadd(
        KEYS.responses,
        {"kind": "command", "state": "failed", "reason": "1", "terminal": "0"},
        id=f"{NOON + 3}-0",
    )

    def found(*args: object) -> list[str]:
        return [one["command_id"] for one in lines(commands("--json", "--since", "2026-01-01T00:00Z", *args))]

    assert found("--ended") == ["c-3", "c-2", "c-1"]
    assert found("--failed") == ["c-3", "c-1"]
    assert found("--reason", "expired", "--reason", "nack") == ["c-3"]
    assert found("--state", "responded") == ["c-2"]
    assert found("--ended", "--imei", IMEI, "--limit", 1) == ["c-2"]
    assert commands("--failed", "--since", "2026-01-02T00:00Z").exit_code == 4


@pytest.mark.parametrize("columns", [80, 200])
def test_the_delivery_of_an_ended_command_is_shown_once(commands: Telgw, redis: Any, columns: int) -> None:
    end(redis, "c-1", "failed", reason="connection_lost", delivery="maybe_sent")
    shown = commands("--failed", "--since", "2026-01-01T00:00Z", columns=columns).stdout
    assert shown.count("maybe_sent") == 1


@pytest.mark.parametrize("columns", [80, 200])
def test_nothing_is_cut_at_any_width(commands: Telgw, redis: Any, columns: int) -> None:
    answer = "Ver:03.27.07_00 GPS:AXN_5.10 Hw:FMB120 Mod:13 " * 6
    end(redis, UUID, "responded", response=answer, delivery="answered")
    shown = commands("--ended", "--since", "2026-01-01T00:00Z", columns=columns).stdout
    assert max(map(len, shown.splitlines())) <= columns
    assert UUID in shown
    assert "".join(answer.split()) in "".join(shown.split())


def test_wrong_use_and_nothing_found(commands: Telgw, redis: Any) -> None:
    assert commands().exit_code == 4
    for wrong in (("--in-flight", "--failed"), ("--state", "queued", "--reason", "nack"), ("--state", "new")):
        assert commands(*wrong).exit_code == 2


def test_the_text_of_a_command_is_never_shown(commands: Telgw, redis: Any) -> None:
    ask(redis, "c-1", IMEI)
    assert "setdigout" not in commands(columns=200).output + commands("--json").output


def park(redis: Any, command_id: str, imei: str, expires_at: int) -> None:
    entry = redis.xadd(KEYS.parked(imei), {"command_id": command_id, "imei": imei, "payload": "setdigout 1"})
    ledger = {"state": "queued", "instance_id": "", "outbound_id": entry, "accepted_at": NOON}
    redis.hset(KEYS.ledger(command_id), mapping=ledger)
    redis.zadd(KEYS.parked_devices, {imei: expires_at})


def test_parked_commands_are_shown_apart(commands: Telgw, redis: Any) -> None:
    ask(redis, "now", IMEI)
    park(redis, "later", OTHER, NOON)
    assert waits(commands("--json")) == {"now": "device"}
    assert waits(commands("--json", "--parked")) == {"later": "parked"}
    assert "1 parked; commands are parked for 1 device\n" in commands("--parked").stdout
    assert commands("--parked", "--imei", IMEI).exit_code == 4
    assert commands("--parked", "--failed").exit_code == 2


def test_of_many_parked_commands_no_more_are_read_than_are_shown(commands: Telgw, redis: Any) -> None:
    many = range(PAGE + 2)
    for number in many:
        park(redis, f"c-{number}", f"{number:015d}", NOON + number)
    redis.set(KEYS.parked(f"{PAGE:015d}"), "of another type")  # on the second page
    shown = commands("--parked", "--limit", "2").stdout
    assert ["c-0" in shown, "c-1" in shown, "c-2" in shown] == [True, True, False]
    assert f"2 parked; there may be more: --limit; commands are parked for {len(many)} devices" in shown
    assert commands("--parked").exit_code == 0
    assert commands("--parked", "--json").exit_code == 2
    redis.delete(KEYS.parked(f"{PAGE:015d}"))
    found = [one["command_id"] for one in lines(commands("--parked", "--json"))]
    assert found == [f"c-{number}" for number in many if number != PAGE]
    last = f"{PAGE + 1:015d}"
    assert list(waits(commands("--parked", "--json", "--imei", last))) == [f"c-{PAGE + 1}"]
