"""``telgw check``: what it prints, and what its exit status says."""

from __future__ import annotations

import json
import resource
from functools import partial
from typing import Any

import fakeredis
import pytest

from store.diagnosis.server import CRITICAL, OK, WARNING, Finding
from store.keys import Keys
from tests.transport.command_line import Telgw
from transport.cli import check

UNLIMITED = resource.RLIM_INFINITY
KEYS = Keys("{fleet}:")


@pytest.fixture
def check_fleet(telgw_on_redis: Telgw, key_prefix: str, monkeypatch: pytest.MonkeyPatch) -> Telgw:
    """``telgw check`` on a server that tells nothing about itself."""

    async def right(*_: Any) -> list[Finding]:
        return [Finding(OK, "version", "Redis 7.0.15")]

    monkeypatch.setattr(check, "diagnose_server", right)
    return partial(telgw_on_redis, "check", "--connections", "1")


@pytest.fixture
def redis(fake_server: fakeredis.FakeServer) -> Any:
    return fakeredis.FakeRedis(server=fake_server)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [([], 0), ([OK], 0), ([OK, WARNING], 1), ([CRITICAL, WARNING], 3), ([WARNING, CRITICAL, OK], 3)],
)
def test_the_exit_status_is_that_of_the_worst_finding(levels: list[Any], expected: int) -> None:
    assert check.status([Finding(level, "subject", "found") for level in levels]) == expected


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "level"),
    [
        (1024, 65536, 10_000, OK),
        (10_100, 10_100, 10_000, OK),
        (10_099, 10_099, 10_000, WARNING),
        (1024, 4096, 10_000, WARNING),
        (1024, UNLIMITED, 10_000, WARNING),
        (UNLIMITED, UNLIMITED, 10_000, OK),
    ],
)
def test_the_limit_of_open_files_has_to_hold_the_connections(
    soft: int, hard: int, connections: int, level: str
) -> None:
    found = check.descriptors(soft, hard, connections)
    assert found.level == level
    assert ("10100" in found.mend) == (level != OK)


def test_a_fleet_that_is_right_is_a_table_and_zero(check_fleet: Telgw) -> None:
    result = check_fleet()
    assert result.exit_code == 0, result.output
    assert "Redis 7.0.15" in result.stdout
    assert result.stdout.splitlines()[-1].endswith("ok, 0 warning, 0 critical")


def test_as_json_each_finding_is_a_line(check_fleet: Telgw, redis: Any) -> None:
    redis.set(KEYS.registry, "x")
    result = check_fleet("--json")
    assert result.exit_code == 3
    findings = [json.loads(line) for line in result.stdout.splitlines()]
    assert {tuple(finding) for finding in findings} == {("level", "subject", "found", "mend", "counts")}
    assert [finding["subject"] for finding in findings if finding["level"] == CRITICAL] == [KEYS.registry]


def test_the_numbers_of_a_finding_are_fields(check_fleet: Telgw, redis: Any) -> None:
    redis.hset(KEYS.registry, mapping={"352093081452251": "gw-1", "352093081452252": "gw-1"})
    redis.xadd(KEYS.outbound("gw-1"), {"a": "b"})
    redis.xgroup_create(KEYS.outbound("gw-1"), "ingestion", "0")
    found = [
        json.loads(line) for line in check_fleet("--json", "--telemetry-maxlen", "7").stdout.splitlines()
    ]
    counts = {one["subject"]: one["counts"] for one in found}
    assert counts["instance gw-1"] == {"devices": 2}
    assert counts[KEYS.telemetry] == {"entries": 0, "cap": 7}
    assert counts[KEYS.outbound("gw-1")]["unread"] == 1
    assert counts["nofile"]["needed"] > 1
    assert counts["version"] == {}


@pytest.mark.parametrize("wrong", [False, True])
def test_what_to_do_has_a_column_only_if_there_is_something(
    check_fleet: Telgw, redis: Any, wrong: bool
) -> None:
    if wrong:
        redis.xadd(KEYS.deadletter, {"error": "imei is missing"})
    assert ("what to do" in check_fleet().stdout) == wrong


def test_the_log_is_folded_when_it_is_asked_for(check_fleet: Telgw, redis: Any) -> None:
    redis.xadd(KEYS.responses, {"kind": "command"})
    assert check_fleet().exit_code == 0
    result = check_fleet("--replay")
    assert result.exit_code == 1
    assert "unreadable" in result.stdout


def test_the_caps_are_those_of_the_gateways(check_fleet: Telgw, redis: Any) -> None:
    for _ in range(3):
        redis.xadd(KEYS.telemetry, {"a": "b"})
    assert check_fleet("--telemetry-maxlen", "2").exit_code == 0
    assert check_fleet("--telemetry-maxlen", "1").exit_code == 1


def test_what_others_wrote_never_steers_the_terminal(check_fleet: Telgw, redis: Any) -> None:
    redis.hset(KEYS.registry, "352093081452251", "gw\x1b[2J[red]")
    result = check_fleet()
    assert "\x1b" not in result.stdout
    assert "[red]" in result.stdout.replace("\n", "")


def test_an_unreachable_redis_is_one_line(check_fleet: Telgw, fake_server: fakeredis.FakeServer) -> None:
    fake_server.connected = False
    result = check_fleet()
    assert result.exit_code == 2
    assert result.stderr.startswith("telgw: Redis cannot be used: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_a_subject_has_one_row_which_is_as_bad_as_the_worst() -> None:
    findings = [
        Finding(OK, "stream", "2 pending", counts={"pending": 2}),
        Finding(OK, "memory", "enough"),
        Finding(CRITICAL, "stream", "3 entries that no gateway reads", "Start one.", {"entries": 3}),
    ]
    assert check.by_subject(findings) == [
        Finding(
            *(CRITICAL, "stream", "2 pending; 3 entries that no gateway reads", "Start one."),
            {"pending": 2, "entries": 3},
        ),
        Finding(OK, "memory", "enough"),
    ]
