"""Each rule of a connection alone: limits, acknowledgements, and which connection is the device's."""

from __future__ import annotations

import asyncio

import pytest
from freezegun.api import FrozenDateTimeFactory

from fsm.backlog import LIMIT
from fsm.registration import Registered, RegisterResult
from tests.transport.command_rig import IMEI, OTHER_IMEI
from tests.transport.connection_rig import FRAME, RECORD, ConnectionRig, MakeConnections
from transport.connection import protocol as protocols
from transport.connection.backpressure import UNACKED_LIMIT
from transport.connection.protocol import WRITE_LIMIT, DeviceConnection
from transport.teltonika.avl import encode_ack, encode_avl
from transport.teltonika.frame import CODEC_8, encode_frame
from transport.teltonika.handshake import ACCEPT
from transport.teltonika.stream import BAD_FRAMES_LIMIT

TIME_LIMIT = 20.0
SUPERSEDED = RegisterResult(Registered.SUPERSEDED, "gw-2")


def damaged(frame: bytes) -> bytes:
    """`frame` with a checksum that is wrong."""
    return frame[:-1] + bytes((frame[-1] ^ 1,))


# Frames and their acknowledgements


async def test_a_stored_frame_is_acknowledged_with_its_count(connections: ConnectionRig) -> None:
    connection, transport = connections.ready()
    connection.received(encode_avl(CODEC_8, [RECORD] * 3))
    assert transport.written == []
    connections.telemetry.confirm()
    assert transport.written == [encode_ack(3)]


async def test_frames_are_acknowledged_in_order(connections: ConnectionRig) -> None:
    connection, transport = connections.ready()
    for count in (2, 1, 3):
        connection.received(encode_avl(CODEC_8, [RECORD] * count))
    for _ in range(3):
        connections.telemetry.confirm()
    assert transport.written == [encode_ack(2), encode_ack(1), encode_ack(3)]


async def test_frames_that_one_call_has_stored_are_acknowledged_together(connections: ConnectionRig) -> None:
    (first, its), (second, others) = connections.ready(), connections.ready(OTHER_IMEI)
    for connection, count in ((first, 2), (second, 1), (first, 3)):
        connection.received(encode_avl(CODEC_8, [RECORD] * count))
    connections.telemetry.confirm_all(3)
    assert (its.written, others.written) == ([encode_ack(2), encode_ack(3)], [encode_ack(1)])
    assert (first.writable, first.tally.records, connections.context.records) == (True, 6, 8)


async def test_nothing_is_written_to_a_device_that_does_not_read_its_acknowledgements(
    connections: ConnectionRig,
) -> None:
    connection, transport = connections.ready()
    for count in (2, 1):
        connection.received(encode_avl(CODEC_8, [RECORD] * count))
    transport.unread = WRITE_LIMIT + 1
    connections.telemetry.confirm_all(2)
    assert (transport.written, transport.aborted) == ([encode_ack(2)], True)


async def test_an_undecodable_frame_is_acknowledged_once_stored(connections: ConnectionRig) -> None:
    connection, transport = connections.ready()
    body = FRAME[8:-4]
    connection.received(encode_frame(body[:-1] + b"\x02"))
    [batch] = connections.telemetry.batches
    assert (batch.kind, batch.reason, transport.written) == ("undecodable", b"count", [])
    connections.telemetry.confirm()
    assert transport.written == [encode_ack(1)]


async def test_a_bad_checksum_is_neither_stored_nor_acknowledged(connections: ConnectionRig) -> None:
    connection, transport = connections.ready()
    connection.received(damaged(FRAME))
    assert (transport.written, connections.telemetry.batches, connection.closed) == ([], [], False)


async def test_a_command_is_not_written_into_a_frame_that_has_begun(connections: ConnectionRig) -> None:
    connection, transport = connections.ready()
    connection.received(FRAME[:20])
    connections.commands.ask()
    connections.commands.ledger.commit()
    assert (connection.writable, transport.written) == (False, [])
    connection.received(FRAME[20:])
    connections.telemetry.confirm()
    connections.commands.ledger.commit()
    assert [len(data) for data in transport.written] == [4, len(transport.written[-1])]


async def test_no_command_comes_before_the_first_acknowledgement(connections: ConnectionRig) -> None:
    connection, transport = connections.welcome()
    connections.commands.ask()
    connections.commands.ledger.commit()
    assert (connection.writable, transport.written) == (False, [])
    connection.received(FRAME)
    connections.telemetry.confirm()
    connections.commands.ledger.commit()
    assert transport.written[:1] == [encode_ack(1)]
    assert len(transport.written) == 2


