"""Places for connections: what counts against the limits, and what is told of those who were turned away."""

from __future__ import annotations

import pytest
from freezegun.api import FrozenDateTimeFactory
from structlog.testing import capture_logs

from fsm.reasons import HANDSHAKE_TIMEOUT
from tests.transport.connection_rig import ConnectionRig
from transport import log_throttle
from transport.log_throttle import AGAIN_AFTER, CountingThrottle
from transport.teltonika.handshake import encode_handshake

LIMIT = 3


@pytest.fixture
async def connections(frozen: FrozenDateTimeFactory) -> ConnectionRig:
    return ConnectionRig(frozen, max_connections_per_ip=LIMIT)


async def test_a_fleet_behind_one_address_is_not_cut(connections: ConnectionRig) -> None:
    for number in range(10 * LIMIT):
        connection, transport = connections.accept_from("10.0.0.1")
        connection.received(encode_handshake(f"{number:015}"))
        assert not transport.aborted
    assert (connections.sessions.connected, len(connections.sessions.by_imei)) == (10 * LIMIT, 10 * LIMIT)


async def test_a_silent_connection_counts_until_its_timeout(
    connections: ConnectionRig,
) -> None:
    silent = [connections.accept_from("10.0.0.1")[0] for _ in range(LIMIT)]
    assert connections.accept_from("10.0.0.1")[1].aborted
    connections.at(10)
    for connection in silent:
        assert connection.close_reason == HANDSHAKE_TIMEOUT
        connection.connection_lost(None)
    assert not connections.accept_from("10.0.0.1")[1].aborted


@pytest.mark.parametrize(
    ("hosts", "other"),
    [
        pytest.param(("2001:db8::1", "2001:db8::ff:1", "2001:db8::2"), "2001:db8:0:1::1", id="IPv6"),
        pytest.param(("::ffff:10.0.0.1", "10.0.0.1", "::ffff:a00:1"), "::ffff:10.0.0.2", id="IPv4 in IPv6"),
        pytest.param(("fe80::1%eth0", "fe80::1%eth0", "fe80::2%eth0"), "fe81::1%eth0", id="with a zone"),
    ],
)
async def test_addresses_that_one_peer_may_have_count_as_one(
    connections: ConnectionRig, hosts: tuple[str, ...], other: str
) -> None:
    silent = [connections.accept_from(host)[0] for host in hosts]
    assert [connections.accept_from(host)[1].aborted for host in (*hosts, other)] == [True] * LIMIT + [False]
    for connection in silent:
        connection.connection_lost(None)
    assert not connections.accept_from(hosts[0])[1].aborted


async def test_the_end_of_a_device_frees_no_place_of_its_address(connections: ConnectionRig) -> None:
    device, _ = connections.accept_from("10.0.0.1")
    device.received(encode_handshake("352093081452251"))
    for _ in range(LIMIT):
        connections.accept_from("10.0.0.1")
    device.connection_lost(None)
    assert connections.accept_from("10.0.0.1")[1].aborted


async def test_refusals_are_logged_at_once_and_then_once_a_minute(connections: ConnectionRig) -> None:
    with capture_logs() as logs:
        for host in ("10.0.0.1", "10.0.0.2"):
            for _ in range(LIMIT + 4):
                connections.accept_from(host)
        connections.at(9)
        assert [line["count"] for line in logs if line["event"] == "turned_away"] == [1, 1]
        connections.at(AGAIN_AFTER + 1)
        connections.at(2 * AGAIN_AFTER + 2)
    told = [line for line in logs if line["event"] == "turned_away"]
    assert [(line["address"], line["count"]) for line in told] == [
        *(("10.0.0.1", 1), ("10.0.0.2", 1), ("10.0.0.1", 3), ("10.0.0.2", 3))
    ]
    assert {(line["limit"], line["allowed"], line["log_level"]) for line in told} == {
        ("max-connections-per-ip", LIMIT, "warning")
    }
    turned_away = connections.commands.metrics.registry.get_sample_value(
        "teltonika_connections_turned_away_total"
    )
    assert turned_away == 8


async def test_a_full_gateway_is_one_log_line(
    frozen: FrozenDateTimeFactory,
) -> None:
    connections = ConnectionRig(frozen, max_connections=1)
    with capture_logs() as logs:
        for number in range(5):
            connections.accept_from(f"10.0.0.{number}")
    assert [(line["limit"], line["allowed"], line["count"]) for line in logs] == [("max-connections", 1, 1)]


def test_a_tally_remembers_so_many_things(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_throttle, "REMEMBERED", 2)
    tally: CountingThrottle[str] = CountingThrottle()
    assert [tally.add(what, 0.0) for what in "abcca"] == [True, True, False, False, False]
    assert tally.due(AGAIN_AFTER) == [("a", 1)]
    assert tally.due(2 * AGAIN_AFTER) == []
    assert (tally._since, tally._suppressed) == ({}, {})
