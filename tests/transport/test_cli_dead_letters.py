"""``telgw dead-letters``: what was no command, why, and how it is deleted."""

from __future__ import annotations

import json
from typing import Any

import fakeredis
import pytest
from click.testing import Result

from store.client.errors import CallFailed
from store.client.script import Script
from store.keys import Keys
from tests.transport.command_line import Telgw

KEY = Keys().deadletter
NOON = 1_767_268_800_000


@pytest.fixture
def redis(fake_server: fakeredis.FakeServer) -> Any:
    """An in-memory Redis with two dead letters."""
    client = fakeredis.FakeRedis(server=fake_server)
    for number in range(2):
        error = f"command_id is missing {number} \x1b[2J " + "x" * 300
        fields = {"error": error, "imei": "352093081452251", "requested_by": "flow", "payload_length": "9"}
        client.xadd(KEY, fields, id=f"{NOON + number}-0")
    return client


@pytest.fixture
def letters(telgw_on_redis: Telgw) -> Telgw:
    """``telgw dead-letters`` in a terminal of 80 columns."""

    def run(*args: object, columns: int = 80) -> Result:
        return telgw_on_redis("dead-letters", *args, env={"COLUMNS": str(columns), "TZ": "UTC"})

    return run


def test_dead_letters_are_shown_newest_first_and_whole(letters: Telgw, redis: Any) -> None:
    shown = letters().stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert "\x1b" not in shown
    assert shown.replace("\n", "").replace(" ", "").count("x" * 300) == 2
    ids = [json.loads(line)["id"] for line in letters("--json").stdout.splitlines()]
    assert ids == [f"{NOON + 1}-0", f"{NOON}-0"]
    assert len(letters("--json", "--limit", 1).stdout.splitlines()) == 1
    assert letters("--since", "1h").exit_code == 4


def test_one_of_them_is_shown_with_all_that_is_kept(letters: Telgw, redis: Any) -> None:
    shown = letters("--show", f"{NOON}-0").stdout
    for part in ("2026-01-01 12:00:00+0000", "missing 0", "requested_by", "flow", "payload_length", "9"):
        assert part in shown
    assert "missing 1" not in shown
    assert letters("--show", "5-0").exit_code == 4


def test_those_that_are_named_are_deleted(letters: Telgw, redis: Any) -> None:
    result = letters("--drop", f"{NOON}-0", "--drop", "5-0")
    assert (result.exit_code, result.stdout) == (4, f"Deleted {NOON}-0.\n")
    assert [entry_id for entry_id, _ in redis.xrange(KEY)] == [f"{NOON + 1}-0".encode()]
    assert letters("--drop", f"{NOON + 1}-0").exit_code == 0
    assert letters().exit_code == 4


@pytest.fixture
def kept(redis: Any) -> str:
    """The dead letter of a command that can be put back, and its device on a living gateway."""
    keys = Keys()
    redis.hset(keys.registry, "352093081452251", "gw-1")
    redis.set(keys.heartbeat("gw-1"), "1")
    command = {
        "imei": "352093081452251",
        "payload": "s3cret",
        "expires_at": "4000000000000",
        "retry_of": "c-1",
    }
    fields = {
        **{"error": "internal_error", "command_id": "c-1", "delivery": "not_sent"},
        **{"kept_id": redis.xadd(keys.kept, command), "kept_until": "4000000000000"},
    }
    return str(redis.xadd(KEY, fields, id=f"{NOON + 5}-0").decode())


def test_what_can_be_put_back_says_so(letters: Telgw, kept: str) -> None:
    shown = letters(columns=200).stdout
    assert [line.split()[1] for line in shown.splitlines() if "--requeue puts it back" in line] == [kept]


def test_a_command_is_put_back_and_found_by_its_new_id(letters: Telgw, redis: Any, kept: str) -> None:
    result = letters("--requeue", kept, "--requeue", kept)
    assert result.exit_code == 0
    [(_, fields)] = redis.xrange(Keys().outbound("gw-1"))
    assert f"telgw history {fields[b'command_id'].decode()}" in result.stdout
    assert "s3cret" not in result.output
    assert letters("--requeue", kept).exit_code == 4


def test_more_time_is_given_by_the_clock_of_redis(letters: Telgw, redis: Any, kept: str) -> None:
    assert letters("--requeue", kept, "--expires-in", "5m", "--json").exit_code == 0
    [(entry_id, fields)] = redis.xrange(Keys().outbound("gw-1"))
    ahead = int(fields[b"expires_at"]) - int(entry_id.partition(b"-")[0])
    assert 240_000 < ahead <= 300_000


def test_one_that_is_not_put_back_does_not_keep_the_others(letters: Telgw, redis: Any, kept: str) -> None:
    result = letters("--requeue", f"{NOON}-0", "--requeue", "5-0", "--requeue", kept, "--json")
    assert (result.exit_code, redis.xlen(Keys().outbound("gw-1")), redis.xlen(KEY)) == (1, 1, 2)
    said = [json.loads(line) for line in result.stderr.splitlines()]
    assert ["correct the producer" in said[0]["error"], "no dead letter 5-0" in said[1]["error"]] == [
        True,
        True,
    ]
    assert json.loads(result.stdout)["requeued"] is True


def test_an_unknown_outcome_is_said_and_trying_again_is_safe(
    letters: Telgw, redis: Any, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = Script.__call__

    async def lost(self: Script, *given: Any) -> Any:
        await once(self, *given)
        raise CallFailed("The connection was lost.")

    with monkeypatch.context() as patch:
        patch.setattr(Script, "__call__", lost)
        result = letters("--requeue", kept)
    assert (result.exit_code, "never put back twice" in result.stderr) == (3, True)
    assert letters("--requeue", kept).exit_code == 4
    assert redis.xlen(Keys().outbound("gw-1")) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        *(("--show", "x"), ("--drop", "$"), ("--requeue", "-"), ("--expires-in", "5m")),
        *(("--show", "1-0", "--drop", "1-0"), ("--drop", "1-0", "--requeue", "1-0")),
    ],
)
def test_an_id_that_is_none_is_wrong_use(letters: Telgw, wrong: tuple[str, ...]) -> None:
    assert letters(*wrong).exit_code == 2
