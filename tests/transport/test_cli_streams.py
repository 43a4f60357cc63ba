"""The verbs that talk to a gateway, on an imitation of Redis with a gateway that answers at once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import fakeredis
import pytest

from store.keys import Keys
from store.streams.producer import LogEntry, Producer, StoreUnreachable
from tests.transport.command_line import Telgw
from transport.cli import streams, watch

IMEI = "352093081452251"
KEYS = Keys("{fleet}:")
AT = "2026-01-02T03:04:05.678Z"


@pytest.fixture
def redis(fake_server: fakeredis.FakeServer) -> fakeredis.FakeRedis:
    """The imitation as a test looks at it."""
    return fakeredis.FakeRedis(server=fake_server, decode_responses=True)


pytestmark = pytest.mark.usefixtures("key_prefix")


Script = list[dict[str, str]]


@pytest.fixture
def gateway(redis: Any, monkeypatch: pytest.MonkeyPatch) -> Script:
    """A gateway that answers each entry with the events put into the list."""
    script: Script = []
    publish = Producer.publish

    async def published(self: Producer, instance_id: str, fields: dict[str, str]) -> str:
        outbound_id = await publish(self, instance_id, fields)
        about = {"kind": "command", "command_id": fields["command_id"], "at": AT}
        for event in script:
            entry_id = redis.xadd(KEYS.responses, about | event)
            redis.hsetnx(KEYS.ledger(fields["command_id"]), "first", entry_id)
        return outbound_id

    monkeypatch.setattr(Producer, "publish", published)
    redis.hset(KEYS.registry, IMEI, "gw-1")
    return script


QUEUED = {"seq": "1", "state": "queued", "trigger": "accept", "terminal": "0"}


def ending(state: str, **more: str) -> dict[str, str]:
    return {"seq": "2", "state": state, "prev": "queued", "trigger": "x", "terminal": "1", **more}


@pytest.mark.parametrize(
    ("state", "expected"), [("responded", 0), ("delivered", 0), ("failed", 1), ("timeout", 3)]
)
def test_send_follows_the_command_to_its_end(
    telgw_on_redis: Telgw, gateway: Script, redis: Any, state: str, expected: int
) -> None:
    gateway += [QUEUED, ending(state, response="ok")]
    result = telgw_on_redis("send", IMEI, "getinfo", "--command-id", "c1")
    assert result.exit_code == expected, result.output
    assert "queued" in result.stdout.splitlines()[0]
    assert f"queued → {state}" in result.stdout.splitlines()[1]
    ((_, sent),) = redis.xrange(KEYS.outbound("gw-1"))
    assert sent == {
        "command_id": "c1",
        "imei": IMEI,
        "payload": "getinfo",
        "requested_by": "telgw send",
    }


def test_send_as_json_prints_an_object_for_each_event(telgw_on_redis: Telgw, gateway: Script) -> None:
    gateway += [QUEUED, ending("responded", response="\x1b")]
    lines = telgw_on_redis("send", IMEI, "getinfo", "--json").stdout.splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["queued", "responded"]
    assert json.loads(lines[1])["response"] == "\x1b"


def test_send_to_an_unregistered_device_sends_nothing(telgw_on_redis: Telgw, redis: Any) -> None:
    result = telgw_on_redis("send", IMEI, "getinfo")
    assert result.exit_code == 4
    assert result.stderr == f"telgw: No gateway holds the device {IMEI}.\n"
    assert redis.keys() == []


def test_send_of_a_command_that_waits_ends_when_it_is_parked(
    telgw_on_redis: Telgw, gateway: Script, redis: Any
) -> None:
    redis.hdel(KEYS.registry, IMEI)
    words = ("send", IMEI, "getinfo", "--offline", "wait", "--expires", "7d")
    assert telgw_on_redis(*words).exit_code == 4
    redis.hset(KEYS.instances, "gw-2", "1")
    redis.set(KEYS.heartbeat("gw-2"), "1")
    gateway += [QUEUED, {"kind": "note", "note": "parked", "note_id": "n1"}]
    result = telgw_on_redis(*words)
    assert result.exit_code == 5, result.output
    assert "parked" in result.stdout.splitlines()[1]
    ((_, sent),) = redis.xrange(KEYS.outbound("gw-2"))
    assert sent["offline"] == "wait"


def test_a_day_is_the_most_without_waiting(telgw_on_redis: Telgw) -> None:
    result = telgw_on_redis("send", IMEI, "getinfo", "--expires-in", "2d")
    assert (result.exit_code, "more than 24 h ahead" in result.stderr) == (2, True)


def test_send_without_waiting_prints_the_id(telgw_on_redis: Telgw, gateway: Script) -> None:
    result = telgw_on_redis("send", IMEI, "getinfo", "--no-wait", "--command-id", "c1")
    assert (result.exit_code, result.stdout) == (0, "c1\n")


def test_send_without_an_outcome_in_time_is_a_timeout(
    telgw_on_redis: Telgw, gateway: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def follow(*_: Any) -> AsyncIterator[LogEntry]:
        raise TimeoutError
        yield

    monkeypatch.setattr(Producer, "follow", follow)
    result = telgw_on_redis("send", IMEI, "getinfo", "--command-id", "c1")
    assert result.exit_code == 3
    assert "No verdict on c1" in result.stderr


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (ending("failed", reason="cancelled"), 0),
        (ending("responded"), 1),
        ({"kind": "note", "note": "cancel_rejected", "detail": "sent"}, 1),
    ],
)
def test_cancel_says_whether_it_came_in_time(
    telgw_on_redis: Telgw, gateway: Script, redis: Any, event: dict[str, str], expected: int
) -> None:
    redis.hset(KEYS.ledger("c1"), "instance_id", "gw-2")
    gateway.append(event)
    assert telgw_on_redis("cancel", "c1").exit_code == expected
    ((_, sent),) = redis.xrange(KEYS.outbound("gw-2"))
    assert sent == {"type": "cancel", "command_id": "c1"}


@pytest.mark.parametrize("verb", ["cancel", "history"])
def test_an_unknown_command_is_reported_as_unknown(telgw_on_redis: Telgw, verb: str) -> None:
    result = telgw_on_redis(verb, "c1")
    assert result.exit_code == 4
    assert result.stderr == "telgw: The command c1 is unknown.\n"


def test_history_shows_events_and_the_way(telgw_on_redis: Telgw, redis: Any) -> None:
    event = {"kind": "command", "command_id": "c1", "at": AT, "imei": IMEI, "confirmed_by": "bob\x1b"}
    first = redis.xadd(KEYS.responses, {**event, **QUEUED, "delivery": "not_sent", "age_ms": "0"})
    last = redis.xadd(KEYS.responses, {**event, **ending("failed"), "trigger": "fail", "reason": "cancelled"})
    redis.hset(KEYS.ledger("c1"), mapping={"first": first, "last": last})
    shown = telgw_on_redis("history", "c1").stdout
    assert all(word in shown for word in ("not_sent", "cancelled", "03:04:05.678", "fail → failed  (2)"))
    assert "confirmed by bob\\x1b\n" in shown
    lines = telgw_on_redis("history", "c1", "--json").stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [first, last]


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C as soon as the log holds no more."""
    follow = Producer.follow

    async def until_the_end(self: Producer, from_id: str, stream: str = "") -> AsyncIterator[LogEntry]:
        tail = await self.tail(stream)
        if from_id != tail:
            async for entry in follow(self, from_id, 0, stream):
                yield entry
                if entry[0] == tail:
                    break
        raise KeyboardInterrupt

    monkeypatch.setattr(Producer, "follow", until_the_end)


