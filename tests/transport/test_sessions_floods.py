"""What one device can cost the others: connections, and frames that the store refuses."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

import pytest
from freezegun.api import FrozenDateTimeFactory
from structlog.testing import capture_logs

from fsm.reasons import STORE_UNAVAILABLE
from tests.transport.command_rig import START
from tests.transport.connection_rig import FRAME, ConnectionRig, FakeTransport
from transport.connection import admission
from transport.connection.pending import refuse
from transport.connection.protocol import DeviceConnection
from transport.connection.timeouts import DUE_AT_ONCE

# Connections


async def test_a_device_that_is_gone_between_two_acknowledgements_costs_nobody_else(
    connections: ConnectionRig,
) -> None:
    """The first write finds out, and the loop tells the connection only later."""
    connection, transport = connections.ready()
    connection.received(FRAME + FRAME)
    connections.telemetry.confirm()
    transport.closing = True
    connections.telemetry.confirm()
    assert len(transport.written) == 1


async def test_a_command_for_a_device_that_is_gone_is_not_written(connections: ConnectionRig) -> None:
    connection, transport = connections.ready()
    before = len(transport.written)
    transport.closing = True
    connection.send(b"a command")
    assert len(transport.written) == before


async def test_the_default_limit_is_the_number_of_open_files(
    frozen: FrozenDateTimeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "raise_descriptor_limit", lambda: 2)
    connections = ConnectionRig(frozen, max_connections=0)
    visitors = [connections.accept() for _ in range(3)]
    assert [transport.aborted for _, transport in visitors] == [False, False, True]
    assert (
        connections.commands.metrics.registry.get_sample_value("teltonika_connections_turned_away_total") == 1
    )
    visitors[0][0].connection_lost(None)
    assert not connections.accept()[1].aborted


async def test_thousands_of_deadlines_are_handled_over_many_turns(
    connections: ConnectionRig, frozen: FrozenDateTimeFactory
) -> None:
    visitors = [connections.accept()[0] for _ in range(2 * DUE_AT_ONCE + 1)]
    frozen.move_to(START + timedelta(seconds=10))
    now, told = connections.commands.clock.monotonic(), []
    while connections.timeouts.sweep(now):
        told.append(sum(visitor.closed for visitor in visitors))
    assert told == [DUE_AT_ONCE, 2 * DUE_AT_ONCE]
    assert all(visitor.closed for visitor in visitors)


async def test_unidentified_devices_are_logged_once_a_minute(connections: ConnectionRig) -> None:
    hosts, words = ("10.0.0.1", "10.0.0.2"), (b"GET / HTTP/1.1", b"\x16\x03\x01")
    with capture_logs() as logs:
        for second, host, word in product((0, 1, 59, 61), hosts, words):
            connections.at(second)
            unidentified, transport = DeviceConnection(connections.context), FakeTransport()
            transport._extra = {"peername": (host, 40_000)}  # type: ignore[attr-defined]
            unidentified.connection_made(transport)
            unidentified.received(word)
            unidentified.connection_lost(None)
    assert {line["event"] for line in logs} == {"handshake_refused"}
    told = [(line["peer"].partition(":")[0], line["reason"]) for line in logs]
    assert told == list(product(hosts, ("garbage", "tls"))) * 2


# Frames that the store refuses


async def test_a_refused_frame_of_an_old_session_spares_the_newer(connections: ConnectionRig) -> None:
    older, _ = connections.ready()
    older.received(FRAME)
    newer, _ = connections.welcome()
    newer.received(FRAME)
    refuse(connections.context, connections.telemetry.batches[0])
    assert not newer.closed


async def test_a_refused_frame_closes_the_session_that_waits_for_it(connections: ConnectionRig) -> None:
    connection, _ = connections.ready()
    connection.received(FRAME)
    refuse(connections.context, connections.telemetry.batches[0])
    assert connection.close_reason == STORE_UNAVAILABLE
