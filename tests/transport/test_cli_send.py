"""``telgw send`` with an id that is known, to a gateway that seems dead, and to many devices."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakeredis
import pytest

from store.keys import Keys
from store.streams.producer import Producer
from tests.transport.command_line import Telgw

IMEI, OTHER, ABSENT = (f"35209308145225{number}" for number in range(3))
KEYS = Keys()
END = {"seq": "2", "prev": "queued", "trigger": "x", "terminal": "1", "v": "1", "kind": "command"}

Answers = Callable[[str], dict[str, str]]


@pytest.fixture
def redis(fake_server: fakeredis.FakeServer) -> Any:
    """An in-memory Redis on which gw-1 holds two devices."""
    client = fakeredis.FakeRedis(server=fake_server, decode_responses=True)
    client.hset(KEYS.registry, mapping={IMEI: "gw-1", OTHER: "gw-1"})
    client.hset(KEYS.instances, "gw-1", "1")
    client.set(KEYS.heartbeat("gw-1"), "1")
    return client


@pytest.fixture
def ends(redis: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """How the command for a device ends, by IMEI: at once, with an answer if nothing else is said."""
    different: dict[str, dict[str, str]] = {}
    publish = Producer.publish

    async def published(self: Producer, instance_id: str, fields: dict[str, str]) -> str:
        outbound_id = await publish(self, instance_id, fields)
        about = {"command_id": fields["command_id"], "imei": fields["imei"]}
        end = different.get(fields["imei"], {"state": "responded", "response": "ok", "delivery": "answered"})
        entry_id = redis.xadd(KEYS.responses, {**END, **about, **end})
        ledger = {"first": entry_id, "last": entry_id, "state": end["state"], "imei": fields["imei"]}
        redis.hset(KEYS.ledger(fields["command_id"]), mapping=ledger)
        return outbound_id

    monkeypatch.setattr(Producer, "publish", published)
    return different


@pytest.fixture
def imeis(tmp_path: Path) -> Path:
    file = tmp_path / "imeis"
    file.write_text(f"# the fleet\n{IMEI}\n\n {OTHER}\n{ABSENT}\n{IMEI}\n")
    return file


def handed_over(redis: Any) -> list[str]:
    return [fields["command_id"] for _, fields in redis.xrange(KEYS.outbound("gw-1"))]


def test_a_known_id_is_not_sent_again_and_tells_what_became_of_it(
    telgw_on_redis: Telgw, redis: Any, ends: dict[str, Any]
) -> None:
    ends[IMEI] = {"state": "failed", "reason": "nack"}
    first, again = (telgw_on_redis("send", IMEI, "getver", "--command-id", "c1") for _ in range(2))
    assert (first.exit_code, again.exit_code) == (1, 1)
    assert again.stdout == first.stdout
    assert "is not sent again" in again.stderr
    assert "has ended as failed" in again.stderr
    assert handed_over(redis) == ["c1"]


def test_what_has_ended_is_told_when_the_log_has_forgotten_it(
    telgw_on_redis: Telgw, redis: Any, ends: dict[str, Any]
) -> None:
    telgw_on_redis("send", IMEI, "getver", "--command-id", "c1")
    redis.delete(KEYS.responses)
    again = telgw_on_redis("send", IMEI, "getver", "--command-id", "c1")
    assert (again.exit_code, "has ended as responded" in again.stderr) == (0, True)


def test_an_id_belongs_to_one_device(telgw_on_redis: Telgw, redis: Any, ends: dict[str, Any]) -> None:
    telgw_on_redis("send", IMEI, "getver", "--command-id", "c1")
    other = telgw_on_redis("send", OTHER, "getver", "--command-id", "c1")
    assert (other.exit_code, other.stderr) == (2, "telgw: The id c1 was used for another device.\n")
    assert handed_over(redis) == ["c1"]


def test_a_gateway_without_a_heartbeat_is_told(
    telgw_on_redis: Telgw, redis: Any, ends: dict[str, Any]
) -> None:
    assert telgw_on_redis("send", IMEI, "getver").stderr == ""
    redis.delete(KEYS.heartbeat("gw-1"))
    assert "has no heartbeat. No other one is alive." in telgw_on_redis("send", IMEI, "getver").stderr
    redis.hset(KEYS.instances, "gw-2", "1")
    redis.set(KEYS.heartbeat("gw-2"), "1")
    assert "Another one takes over" in telgw_on_redis("send", IMEI, "getver").stderr


def test_without_waiting_json_has_the_place_of_the_command(
    telgw_on_redis: Telgw, redis: Any, ends: dict[str, Any]
) -> None:
    told = json.loads(telgw_on_redis("send", IMEI, "getver", "--no-wait", "--json").stdout)
    [(entry_id, fields)] = redis.xrange(KEYS.outbound("gw-1"))
    place = {"instance_id": "gw-1", "outbound_id": entry_id}
    assert told == {"command_id": fields["command_id"], **place}


def test_a_batch_says_what_became_of_each_device(
    telgw_on_redis: Telgw, redis: Any, ends: dict[str, Any], imeis: Path
) -> None:
    ends[OTHER] = {"state": "failed", "reason": "nack"}
    words = ("send", "getver", "--imei-file", imeis, "--batch", "b1")
    told = telgw_on_redis(*words, "--json")
    found = {one["imei"]: one for one in map(json.loads, told.stdout.splitlines())}
    assert {imei: one["state"] for imei, one in found.items()} == {
        IMEI: "responded",
        OTHER: "failed",
        ABSENT: "unsent",
    }
    assert (found[OTHER]["reason"], found[IMEI]["said"]) == ("nack", '"ok"')
    assert told.exit_code == 1
    assert sorted(handed_over(redis)) == [f"b1:{IMEI}", f"b1:{OTHER}"]


def test_a_batch_that_is_run_again_sends_only_what_was_not_handed_over(
    telgw_on_redis: Telgw, redis: Any, ends: dict[str, Any], imeis: Path
) -> None:
    words = ("send", "getver", "--imei-file", imeis, "--batch", "b1")
    assert telgw_on_redis(*words).exit_code == 4
    redis.hset(KEYS.registry, ABSENT, "gw-1")
    again = telgw_on_redis(*words, "--at-once", 1)
    assert again.exit_code == 0
    assert "3 responded" in again.stdout
    assert sorted(handed_over(redis)) == sorted(f"b1:{imei}" for imei in (IMEI, OTHER, ABSENT))


def test_a_batch_goes_on_with_a_command_that_has_not_ended(
    telgw_on_redis: Telgw, redis: Any, ends: dict[str, Any], imeis: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis.hset(KEYS.ledger(f"b1:{IMEI}"), mapping={"state": "sent", "imei": IMEI})
    states = Producer.states

    async def then_it_ends(self: Producer, command_ids: Any) -> dict[str, str]:
        found = await states(self, command_ids)
        redis.xadd(KEYS.responses, {**END, "command_id": f"b1:{IMEI}", "imei": IMEI, "state": "timeout"})
        return found

    monkeypatch.setattr(Producer, "states", then_it_ends)
    told = telgw_on_redis("send", "getver", "--imei-file", imeis, "--batch", "b1")
    assert (told.exit_code, "1 timeout" in told.stdout) == (3, True)
    assert handed_over(redis) == [f"b1:{OTHER}"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ((IMEI, "get", "info"), "quote it"),
        ((IMEI,), "IMEI and TEXT"),
        ((), "IMEI and TEXT"),
        ((IMEI, "getver", "--batch", "b1"), "--imei-file"),
        (("--imei-file", "FILE"), "TEXT"),
        ((IMEI, "getver", "--imei-file", "FILE"), "quote it"),
        (("getver", "--imei-file", "FILE", "--command-id", "c1"), "--batch"),
        (("getver", "--imei-file", "FILE", "--batch", "a:b"), "--batch"),
    ],
)
def test_what_does_not_fit_is_refused(
    telgw_on_redis: Telgw, imeis: Path, words: tuple[str, ...], problem: str
) -> None:
    refused = telgw_on_redis("send", *[imeis if word == "FILE" else word for word in words])
    assert (refused.exit_code, problem in refused.stderr) == (2, True)


@pytest.mark.parametrize(("text", "problem"), [("1\n", "line 1"), ("# none\n", "no IMEI"), ("\xff", "utf-8")])
def test_a_file_that_is_none_of_imeis_is_refused(
    telgw_on_redis: Telgw, tmp_path: Path, text: str, problem: str
) -> None:
    file = tmp_path / "file"
    file.write_bytes(text.encode("latin-1"))
    refused = telgw_on_redis("send", "getver", "--imei-file", file)
    assert (refused.exit_code, problem in refused.stderr, str(file) in refused.stderr) == (2, True, True)
