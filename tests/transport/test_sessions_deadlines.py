"""Every time limit of a connection, a millisecond before, at, and after it; and when commands are written."""

from __future__ import annotations

import pytest

from fsm.session import CLOSED, READY
from tests.transport.command_rig import IMEI, OTHER_IMEI
from tests.transport.connection_rig import FRAME, ConnectionRig, MakeConnections
from transport.connection.tcp import WRITE_LIMIT
from transport.connection.timeouts import FIRST_RECORD, STORE_TIMEOUT
from transport.teltonika.avl import encode_ack
from transport.teltonika.command import encode_answer, encode_command
from transport.teltonika.frame import CODEC_12
from transport.teltonika.handshake import encode_handshake
from transport.teltonika.stream import FRAME_DEADLINE

MILLISECOND = 0.001

around = pytest.mark.parametrize(
    ("off", "due"), [(-MILLISECOND, False), (0.0, True), (MILLISECOND, True)], ids=["before", "at", "after"]
)
ANSWER = encode_answer(CODEC_12, IMEI, b"OK")


def command(text: bytes) -> bytes:
    """The frame of a codec 12 command."""
    return encode_command(CODEC_12, IMEI, text)


# Time limits


@around
async def test_a_device_must_name_itself_in_time(connections: ConnectionRig, off: float, due: bool) -> None:
    connection, _ = connections.accept()
    connections.at(5)
    connection.received(encode_handshake(IMEI)[:16])
    connections.at(10 + off)
    assert connection.closed is due
    assert (connection.close_reason == "handshake_timeout") is due
    assert connections.session_log == []


@around
async def test_a_device_without_records_gets_commands_after_the_grace(
    connections: ConnectionRig, off: float, due: bool
) -> None:
    connection, transport = connections.welcome()
    connections.commands.ask()
    connections.commands.ledger.commit()
    connections.at(10 + off)
    connections.commands.ledger.commit()
    assert (connection.state == READY) is due
    assert (command(b"c-1") in transport.written) is due


@around
async def test_a_frame_that_has_begun_must_end_in_time(
    connections: ConnectionRig, off: float, due: bool
) -> None:
    connection, _ = connections.ready()
    connections.at(100)
    connection.received(FRAME[:20])
    connections.at(115)
    connection.received(FRAME[20:21])
    connections.at(100 + FRAME_DEADLINE + off)
    assert connection.closed is due
    assert (connection.close_reason == "protocol_error") is due


@around
async def test_the_first_frame_must_end_in_time_too(
    connections: ConnectionRig, off: float, due: bool
) -> None:
    connection, _ = connections.welcome()
    connection.received(FRAME[:20])
    connections.at(FRAME_DEADLINE + off)
    assert connection.closed is due


async def test_a_first_frame_has_the_usual_deadline(connections: ConnectionRig) -> None:
    connection, _ = connections.welcome()
    connection.received(FRAME + FRAME[:20])
    connections.telemetry.confirm()
    assert connection.state == READY
    connections.at(FRAME_DEADLINE)
    assert connection.close_reason == "protocol_error"


async def test_each_of_many_frames_in_a_row_has_its_own_time(connections: ConnectionRig) -> None:
    connection, _ = connections.ready()
    connection.received(FRAME[:20])
    for seconds in range(1, 100):
        connections.at(seconds)
        connection.received(FRAME[20:] + FRAME[:20])
        connections.telemetry.confirm()
    assert not connection.closed


@around
async def test_a_device_whose_frame_is_not_stored_is_closed(
    connections: ConnectionRig, off: float, due: bool
) -> None:
    connection, transport = connections.ready()
    connections.at(100)
    connection.received(FRAME)
    connections.telemetry.healthy = False
    connections.at(150)
    connections.at(100 + STORE_TIMEOUT + off)
    assert connection.closed is due
    assert (connection.close_reason == "store_unavailable") is due
    assert transport.written == []


@around
async def test_an_idle_device_is_closed_if_configured(
    make_connections: MakeConnections, off: float, due: bool
) -> None:
    connections = make_connections(idle_timeout=120.0)
    connection, _ = connections.ready()
    connections.at(60)
    connection.received(b"\xff")
    connections.at(175 + off)  # the next look at idle connections is a second later, or more
    connections.at(180 + off)
    assert connection.closed is due


@pytest.mark.parametrize(("options", "closed"), [({}, True), ({"idle_timeout": 0.0}, False)])
async def test_a_device_that_reports_once_a_day_stays(
    make_connections: MakeConnections, options: dict[str, float], closed: bool
) -> None:
    connections = make_connections(**options)
    connection, _ = connections.ready()
    connections.at(86400)
    assert not connection.closed
    connections.at(26 * 3600)
    assert connection.closed is closed


