"""``telgw dead-letters``: what was no command, why, and how it is deleted."""

from __future__ import annotations

import json
from typing import Any

import fakeredis
import pytest
from click.testing import Result

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


@pytest.mark.parametrize("wrong", [("--show", "x"), ("--drop", "$"), ("--show", "1-0", "--drop", "1-0")])
def test_an_id_that_is_none_is_wrong_use(letters: Telgw, wrong: tuple[str, ...]) -> None:
    assert letters(*wrong).exit_code == 2