@pytest.mark.parametrize(
    ("args", "seen"),
    [
        (("--from", "0"), ["c1", "c2"]),
        (("--from", "0", "--imei", IMEI), ["c1"]),
        (("--from", "0", "--command", "c2"), ["c2"]),
        ((), []),
    ],
)
def test_watch_prints_what_was_asked_for_until_it_is_interrupted(
    telgw_on_redis: Telgw, redis: Any, interrupted: None, args: tuple[str, ...], seen: list[str]
) -> None:
    redis.xadd(KEYS.responses, {"kind": "command", "command_id": "c1", "imei": IMEI})
    redis.xadd(KEYS.responses, {"kind": "command", "command_id": "c2", "imei": "352093081452252"})
    result = telgw_on_redis("watch", "--json", *args)
    assert result.exit_code == 130
    assert [json.loads(line)["command_id"] for line in result.stdout.splitlines()] == seen


def test_watch_shows_what_serial_ports_say(telgw_on_redis: Telgw, redis: Any, interrupted: None) -> None:
    first = {
        "imei": IMEI,
        "received_at": "1700000000123",
        "codec": "12",
        "type": "06",
        "text": "\x1b[31m\r\n",
    }
    redis.xadd(KEYS.messages, first)
    second = {
        "received_at": "1700000001000",
        "codec": "13",
        "type": "06",
        "hex": "00ff",
        "at": "1700000000000",
    }
    redis.xadd(KEYS.messages, second | {"imei": "352093081452252"})
    redis.xadd(KEYS.messages, {"type": "06", "received_at": "9" * 20, "at": "x"})
    lines = telgw_on_redis("watch", "--messages", "--from", "0", "--utc").stdout.splitlines()
    assert lines == [
        f'2023-11-14 22:13:20.123+0000  {IMEI}  codec 12 type 06  "\\x1b[31m\\r\\n"',
        "2023-11-14 22:13:21.000+0000  352093081452252  codec 13 type 06  "
        "at=2023-11-14T22:13:20.000Z  hex 00ff",
        f"?  type=06 received_at={'9' * 20} at=x",
    ]
    result = telgw_on_redis("watch", "--messages", "--from", "0", "--imei", IMEI, "--json")
    assert [json.loads(line)["text"] for line in result.stdout.splitlines()] == [first["text"]]
    assert telgw_on_redis("watch", "--messages", "--command", "c1").exit_code == 2


