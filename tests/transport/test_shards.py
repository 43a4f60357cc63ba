"""Connections where telemetry has shards: one that is away concerns its own devices only."""

from __future__ import annotations

import pytest

from fsm.backlog import LIMIT
from fsm.shards import shard_of
from tests.transport.connection_rig import FRAME, ConnectionRig, MakeConnections
from tests.transport.test_protocol_frames import SKIPPED
from transport.connection.timeouts import STORE_TIMEOUT
from transport.teltonika.avl import encode_ack

IMEIS = [str(352_093_081_452_000 + number) for number in range(100)]
FIRST, SECOND = (next(imei for imei in IMEIS if shard_of(imei.encode(), 2) == shard) for shard in (0, 1))


@pytest.fixture
async def rig(make_connections: MakeConnections) -> ConnectionRig:
    """Two shards, of which the first takes nothing more."""
    rig = make_connections(shards=2)
    rig.shards[0].backlog.bytes = LIMIT + 1
    return rig


async def test_a_full_shard_pauses_its_own_devices_only(rig: ConnectionRig) -> None:
    paused, socket = rig.welcome(FIRST)
    paused.received(FRAME)
    assert socket.paused
    served, other = rig.welcome(SECOND)
    served.received(FRAME)
    rig.shards[1].confirm()
    assert (other.written, other.paused) == ([encode_ack(1)], False)


async def test_a_device_of_a_full_shard_is_accepted_and_its_records_wait_in_its_socket(
    rig: ConnectionRig,
) -> None:
    earlier, _ = rig.welcome(FIRST)
    earlier.received(FRAME)
    later, socket = rig.welcome(IMEIS[next(n for n, i in enumerate(IMEIS) if _is_other_of_first(i))])
    assert (later.imei != "", socket.paused) == (True, True)
    later.received(FRAME)  # what was read already is kept
    assert len(rig.shards[0].batches) == 1
    rig.shards[0].backlog.bytes = 0
    rig.timeouts.sweep(rig.commands.clock.monotonic())
    assert len(rig.shards[0].batches) == 2


def _is_other_of_first(imei: str) -> bool:
    return imei != FIRST and shard_of(imei.encode(), 2) == 0


async def test_only_devices_of_a_shard_that_fails_are_closed(rig: ConnectionRig) -> None:
    rig.shards[0].backlog.bytes = 0
    rig.shards[0].healthy = False
    waits, _ = rig.welcome(FIRST)
    served, _ = rig.welcome(SECOND)
    for connection in (waits, served):
        connection.received(FRAME)
    rig.shards[1].confirm()
    rig.at(STORE_TIMEOUT)
    assert (waits.close_reason, served.closed) == ("store_unavailable", False)


async def test_what_is_not_acknowledged_goes_to_the_store_of_the_fleet(rig: ConnectionRig) -> None:
    connection, _ = rig.welcome(SECOND)
    connection.received(SKIPPED)
    connection.received(FRAME)
    kinds = [[frame.kind for frame in store.batches] for store in (rig.telemetry, *rig.shards)]
    assert kinds == [["undecodable"], [], ["record"]]


async def test_messages_that_cannot_be_stored_pause_those_who_send_them(rig: ConnectionRig) -> None:
    rig.telemetry.backlog.bytes = LIMIT + 1
    talks, socket = rig.welcome(SECOND)
    talks.received(SKIPPED)
    reports, other = rig.welcome(next(i for i in IMEIS if i != SECOND and shard_of(i.encode(), 2) == 1))
    reports.received(FRAME)
    rig.shards[1].confirm()
    assert (socket.paused, other.paused, other.written) == (True, False, [encode_ack(1)])
    rig.telemetry.confirm()
    assert not socket.paused


async def test_all_shards_stop_being_read_at_the_end(rig: ConnectionRig) -> None:
    sockets = [rig.welcome(imei)[1] for imei in (FIRST, SECOND)]
    rig.context.stop_reading()
    assert [socket.paused for socket in sockets] == [True, True]
