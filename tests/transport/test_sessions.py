"""What is kept of each connection, and that nothing is kept of those that are gone."""

from __future__ import annotations

import asyncio

from fsm.backlog import LIMIT
from fsm.registration import Registered, RegisterResult
from tests.transport.desk import IMEI
from tests.transport.wire import FRAME, Wire
from transport.connection.pending import refuse
from transport.teltonika.handshake import encode_handshake


def kept(wire: Wire) -> list[int]:
    """How many connections each book names."""
    sessions = wire.sessions
    at_addresses = sessions.admission._unidentified
    books = (
        sessions.unidentified,
        sessions.by_imei,
        sessions.closing,
        range(wire.context.backpressure.waiting),
        at_addresses,
        wire.context.deadlines,
    )
    return [len(book) for book in books]


async def test_a_closed_connection_is_forgotten(wire: Wire) -> None:
    connection, _ = wire.ready()
    wire.context.backlog.bytes = LIMIT + 1
    connection.data_received(FRAME + FRAME[:20])
    assert kept(wire) == [0, 1, 0, 1, 0, 1]
    connection.close("idle")
    assert kept(wire) == [0, 0, 1, 1, 0, 1]
    connection.connection_lost(None)
    assert (kept(wire), wire.sessions.connected) == ([0] * 6, 0)


async def test_a_closed_unidentified_connection_is_forgotten(wire: Wire) -> None:
    connection, _ = wire.accept()
    assert kept(wire) == [1, 0, 0, 0, 1, 1]
    connection.connection_lost(None)
    assert (kept(wire), wire.sessions.connected) == ([0] * 6, 0)


async def test_a_named_device_is_identified(wire: Wire) -> None:
    wire.identify()
    assert kept(wire)[:2] == [0, 1]


# The last of it


async def test_connections_left_at_the_end_are_aborted(wire: Wire) -> None:
    connection, transport = wire.ready()
    connection.close("shutdown")
    assert not transport.aborted
    wire.sessions.abort_all()
    assert transport.aborted


async def test_unidentified_connections_are_closed_with_all_others(wire: Wire) -> None:
    stranger, _ = wire.accept()
    device, _ = wire.ready()
    wire.sessions.close_all("fenced")
    assert (stranger.close_reason, device.close_reason) == ("fenced", "fenced")


# Whose frame it is


async def test_only_the_connection_whose_frame_is_refused_is_closed(wire: Wire) -> None:
    """The frame of an earlier connection of the device is no fault of the newer one."""
    older, _ = wire.ready()
    older.data_received(FRAME)
    [batch] = wire.telemetry.batches
    newer, _ = wire.identify()
    refuse(wire.context, batch)
    assert not newer.closed


async def test_all_that_comes_with_the_name_of_a_device_is_read(wire: Wire) -> None:
    connection, _ = wire.accept()
    connection.data_received(encode_handshake(IMEI) + FRAME)
    connection.registered(RegisterResult(Registered.REGISTERED))
    await asyncio.sleep(0)
    assert len(wire.telemetry.batches) == 1
