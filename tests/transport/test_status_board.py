"""What a gateway tells of its devices, and when."""

from __future__ import annotations

import pytest

from fsm.device_status import LastRecord
from fsm.registration import Registered, RegisterResult
from tests.transport.command_rig import IMEI
from tests.transport.connection_rig import FRAME, RECORD, MakeConnections
from transport.teltonika.avl import encode_avl
from transport.teltonika.frame import CODEC_8, encode_frame

LAST = LastRecord(
    timestamp=RECORD.timestamp, latitude=RECORD.latitude, longitude=RECORD.longitude, speed=0, satellites=9
)


async def test_the_status_follows_the_session(make_connections: MakeConnections) -> None:
    rig = make_connections()
    connection, _ = rig.identify()
    told = rig.device_status
    first = told[IMEI]
    assert (first.state, first.instance_id, first.peer) == ("identified", "gw-1", "10.0.0.1:40000")
    assert first.auth == "plain"
    assert (first.session_id, first.last, first.disconnected_at) == (connection.session_id, None, None)
    connection.registered(RegisterResult(Registered.REGISTERED))
    connection.received(FRAME)
    rig.telemetry.confirm()
    assert (told[IMEI].state, told[IMEI].frames, told[IMEI].records, told[IMEI].last) == ("ready", 1, 1, LAST)
    connection.connection_lost(None)
    last = told[IMEI]
    assert (last.state, last.reason, last.last) == ("closed", "device_closed", LAST)
    assert last.disconnected_at == last.connected_at


async def test_a_newer_session_is_not_called_closed_when_the_older_one_ends(
    make_connections: MakeConnections,
) -> None:
    rig = make_connections()
    older, _ = rig.ready()
    newer, _ = rig.ready()
    older.connection_lost(None)
    assert rig.device_status[IMEI].session_id == newer.session_id
    assert rig.device_status[IMEI].state == "ready"


async def test_only_devices_that_were_heard_are_told_again(make_connections: MakeConnections) -> None:
    rig = make_connections()
    connection, _ = rig.ready()
    rig.sessions.status.refresh(rig.sessions.by_imei.values())
    rig.device_status.clear()
    rig.at(20.0)
    rig.context.now = rig.commands.clock.monotonic()
    rig.sessions.status.refresh(rig.sessions.by_imei.values())
    assert rig.device_status == {}
    connection.received(encode_avl(CODEC_8, [RECORD, RECORD]))
    rig.telemetry.confirm()
    rig.at(25.0)
    rig.sessions.status.refresh(rig.sessions.by_imei.values())
    told = rig.device_status[IMEI]
    assert (told.frames, told.records) == (2, 3)
    assert told.last_seen_at - told.connected_at == 20_000


async def test_a_last_record_is_told_once(make_connections: MakeConnections) -> None:
    rig = make_connections()
    connection, _ = rig.ready()
    assert rig.device_status[IMEI].last == LAST
    rig.device_status.clear()
    connection.connection_lost(None)
    assert (rig.device_status[IMEI].records, rig.device_status[IMEI].last) == (1, None)


@pytest.mark.parametrize("payload", ["json", "raw"])
async def test_the_last_record_is_told_in_either_form(
    make_connections: MakeConnections, payload: str
) -> None:
    rig = make_connections(payload=payload)
    rig.ready()
    assert rig.device_status[IMEI].last == LAST


async def test_a_frame_that_cannot_be_decoded_leaves_the_last_record(
    make_connections: MakeConnections,
) -> None:
    rig = make_connections(payload="raw")
    connection, _ = rig.ready()
    body = encode_avl(CODEC_8, [RECORD])[8:-4]
    connection.received(encode_frame(body[:-1] + b"\0" + body[-1:]))  # one byte too many
    rig.telemetry.confirm()
    rig.sessions.status.refresh(rig.sessions.by_imei.values())
    assert (rig.device_status[IMEI].frames, rig.device_status[IMEI].last) == (2, LAST)
