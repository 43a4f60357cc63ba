"""The bytes of a watched device, and of no other; the text of a command never leaves the gateway."""

from __future__ import annotations

import pytest

from fsm.registration import Registered, RegisterResult
from tests.transport.command_rig import IMEI
from tests.transport.connection_rig import FRAME, ConnectionRig, MakeConnections
from transport.connection.protocol import DeviceConnection
from transport.connection.tap import mask
from transport.teltonika.command import decode_message, encode_answer, encode_command
from transport.teltonika.frame import CODEC_12, CODEC_14
from transport.teltonika.handshake import ACCEPT, encode_handshake

OTHER = "352093081452259"


def read(connection: DeviceConnection, data: bytes) -> None:
    """The socket of the connection has received `data`."""
    connection.get_buffer(len(data))[: len(data)] = data
    connection.buffer_updated(len(data))


def traced(rig: ConnectionRig) -> list[tuple[str, bytes]]:
    return [(chunk.direction, chunk.data) for chunk in rig.trace]


async def test_a_watched_device_is_published_from_its_handshake_on(make_connections: MakeConnections) -> None:
    rig = make_connections()
    rig.context.tap.watch([IMEI])
    connection, _ = rig.accept()
    read(connection, encode_handshake(IMEI))
    connection.registered(RegisterResult(Registered.REGISTERED))
    read(connection, FRAME)
    rig.telemetry.confirm()
    ack = b"\0\0\0\1"
    assert traced(rig) == [("in", encode_handshake(IMEI)), ("out", ACCEPT), ("in", FRAME), ("out", ack)]
    assert [chunk.number for chunk in rig.trace] == [1, 2, 3, 4]
    assert {chunk.session_id for chunk in rig.trace} == {connection.session_id}


async def test_no_other_device_is_published(make_connections: MakeConnections) -> None:
    rig = make_connections()
    connection, _ = rig.ready()
    rig.context.tap.watch([OTHER])
    read(connection, FRAME)
    rig.telemetry.confirm()
    rig.context.tap.watch([IMEI])
    rig.context.tap.watch([])
    read(connection, FRAME)
    assert rig.trace == []


async def test_the_count_goes_on_while_a_device_is_watched(make_connections: MakeConnections) -> None:
    rig = make_connections()
    connection, _ = rig.ready()
    for _ in range(2):
        rig.context.tap.watch([OTHER, IMEI])
        read(connection, b"\xff")
    assert [chunk.number for chunk in rig.trace] == [1, 2]


@pytest.mark.parametrize("codec", [CODEC_12, CODEC_14])
def test_the_text_and_the_checksum_of_a_command_are_masked(codec: int) -> None:
    frame = encode_command(codec, IMEI, b"login secret getinfo")
    masked = mask(frame)
    assert len(masked) == len(frame)
    assert decode_message(masked[8:-4]).payload == b"*" * 20
    assert mask(encode_command(codec, IMEI, b"login SECRET getinfo")) == masked


@pytest.mark.parametrize("data", [ACCEPT, b"\0\0\0\5", FRAME, encode_answer(CODEC_12, IMEI, b"OK"), b""])
def test_nothing_else_is_masked(data: bytes) -> None:
    assert mask(data) is data
