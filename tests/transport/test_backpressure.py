"""Who is read: nobody while too much waits for the store, then each in turn, each no more than its share."""

from __future__ import annotations

import asyncio

import pytest
from freezegun.api import FrozenDateTimeFactory

from fsm.backlog import LIMIT
from fsm.registration import Registered, RegisterResult
from tests.transport.command_rig import IMEI
from tests.transport.connection_rig import FRAME, RECORD, ConnectionRig, FakeTransport
from transport.connection.backpressure import FIRST_READ, READ_COST, READ_SIZE, UNACKED_LIMIT
from transport.connection.protocol import DeviceConnection
from transport.teltonika.avl import encode_ack, encode_avl
from transport.teltonika.command import encode_answer
from transport.teltonika.frame import CODEC_8, CODEC_12
from transport.teltonika.handshake import encode_handshake
from transport.teltonika.stream import FRAME_DEADLINE

PING = encode_answer(CODEC_12, "", b"")
OTHER, THIRD = "352093081452252", "352093081452253"
FULL = LIMIT + 1


def fill(connections: ConnectionRig) -> None:
    """The store holds as much as it may, of devices that are not here; one of ours notices."""
    connections.context.backlog.bytes = FULL
    connections.context.backpressure.hold_all()


def read_into(connection: DeviceConnection, data: bytes) -> None:
    """A socket delivers `data`, piece by piece, as the event loop does."""
    for at in range(0, len(data), READ_SIZE):
        piece = data[at : at + READ_SIZE]
        buffer = connection.get_buffer(-1)
        assert len(buffer) == READ_SIZE
        buffer[: len(piece)] = piece
        connection.buffer_updated(len(piece))


# One device


async def test_what_a_socket_delivers_is_read_whole(connections: ConnectionRig) -> None:
    connection, transport = connections.ready()
    frames = [encode_avl(CODEC_8, [RECORD] * count) for count in (80, 1, 79)]
    read_into(connection, b"".join(frames))
    for _ in frames:
        connections.telemetry.confirm()
    assert transport.written == [encode_ack(80), encode_ack(1), encode_ack(79)]


@pytest.mark.parametrize(("size", "paused"), [(READ_SIZE - 1, False), (READ_SIZE, True)])
async def test_after_a_full_read_other_connections_are_read(
    connections: ConnectionRig, size: int, paused: bool
) -> None:
    connection, transport = connections.ready()
    connection.received((PING * READ_SIZE)[:size])
    assert transport.paused is paused
    await asyncio.sleep(0)
    assert not transport.paused


async def test_little_is_read_of_a_device_before_01(connections: ConnectionRig) -> None:
    connection, transport = connections.accept()
    hello = encode_handshake(IMEI)
    buffer = connection.get_buffer(-1)
    assert len(buffer) == FIRST_READ
    buffer[: len(hello)] = hello
    connection.buffer_updated(len(hello))
    assert transport.paused
    connection.registered(RegisterResult(Registered.REGISTERED))
    await asyncio.sleep(0)
    assert not transport.paused
    assert transport.longest_read == READ_SIZE


async def test_a_device_with_many_waiting_frames_is_paused(connections: ConnectionRig) -> None:
    connection, transport = connections.ready()
    connection.received(FRAME * UNACKED_LIMIT)
    connections.context.backpressure.progress()
    await asyncio.sleep(0)
    assert transport.paused
    connections.telemetry.confirm()
    assert not transport.paused


@pytest.mark.parametrize(("waiting", "paused"), [(1, False), (2, True)])
async def test_the_fuller_the_backlog_the_less_of_it_is_for_one_device(
    connections: ConnectionRig, waiting: int, paused: bool
) -> None:
    connection, transport = connections.ready()
    connections.context.backlog.bytes = LIMIT - 4096
    connection.received(FRAME * waiting)
    assert transport.paused is paused
    connections.telemetry.confirm()
    assert not transport.paused