def test_watch_outlives_a_restart_of_redis(
    telgw_on_redis: Telgw, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def follow(_: Producer, from_id: str, stream: str) -> AsyncIterator[LogEntry]:
        asked.append(from_id)
        if len(asked) == 3:
            raise KeyboardInterrupt
        yield f"{len(asked)}-0", {"command_id": "c1"}
        raise StoreUnreachable("Redis cannot be used: gone")

    monkeypatch.setattr(Producer, "follow", follow)
    monkeypatch.setattr(watch, "RETRY", 0.0)
    result = telgw_on_redis("watch", "--json", "--from", "0-0")
    assert result.exit_code == 130
    assert asked == ["0-0", "1-0", "2-0"]
    assert result.stderr.count("waiting until it answers") == 2


def test_without_a_server_the_embedded_one_is_explained(
    fake_server: fakeredis.FakeServer, telgw_on_redis: Telgw, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_server.connected = False
    monkeypatch.delenv("TELGW_REDIS")
    result = telgw_on_redis("history", "c1", "--state-dir", tmp_path)
    assert result.exit_code == 2
    assert "telgw run" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("given", [b"  getinfo", b"  getinfo\n", b"  getinfo\r\n"])
def test_the_text_of_a_command_may_come_from_standard_input(
    telgw_on_redis: Telgw, redis: Any, gateway: Script, given: bytes
) -> None:
    result = telgw_on_redis("send", IMEI, "-", "--no-wait", input=given)
    assert result.exit_code == 0
    [(_, fields)] = redis.xrange(KEYS.outbound("gw-1"))
    assert fields["payload"] == "  getinfo"


def test_an_outage_is_told_once_and_not_waited_out_for_ever(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter((100.0, 104.0, 108.0, 114.0, 118.0, 122.0, 124.5))
    monkeypatch.setattr(streams, "time", SimpleNamespace(monotonic=lambda: next(times)))
    outage = streams.Outage()
    for _ in range(3):
        outage(StoreUnreachable("gone"))
    for _ in range(3):  # it has answered meanwhile
        outage(StoreUnreachable("gone again"))
    assert capsys.readouterr().err.count("waiting until it answers") == 2
    with pytest.raises(StoreUnreachable):
        outage(StoreUnreachable("gone again"))