async def test_tcp_acknowledged_bytes_are_counted_exactly(
    connections: ConnectionRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, _ = connections.ready()
    unread = 0
    monkeypatch.setattr("transport.connection.protocol.unacknowledged", lambda transport: unread)
    offset = connection.send(b"command")
    assert connection.acknowledged(offset)
    unread = 1
    assert not connection.acknowledged(offset)
    assert connection.acknowledged(offset - 1)


async def test_a_device_reads_01_before_its_first_acknowledgement(connections: ConnectionRig) -> None:
    connection, transport = connections.identify()
    connection.received(FRAME)
    await asyncio.sleep(0)
    assert (transport.written, transport.paused, connections.telemetry.batches) == ([], True, [])
    connection.registered(RegisterResult(Registered.FAILED))
    await asyncio.sleep(0)
    connections.telemetry.confirm()
    assert (transport.written, transport.paused) == ([ACCEPT, encode_ack(1)], False)


async def test_what_is_not_stored_when_a_connection_ends_is_dropped(connections: ConnectionRig) -> None:
    connection, _ = connections.ready()
    connection.received(FRAME * 2)
    assert [batch.cancelled for batch in connections.telemetry.batches] == [False, False]
    connection.connection_lost(None)
    assert [batch.cancelled for batch in connections.telemetry.batches] == [True, True]


async def test_a_device_is_let_in_though_the_registry_does_not_answer(
    frozen: FrozenDateTimeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocols, "ACCEPT_DELAY", 0.001)
    connections = ConnectionRig(frozen)
    _, transport = connections.identify()
    assert transport.written == []
    said: asyncio.Queue[bytes] = asyncio.Queue()
    monkeypatch.setattr(transport, "write", said.put_nowait)
    async with asyncio.timeout(TIME_LIMIT):
        assert await said.get() == ACCEPT


# How much of a device is read


async def test_a_device_is_read_on_while_its_frames_are_stored(connections: ConnectionRig) -> None:
    connection, transport = connections.ready()
    connection.received(FRAME * (UNACKED_LIMIT - 1))
    assert not transport.paused
    connection.received(FRAME)
    assert transport.paused


@pytest.mark.parametrize(("pending", "paused"), [(LIMIT - 1000, False), (LIMIT, True)])
async def test_a_full_backlog_stops_all_reading(
    connections: ConnectionRig, pending: int, paused: bool
) -> None:
    connection, transport = connections.ready()
    connections.context.backlog.bytes = pending
    connection.received(FRAME)
    assert transport.paused is paused


async def test_noise_that_is_no_frame_ends_the_connection(connections: ConnectionRig) -> None:
    connection, transport = connections.ready()
    connection.received(b"\x00\x00\x00\x01")
    assert (connection.close_reason, transport.closing) == ("protocol_error", True)


async def test_so_many_bad_checksums_in_a_row_end_the_connection(connections: ConnectionRig) -> None:
    connection, _ = connections.ready()
    connection.received(damaged(FRAME) * (BAD_FRAMES_LIMIT - 1) + FRAME)
    connection.received(damaged(FRAME) * (BAD_FRAMES_LIMIT - 1))
    assert not connection.closed
    connection.received(damaged(FRAME))
    assert connection.close_reason == "protocol_error"


# How many connections there may be


async def test_connections_beyond_the_limit_are_closed(make_connections: MakeConnections) -> None:
    connections = make_connections(max_connections=2)
    first, _ = connections.accept_from("10.0.0.1")
    assert [connections.accept_from(host)[1].aborted for host in ("10.0.0.2", "10.0.0.3")] == [False, True]
    first.connection_lost(None)
    assert [connections.accept_from(host)[1].aborted for host in ("10.0.0.4", "10.0.0.5")] == [False, True]


async def test_connections_beyond_the_limit_of_an_address_are_closed(
    make_connections: MakeConnections,
) -> None:
    connections = make_connections(max_connections_per_ip=1)
    first, _ = connections.accept_from("10.0.0.1")
    assert [connections.accept_from(host)[1].aborted for host in ("10.0.0.1", "10.0.0.2")] == [True, False]
    first.connection_lost(None)
    assert [connections.accept_from(host)[1].aborted for host in ("10.0.0.1", "10.0.0.1")] == [False, True]


async def test_a_refused_connection_takes_no_room(make_connections: MakeConnections) -> None:
    connections = make_connections(max_connections=1)
    connections.accept_from("10.0.0.1")
    second, _ = connections.accept_from("10.0.0.2")
    second.connection_lost(None)
    assert (connections.accept_from("10.0.0.3")[1].aborted, connections.sessions.connected) == (True, 1)


# Which connection is the device's


async def test_the_end_of_an_older_session_leaves_the_newer_registered(connections: ConnectionRig) -> None:
    older, _ = connections.ready()
    newer, _ = connections.identify()
    assert (older.close_reason, newer.closed) == ("superseded", False)
    assert connections.registrar.unregistered == []
    assert connections.commands.dispatcher.links.get(IMEI) is newer
    older.connection_lost(None)
    assert connections.registrar.unregistered == []
    newer.connection_lost(None)
    assert connections.registrar.unregistered == [(IMEI, newer.session_id)]


async def test_a_registry_reply_closes_only_the_session_that_asked(connections: ConnectionRig) -> None:
    def reconciled(link: DeviceConnection) -> None:
        connections.sessions.reconciled(link.session_id, IMEI, SUPERSEDED)

    older, _ = connections.ready()
    newer, _ = connections.ready()
    reconciled(older)
    assert not newer.closed
    reconciled(newer)
    assert newer.close_reason == "superseded"
