"""``telgw check``: what it prints, and what its exit status says."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from typing import Any

import fakeredis
import pytest
from click.testing import CliRunner, Result

from store.diagnosis.server import CRITICAL, OK, WARNING, Finding
from store.keys import Keys
from tests.fake_client import FakeClient
from transport.cli import check, cli, streams

UNLIMITED = resource.RLIM_INFINITY
KEYS = Keys("{fleet}:")


@pytest.fixture
def telgw(fake_server: fakeredis.FakeServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the verb on the imitation, whose server says nothing of itself."""

    async def right(*_: Any) -> list[Finding]:
        return [Finding(OK, "version", "Redis 7.0.15")]

    monkeypatch.setattr(check, "diagnose_server", right)
    monkeypatch.setattr(streams, "connect", lambda *_, **__: FakeClient(server=fake_server))
    options = ("check", "--key-prefix", KEYS.prefix, "--redis", "redis://nowhere", "--connections", "1")
    return lambda *args: CliRunner().invoke(cli, [*options, *args])


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


def test_a_fleet_that_is_right_is_a_table_and_zero(telgw: Callable[..., Result]) -> None:
    result = telgw()
    assert result.exit_code == 0, result.output
    assert "Redis 7.0.15" in result.stdout
    assert result.stdout.splitlines()[-1].endswith("ok, 0 warning, 0 critical")


def test_as_json_each_finding_is_a_line(telgw: Callable[..., Result], redis: Any) -> None:
    redis.set(KEYS.registry, "x")
    result = telgw("--json")
    assert result.exit_code == 3
    findings = [json.loads(line) for line in result.stdout.splitlines()]
    assert {tuple(finding) for finding in findings} == {("level", "subject", "found", "mend")}
    assert [finding["subject"] for finding in findings if finding["level"] == CRITICAL] == [KEYS.registry]


def test_the_log_is_folded_when_it_is_asked_for(telgw: Callable[..., Result], redis: Any) -> None:
    redis.xadd(KEYS.responses, {"kind": "command"})
    assert telgw().exit_code == 0
    result = telgw("--replay")
    assert result.exit_code == 1
    assert "unreadable" in result.stdout


def test_the_caps_are_those_of_the_gateways(telgw: Callable[..., Result], redis: Any) -> None:
    for _ in range(3):
        redis.xadd(KEYS.telemetry, {"a": "b"})
    assert telgw("--telemetry-maxlen", "2").exit_code == 0
    assert telgw("--telemetry-maxlen", "1").exit_code == 1


def test_what_others_wrote_never_steers_the_terminal(telgw: Callable[..., Result], redis: Any) -> None:
    redis.hset(KEYS.registry, "352093081452251", "gw\x1b[2J[red]")
    result = telgw()
    assert "\x1b" not in result.stdout
    assert "[red]" in result.stdout.replace("\n", "")


def test_an_unreachable_redis_is_one_line(
    telgw: Callable[..., Result], fake_server: fakeredis.FakeServer
) -> None:
    fake_server.connected = False
    result = telgw()
    assert result.exit_code == 2
    assert result.stderr.startswith("telgw: Redis cannot be used: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