async def test_frames_stored_after_the_end_free_their_room(connections: ConnectionRig) -> None:
    connection, _ = connections.ready()
    connection.received(FRAME * UNACKED_LIMIT)
    connection.connection_lost(None)
    fill(connections)
    connections.telemetry.confirm()
    assert not connections.context.backpressure.waiting


# All of them


async def test_a_full_backlog_pauses_all_devices(connections: ConnectionRig) -> None:
    device, its = connections.ready()
    _, silent = connections.ready(OTHER)
    _, unidentified = connections.accept()
    connections.context.backlog.bytes = LIMIT
    device.received(FRAME)
    assert [one.paused for one in (its, silent, unidentified)] == [True] * 3
    _, newcomer = connections.accept()
    assert newcomer.paused


@pytest.mark.parametrize("free", [READ_COST - 1, READ_COST])
async def test_everybody_is_read_again_when_there_is_room(connections: ConnectionRig, free: int) -> None:
    transports = [connections.ready()[1], connections.ready(OTHER)[1], connections.accept()[1]]
    fill(connections)
    connections.context.backlog.bytes = LIMIT - free
    for _ in range(4):
        connections.at(0.1)
        await asyncio.sleep(0)
    assert [one.paused for one in transports] == [free < READ_COST] * 3


async def test_bytes_received_while_paused_are_read_in_turn(connections: ConnectionRig) -> None:
    """uvloop reads a new connection once, whatever was said when it was made."""
    fill(connections)
    connection, transport = connections.accept()
    connection.received(encode_handshake(IMEI)[:5])
    connection.received(encode_handshake(IMEI)[5:] + FRAME)
    assert (connection.imei, connections.telemetry.batches) == ("", [])
    connections.context.backlog.bytes = 0
    connections.context.backpressure.progress()
    connection.registered(RegisterResult(Registered.REGISTERED))
    await asyncio.sleep(0)
    assert (connection.imei, len(connections.telemetry.batches)) == (IMEI, 1)
    await asyncio.sleep(0)
    assert not transport.paused


async def test_what_came_with_the_name_of_a_device_waits_for_room(connections: ConnectionRig) -> None:
    connection, _ = connections.accept()
    asked = []
    connections.context.access.refusal = lambda *_: None  # type: ignore[method-assign]
    connections.context.access.ask = lambda imei, device, done: asked.append(done)  # type: ignore[method-assign]
    connection.received(encode_handshake(IMEI) + FRAME)
    fill(connections)
    asked[0]("")
    connection.registered(RegisterResult(Registered.REGISTERED))
    await asyncio.sleep(0)
    assert (connection.imei, connections.telemetry.batches) == (IMEI, [])
    connections.context.backlog.bytes = 0
    connections.context.backpressure.progress()
    assert len(connections.telemetry.batches) == 1


async def test_while_the_allow_list_is_asked_nothing_more_is_read(connections: ConnectionRig) -> None:
    connection, transport = connections.accept()
    connections.context.access.refusal = lambda *_: None  # type: ignore[method-assign]
    connections.context.access.ask = lambda imei, device, done: None  # type: ignore[method-assign]
    connection.received(encode_handshake(IMEI))
    fill(connections)
    connections.context.backlog.bytes = 0
    connections.context.backpressure.progress()
    assert transport.paused


async def test_the_longest_waiting_connection_is_read_first(connections: ConnectionRig) -> None:
    devices = [connections.ready(imei) for imei in (IMEI, OTHER, THIRD)]
    fill(connections)
    order = []
    for _ in range(5):
        connections.context.backlog.bytes = LIMIT - READ_COST
        connections.context.backpressure.progress()
        [(turn, (connection, _))] = [
            (number, device) for number, device in enumerate(devices) if not device[1].paused
        ]
        order.append(turn)
        connection.received(FRAME)
        connections.telemetry.confirm()
    assert order == [0, 1, 2, 0, 1]


