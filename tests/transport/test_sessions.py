"""What is kept of each connection, and that nothing is kept of those that are gone."""

from __future__ import annotations

import asyncio

from fsm.backlog import LIMIT
from fsm.registration import Registered, RegisterResult
from tests.transport.command_rig import IMEI
from tests.transport.connection_rig import FRAME, ConnectionRig
from transport.connection.pending import refuse
from transport.teltonika.handshake import encode_handshake


def kept(connections: ConnectionRig) -> list[int]:
    """How many connections each book names."""
    sessions = connections.sessions
    at_addresses = sessions.admission.newcomers._by_source
    books = (
        sessions.unidentified,
        sessions.by_imei,
        sessions.closing,
        range(connections.context.backpressure.waiting),
        at_addresses,
        connections.context.deadlines,
    )
    return [len(book) for book in books]


async def test_a_closed_connection_is_forgotten(connections: ConnectionRig) -> None:
    connection, _ = connections.ready()
    connections.context.backlog.bytes = LIMIT + 1
    connection.received(FRAME + FRAME[:20])
    assert kept(connections) == [0, 1, 0, 1, 0, 1]
    connection.close("idle")
    assert kept(connections) == [0, 0, 1, 1, 0, 1]
    connection.connection_lost(None)
    assert (kept(connections), connections.sessions.connected) == ([0] * 6, 0)


async def test_a_closed_unidentified_connection_is_forgotten(connections: ConnectionRig) -> None:
    connection, _ = connections.accept()
    assert kept(connections) == [1, 0, 0, 0, 1, 1]
    connection.connection_lost(None)
    assert (kept(connections), connections.sessions.connected) == ([0] * 6, 0)


async def test_a_named_device_is_identified(connections: ConnectionRig) -> None:
    connections.identify()
    assert kept(connections)[:2] == [0, 1]


# The last of it


async def test_connections_left_at_the_end_are_aborted(connections: ConnectionRig) -> None:
    connection, transport = connections.ready()
    connection.close("shutdown")
    assert not transport.aborted
    connections.sessions.abort_all()
    assert transport.aborted


async def test_unidentified_connections_are_closed_with_all_others(connections: ConnectionRig) -> None:
    unidentified, _ = connections.accept()
    device, _ = connections.ready()
    connections.sessions.close_all("fenced")
    assert (unidentified.close_reason, device.close_reason) == ("fenced", "fenced")


# Whose frame it is


async def test_only_the_connection_whose_frame_is_refused_is_closed(connections: ConnectionRig) -> None:
    """The frame of an earlier connection of the device is no fault of the newer one."""
    older, _ = connections.ready()
    older.received(FRAME)
    [batch] = connections.telemetry.batches
    newer, _ = connections.identify()
    refuse(connections.context, batch)
    assert not newer.closed


async def test_all_that_comes_with_the_name_of_a_device_is_read(connections: ConnectionRig) -> None:
    connection, _ = connections.accept()
    connection.received(encode_handshake(IMEI) + FRAME)
    connection.registered(RegisterResult(Registered.REGISTERED))
    await asyncio.sleep(0)
    assert len(connections.telemetry.batches) == 1