@around
async def test_a_stranger_without_records_is_closed_after_minutes(
    connections: ConnectionRig, off: float, due: bool
) -> None:
    connection, _ = connections.welcome()
    known, _ = connections.welcome(OTHER_IMEI)
    known.place.known = True
    connections.at(280)
    connection.received(b"\xff")
    connections.at(FIRST_RECORD + off)
    assert (connection.closed, known.closed) == (due, False)
    assert (connection.close_reason == "idle") is due


async def test_messages_prove_a_device_as_records_do(connections: ConnectionRig) -> None:
    connection, _ = connections.welcome()
    connection.received(encode_answer(CODEC_12, IMEI, b"sensor"))
    connections.telemetry.confirm()
    connections.at(FIRST_RECORD + 1)
    assert not connection.closed


# When a command may be written


async def test_no_command_between_a_frame_and_its_acknowledgement(connections: ConnectionRig) -> None:
    connection, transport = connections.ready()
    connections.commands.ask()
    connection.received(FRAME[:20])
    connections.commands.ledger.commit()
    connection.received(FRAME[20:])
    assert transport.written == []
    connections.telemetry.confirm()
    assert transport.written == [encode_ack(1), command(b"c-1")]


async def test_no_command_before_a_frame_behind_an_answer(connections: ConnectionRig) -> None:
    connection, transport = connections.ready()
    connections.commands.ask("a")
    connections.commands.ask("b")
    connections.commands.ledger.commit()
    connection.received(ANSWER + FRAME)
    connections.commands.ledger.commit()
    assert transport.written == [command(b"a")]
    connections.telemetry.confirm()
    connections.commands.ledger.commit()
    assert transport.written == [command(b"a"), encode_ack(1), command(b"b")]


async def test_two_answers_in_one_read_do_not_hold_up_the_line(connections: ConnectionRig) -> None:
    connection, transport = connections.ready()
    connections.commands.ask("a")
    connections.commands.ask("b")
    connections.commands.ledger.commit()
    connection.received(ANSWER + ANSWER)
    connections.commands.ledger.commit()
    assert transport.written == [command(b"a"), command(b"b")]
    assert connections.commands.notes() == [("unsolicited_response", "", "OK")]


async def test_an_answer_is_never_acknowledged(connections: ConnectionRig) -> None:
    connection, transport = connections.ready()
    connection.received(ANSWER)
    assert transport.written == []


async def test_a_device_that_reads_nothing_is_aborted(
    connections: ConnectionRig,
) -> None:
    connection, transport = connections.ready()
    transport.unread = WRITE_LIMIT + 1
    connections.commands.ask()
    connections.commands.ledger.commit()
    assert (connection.close_reason, transport.aborted) == ("write_overflow", True)
    assert connections.commands.life()[-1] == "failed write_error maybe_sent"


# The session's own events


async def test_a_close_with_a_command_out_makes_no_taint(connections: ConnectionRig) -> None:
    connection, _ = connections.ready()
    connections.commands.ask()
    connections.commands.ledger.commit()
    connection.connection_lost(None)
    connections.commands.ledger.commit()
    assert connections.session_log.states == ["identified", READY, CLOSED]
    assert connections.commands.life()[-1] == "failed connection_lost maybe_sent"


async def test_a_taint_and_its_end_are_events_of_the_session(connections: ConnectionRig) -> None:
    connection, _ = connections.ready()
    connections.commands.ask()
    connections.commands.ledger.commit()
    connections.at(30)
    connection.received(ANSWER)
    assert connections.session_log.states == ["identified", READY, "tainted", READY]


async def test_a_connection_that_is_closed_while_it_drains_was_draining(connections: ConnectionRig) -> None:
    connection, transport = connections.ready()
    connections.sessions.drain()
    connections.sessions.close_all("shutdown")
    assert transport.closing
    connection.connection_lost(None)
    assert connections.session_log.states == ["identified", READY, "draining", CLOSED]
    assert [event.reason for event in connections.session_log][-1] == "shutdown"


# The gateway stops


async def test_no_device_can_name_itself_to_a_gateway_that_stops(connections: ConnectionRig) -> None:
    unidentified, transport = connections.accept()
    device, _ = connections.ready()
    connections.sessions.refuse_unidentified()
    unidentified.received(encode_handshake("352093081452259"))
    late, late_transport = connections.accept()
    late.received(encode_handshake("352093081452258"))
    assert (transport.closing, late_transport.aborted, device.closed) == (True, True, False)
    assert [imei for imei, _ in connections.registrar.registered] == [IMEI]


async def test_the_line_moves_to_a_newer_connection_in_order(connections: ConnectionRig) -> None:
    _, old = connections.ready()
    for name in "abc":
        connections.commands.ask(name)
    connections.commands.ledger.commit()
    connection, new = connections.ready()
    for _ in "bc":
        connections.commands.ledger.commit()
        connection.received(ANSWER)
    assert (old.written, new.written) == ([command(b"a")], [command(b"b"), command(b"c")])
    assert connections.registrar.unregistered == []
