"""The rules of frames one by one: what is read behind an end, and what every wait of a device counts from."""

from __future__ import annotations

from datetime import timedelta

import pytest
from freezegun.api import FrozenDateTimeFactory

from fsm.registration import Registered, RegisterResult
from fsm.session import IDENTIFIED, READY
from tests.transport.command_rig import IMEI
from tests.transport.connection_rig import FRAME, ConnectionRig
from transport.connection.timeouts import STORE_TIMEOUT
from transport.teltonika.avl import encode_ack
from transport.teltonika.frame import encode_frame
from transport.teltonika.handshake import ACCEPT
from transport.teltonika.stream import BAD_FRAMES_LIMIT

DAMAGED = FRAME[:-1] + bytes((FRAME[-1] ^ 1,))
OTHER = "352093081452252"
SKIPPED = encode_frame(bytes((0x0D, 1, 6, 0, 0, 0, 0, 1)))


@pytest.fixture
async def connections(frozen: FrozenDateTimeFactory) -> ConnectionRig:
    return ConnectionRig(frozen, reconnect_grace=600.0)


async def test_behind_the_frame_that_ends_a_connection_nothing_is_stored(connections: ConnectionRig) -> None:
    connection, _ = connections.ready()
    connection.received(DAMAGED * BAD_FRAMES_LIMIT + FRAME)
    assert (connection.close_reason, connections.telemetry.batches) == ("protocol_error", [])


async def test_to_a_connection_that_is_closed_nothing_is_acknowledged(connections: ConnectionRig) -> None:
    connection, transport = connections.ready()
    connection.received(FRAME)
    connection.close("idle")
    connections.telemetry.confirm()
    assert (transport.written, connections.context.frames) == ([], 2)


async def test_frames_of_two_devices_arrive_in_pieces_side_by_side(connections: ConnectionRig) -> None:
    devices = [connections.ready(imei) for imei in (IMEI, OTHER)]
    for piece in (FRAME[:20], FRAME[20:], DAMAGED[:20], DAMAGED[20:], FRAME):
        for connection, _ in devices:
            connection.received(piece)
    assert [batch.imei.decode() for batch in connections.telemetry.batches] == [IMEI, OTHER] * 2
    for _ in range(4):
        connections.telemetry.confirm()
    assert [transport.written for _, transport in devices] == [[encode_ack(1)] * 2] * 2


# When a device gets its commands


async def test_a_device_without_records_gets_commands_too(connections: ConnectionRig) -> None:
    connection, transport = connections.welcome()
    connection.received(SKIPPED[:5])
    connection.received(SKIPPED[5:])
    connections.commands.ask()
    connections.commands.ledger.commit()
    connections.at(9.9)
    assert connection.state == IDENTIFIED
    connections.at(10)
    connections.commands.ledger.commit()
    assert (connection.state, len(transport.written)) == (READY, 1)


async def test_a_command_is_written_behind_a_frame_of_any_kind(connections: ConnectionRig) -> None:
    connection, transport = connections.ready()
    connection.received(SKIPPED[:5])
    connections.commands.ask()
    connections.commands.ledger.commit()
    assert transport.written == []
    connection.received(SKIPPED[5:])
    connections.commands.ledger.commit()
    assert len(transport.written) == 1


@pytest.mark.parametrize("grace", [5.0, 20.0])
async def test_the_grace_of_a_device_without_records_is_its_own(
    frozen: FrozenDateTimeFactory, grace: float
) -> None:
    """Shorter or longer than the time that it had to name itself."""
    connections = ConnectionRig(frozen, ready_grace=grace)
    connection, _ = connections.identify()
    connections.at(grace - 0.1)
    assert connection.state == IDENTIFIED
    connections.at(grace)
    assert connection.state == READY


async def test_bytes_after_a_command_do_not_hide_its_arrival(
    connections: ConnectionRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, transport = connections.ready()
    monkeypatch.setattr("transport.connection.protocol.unacknowledged", lambda _: len(transport.written[-1]))
    offset = connection.send(b"command")
    assert not connection.acknowledged(offset)
    connection.received(FRAME)
    connections.telemetry.confirm()
    assert (transport.written[-1], connection.acknowledged(offset)) == (encode_ack(1), True)


# The first byte and the last


async def test_a_device_is_accepted_as_soon_as_it_is_registered(connections: ConnectionRig) -> None:
    connection, transport = connections.identify()
    connection.registered(RegisterResult(Registered.REGISTERED))
    assert transport.written == [ACCEPT]


async def test_a_closed_device_gets_no_handshake_reply(connections: ConnectionRig) -> None:
    connection, transport = connections.identify()
    connection.close("idle")
    connection.registered(RegisterResult(Registered.REGISTERED))
    assert transport.written == []


@pytest.mark.parametrize(
    ("reason", "aborted"),
    [("shutdown", False), ("protocol_error", False), ("rejected", False), ("idle", True), ("fenced", True)],
)
async def test_a_slow_device_reads_why_it_is_closed(
    connections: ConnectionRig, reason: str, aborted: bool
) -> None:
    connection, transport = connections.ready()
    transport.unread = 1
    connection.close(reason)
    assert (transport.closing, transport.aborted) == (True, aborted)


async def test_a_lost_connection_is_not_closed_again(connections: ConnectionRig) -> None:
    connection, _ = connections.ready()
    connection.connection_lost(None)
    connection.close("idle")
    assert (connections.sessions.closing, connection.close_reason) == (set(), "device_closed")


# How long a device waits for the store


@pytest.fixture
def stalled(connections: ConnectionRig) -> ConnectionRig:
    connections.telemetry.healthy = False
    return connections


async def test_every_frame_that_is_stored_gives_the_next_its_whole_time(stalled: ConnectionRig) -> None:
    connection, transport = stalled.ready()
    connection.received(FRAME * 2)
    stalled.at(30)
    stalled.telemetry.confirm()
    stalled.at(30 + STORE_TIMEOUT - 1)
    assert (transport.written, connection.closed) == ([encode_ack(1)], False)
    stalled.at(30 + STORE_TIMEOUT)
    assert connection.close_reason == "store_unavailable"


async def test_a_frame_behind_one_that_waits_gives_it_no_more_time(stalled: ConnectionRig) -> None:
    connection, _ = stalled.ready()
    connection.received(FRAME)
    stalled.at(30)
    connection.received(FRAME)
    stalled.at(STORE_TIMEOUT)
    assert connection.close_reason == "store_unavailable"


async def test_a_device_whose_frames_are_all_stored_waits_for_nothing(stalled: ConnectionRig) -> None:
    connection, _ = stalled.ready()
    connection.received(FRAME)
    stalled.telemetry.confirm()
    stalled.at(STORE_TIMEOUT)
    assert not connection.closed


async def test_a_device_that_sends_is_not_idle(frozen: FrozenDateTimeFactory) -> None:
    connections = ConnectionRig(frozen, idle_timeout=60.0)
    connection, _ = connections.ready()
    connections.at(40)
    connection.received(SKIPPED)
    frozen.tick(timedelta(seconds=40))
    connections.timeouts.sweep(connections.commands.clock.monotonic())
    assert not connection.closed
    connections.at(100)
    assert connection.close_reason == "idle"