async def test_busy_devices_do_not_delay_a_quiet_one(connections: ConnectionRig) -> None:
    device, transport = connections.ready(IMEI)
    many = [connections.ready(f"35209308145{number:04}") for number in range(20)]
    connections.ready(OTHER)  # it waits all the time, so the turns go on
    fill(connections)
    connections.context.backlog.bytes = LIMIT - (1 + len(many)) * READ_COST
    connections.context.backpressure.progress()
    connections.context.backlog.bytes = LIMIT
    for connection, _ in many:
        connection.received(PING * (READ_SIZE // len(PING)))
    device.received(FRAME)
    for _ in range(2):
        connections.context.backlog.bytes = LIMIT - READ_COST
        connections.context.backpressure.progress()
    assert (transport.paused, [its.paused for _, its in many]) == (False, [True] * len(many))


async def test_few_connections_resume_in_each_turn_of_the_loop(connections: ConnectionRig) -> None:
    transports = [connections.ready(f"35209308145{number:04}")[1] for number in range(10)]
    fill(connections)
    connections.context.backlog.bytes = LIMIT - 3 * READ_COST
    connections.context.backpressure.progress()
    told = [sum(not one.paused for one in transports)]
    while told[-1] < 10:
        await asyncio.sleep(0)
        told.append(sum(not one.paused for one in transports))
    assert told == [3, 6, 9, 10]


async def test_one_turn_in_four_is_for_unacknowledged_devices(connections: ConnectionRig) -> None:
    for number in range(12):
        connections.ready(f"35209308145{number:04}")
    unidentified = [connections.accept()[1] for _ in range(12)]
    fill(connections)
    connections.context.backlog.bytes = LIMIT - 8 * READ_COST
    connections.context.backpressure.progress()
    assert sum(not one.paused for one in unidentified) == 2
    assert connections.context.backpressure.waiting == 24 - 8


async def test_turns_end_when_no_connection_waits(connections: ConnectionRig) -> None:
    connection, transport = connections.ready()
    fill(connections)
    connections.context.backlog.bytes = 0
    connections.context.backpressure.progress()
    connection.received(FRAME)
    assert (connections.context.backpressure.in_turns, transport.paused) == (False, False)


async def test_a_turn_of_the_loop_does_not_end_a_pause(connections: ConnectionRig) -> None:
    connection, transport = connections.ready()
    connection.received((PING * READ_SIZE)[:READ_SIZE])
    fill(connections)
    await asyncio.sleep(0)
    assert transport.paused


async def test_a_closing_device_is_not_read_again(connections: ConnectionRig) -> None:
    transports: list[FakeTransport] = []
    for imei, sent in ((IMEI, FRAME * UNACKED_LIMIT), (OTHER, (PING * READ_SIZE)[:READ_SIZE])):
        connection, transport = connections.ready(imei)
        connection.received(sent)
        transports.append(transport)
    connections.context.backpressure.stop()
    connections.telemetry.confirm()
    connections.context.backpressure.progress()
    await asyncio.sleep(0)
    assert [one.paused for one in transports] == [True, True]


# What is not a device's fault


async def test_a_device_is_not_blamed_for_a_frame_that_is_not_read(connections: ConnectionRig) -> None:
    connection, _ = connections.ready()
    connection.received(FRAME[:20])
    fill(connections)
    connections.at(FRAME_DEADLINE + 1)
    assert not connection.closed
    connections.context.backlog.bytes = 0
    connections.context.backpressure.progress()
    connections.at(2 * FRAME_DEADLINE + 2)
    assert connection.close_reason == "protocol_error"


async def test_a_device_that_is_not_read_is_not_idle(frozen: FrozenDateTimeFactory) -> None:
    connections = ConnectionRig(frozen, idle_timeout=60.0)
    connection, _ = connections.ready()
    fill(connections)
    connections.at(61)
    assert not connection.closed
