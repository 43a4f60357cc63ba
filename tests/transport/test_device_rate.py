"""A device that sends too fast is read later, and nothing that it sent is dropped."""

from __future__ import annotations

import pytest
from freezegun.api import FrozenDateTimeFactory
from structlog.testing import capture_logs

from fsm.backlog import LIMIT
from tests.serial_port import SENSOR
from tests.transport.command_rig import IMEI, OTHER_IMEI
from tests.transport.connection_rig import FRAME, RECORD, ConnectionRig, FakeTransport
from transport.connection import device_rate
from transport.connection.device_rate import AHEAD, ENTRY
from transport.connection.protocol import DeviceConnection
from transport.teltonika.avl import encode_avl
from transport.teltonika.frame import CODEC_8

RATE = len(FRAME) + ENTRY
"""A frame a second, and 60 at once."""


@pytest.fixture
async def limited(frozen: FrozenDateTimeFactory) -> ConnectionRig:
    return ConnectionRig(frozen, device_rate=RATE)


def send(connections: ConnectionRig, connection: DeviceConnection, frames: int, frame: bytes = FRAME) -> None:
    """The device sends frames, and each is stored."""
    for _ in range(frames):
        connection.received(frame)
        while connections.telemetry.batches:
            connections.telemetry.confirm()


def too_fast(connections: ConnectionRig, imei: str = IMEI) -> tuple[DeviceConnection, FakeTransport]:
    """A device that has sent what it may, one frame more, and one."""
    connection, transport = connections.welcome(imei)
    send(connections, connection, round(AHEAD))
    assert not transport.paused
    send(connections, connection, 2)
    assert transport.paused
    return connection, transport


async def test_a_device_that_sends_too_fast_is_read_when_that_is_paid_for(limited: ConnectionRig) -> None:
    connection, transport = too_fast(limited)
    limited.at(1.9)
    assert transport.paused
    limited.at(2)
    assert not transport.paused
    assert (connection.closed, limited.context.records) == (False, AHEAD + 2)


@pytest.mark.parametrize(
    "frame", [encode_avl(CODEC_8, [RECORD] * 10), SENSOR * 10], ids=["records", "messages"]
)
async def test_small_entries_count_more_than_their_bytes(frozen: FrozenDateTimeFactory, frame: bytes) -> None:
    """A device would fill a stream that is capped by entries."""
    cost = len(frame) + 10 * ENTRY
    connections = ConnectionRig(frozen, device_rate=cost)
    connection, transport = connections.welcome()
    send(connections, connection, round(AHEAD), frame)
    assert not transport.paused
    send(connections, connection, 1, frame)
    assert transport.paused


async def test_who_is_slowed_is_logged_and_counted(limited: ConnectionRig) -> None:
    with capture_logs() as logs:
        connection, _ = too_fast(limited)
        limited.at(2)
        send(limited, connection, 1)
        limited.at(61)
    told = [line for line in logs if line["event"] == "over_rate"]
    assert [(line["imei"], line["allowed"], line["count"]) for line in told] == [
        (IMEI, RATE, 1),
        (IMEI, RATE, 2),
    ]
    slowed = limited.commands.metrics.registry.get_sample_value("teltonika_devices_slowed_total")
    assert slowed == 3


async def test_a_new_connection_of_the_device_is_slowed_as_the_old_one(limited: ConnectionRig) -> None:
    connection, _ = too_fast(limited)
    connection.connection_lost(None)
    again, transport = limited.welcome()
    send(limited, again, 1)
    other, unhindered = limited.welcome(OTHER_IMEI)
    send(limited, other, 1)
    assert (transport.paused, unhindered.paused) == (True, False)


async def test_a_slowed_device_takes_its_turn_when_it_has_waited(limited: ConnectionRig) -> None:
    _, transport = too_fast(limited)
    limited.context.backlog.bytes = LIMIT + 1
    limited.context.backpressure.hold_all()
    limited.context.backlog.bytes = 0
    limited.at(1)
    assert transport.paused
    limited.at(2)
    assert not transport.paused
    assert not limited.context.backpressure.waiting


async def test_what_devices_have_sent_is_forgotten_when_it_is_paid_for(
    limited: ConnectionRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_rate, "REMEMBERED", 3)
    for number in range(10):
        connection, _ = limited.welcome(f"{number:015}")
        send(limited, connection, 2)
        connection.connection_lost(None)
    left = limited.context.backpressure.device_rate._left
    assert len(left) == 3
    limited.at(100)
    connection, _ = limited.welcome()
    connection.received(b"\xff")
    connection.connection_lost(None)
    assert set(left) <= {IMEI}


async def test_without_a_rate_nobody_is_slowed(frozen: FrozenDateTimeFactory) -> None:
    connections = ConnectionRig(frozen, device_rate=0)
    connection, transport = connections.welcome()
    send(connections, connection, 300)
    assert not transport.paused
