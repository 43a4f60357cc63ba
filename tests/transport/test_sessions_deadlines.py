"""Every time limit of a connection, a millisecond before, at, and after it; and when commands are written."""

from __future__ import annotations

import pytest

from fsm.session import CLOSED, READY
from tests.transport.desk import IMEI
from tests.transport.wire import FRAME, MakeWire, Wire
from transport.connection.protocol import WRITE_LIMIT
from transport.connection.timeouts import STORE_TIMEOUT
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
async def test_a_device_must_name_itself_in_time(wire: Wire, off: float, due: bool) -> None:
    connection, _ = wire.accept()
    wire.at(5)
    connection.data_received(encode_handshake(IMEI)[:16])
    wire.at(10 + off)
    assert connection.closed is due
    assert (connection.close_reason == "handshake_timeout") is due
    assert wire.session_log == []


@around
async def test_a_device_without_records_gets_commands_after_the_grace(
    wire: Wire, off: float, due: bool
) -> None:
    connection, transport = wire.identify()
    wire.desk.ask()
    wire.desk.ledger.settle()
    wire.at(10 + off)
    wire.desk.ledger.settle()
    assert (connection.session.state == READY) is due
    assert (command(b"c-1") in transport.written) is due


@around
async def test_a_frame_that_has_begun_must_end_in_time(wire: Wire, off: float, due: bool) -> None:
    connection, _ = wire.ready()
    wire.at(100)
    connection.data_received(FRAME[:20])
    wire.at(115)
    connection.data_received(FRAME[20:21])
    wire.at(100 + FRAME_DEADLINE + off)
    assert connection.closed is due
    assert (connection.close_reason == "protocol_error") is due


@around
async def test_the_first_frame_must_end_in_time_too(wire: Wire, off: float, due: bool) -> None:
    connection, _ = wire.welcome()
    connection.data_received(FRAME[:20])
    wire.at(FRAME_DEADLINE + off)
    assert connection.closed is due


async def test_a_first_frame_has_the_usual_deadline(wire: Wire) -> None:
    connection, _ = wire.welcome()
    connection.data_received(FRAME + FRAME[:20])
    wire.telemetry.confirm()
    assert connection.session.state == READY
    wire.at(FRAME_DEADLINE)
    assert connection.close_reason == "protocol_error"


async def test_each_of_many_frames_in_a_row_has_its_own_time(wire: Wire) -> None:
    connection, _ = wire.ready()
    connection.data_received(FRAME[:20])
    for seconds in range(1, 100):
        wire.at(seconds)
        connection.data_received(FRAME[20:] + FRAME[:20])
        wire.telemetry.confirm()
    assert not connection.closed


@around
async def test_a_device_whose_frame_is_not_stored_is_closed(wire: Wire, off: float, due: bool) -> None:
    connection, transport = wire.ready()
    wire.at(100)
    connection.data_received(FRAME)
    wire.telemetry.healthy = False
    wire.at(150)
    wire.at(100 + STORE_TIMEOUT + off)
    assert connection.closed is due
    assert (connection.close_reason == "store_unavailable") is due
    assert transport.written == []


@around
async def test_an_idle_device_is_closed_if_configured(make_wire: MakeWire, off: float, due: bool) -> None:
    wire = make_wire(idle_timeout=120.0)
    connection, _ = wire.ready()
    wire.at(60)
    connection.data_received(b"\xff")
    wire.at(175 + off)  # the next look at idle connections is a second later, or more
    wire.at(180 + off)
    assert connection.closed is due


async def test_an_idle_device_stays_by_default(wire: Wire) -> None:
    connection, _ = wire.ready()
    wire.at(30 * 86400)
    assert not connection.closed


# When a command may be written


async def test_no_command_between_a_frame_and_its_acknowledgement(wire: Wire) -> None:
    connection, transport = wire.ready()
    wire.desk.ask()
    connection.data_received(FRAME[:20])
    wire.desk.ledger.settle()
    connection.data_received(FRAME[20:])
    assert transport.written == []
    wire.telemetry.confirm()
    assert transport.written == [encode_ack(1), command(b"c-1")]


async def test_no_command_before_a_frame_behind_an_answer(wire: Wire) -> None:
    connection, transport = wire.ready()
    wire.desk.ask("a")
    wire.desk.ask("b")
    wire.desk.ledger.settle()
    connection.data_received(ANSWER + FRAME)
    wire.desk.ledger.settle()
    assert transport.written == [command(b"a")]
    wire.telemetry.confirm()
    wire.desk.ledger.settle()
    assert transport.written == [command(b"a"), encode_ack(1), command(b"b")]


async def test_two_answers_in_one_read_do_not_hold_up_the_line(wire: Wire) -> None:
    connection, transport = wire.ready()
    wire.desk.ask("a")
    wire.desk.ask("b")
    wire.desk.ledger.settle()
    connection.data_received(ANSWER + ANSWER)
    wire.desk.ledger.settle()
    assert transport.written == [command(b"a"), command(b"b")]
    assert wire.desk.notes() == [("unsolicited_response", "", "OK")]


async def test_an_answer_is_never_acknowledged(wire: Wire) -> None:
    connection, transport = wire.ready()
    connection.data_received(ANSWER)
    assert transport.written == []


async def test_a_device_that_reads_nothing_is_aborted(
    wire: Wire,
) -> None:
    connection, transport = wire.ready()
    transport.unread = WRITE_LIMIT + 1
    wire.desk.ask()
    wire.desk.ledger.settle()
    assert (connection.close_reason, transport.aborted) == ("write_overflow", True)
    assert wire.desk.life()[-1] == "failed write_error maybe_sent"


# The session's own events


async def test_a_close_with_a_command_out_makes_no_taint(wire: Wire) -> None:
    connection, _ = wire.ready()
    wire.desk.ask()
    wire.desk.ledger.settle()
    connection.connection_lost(None)
    wire.desk.ledger.settle()
    assert wire.session_log.states == ["identified", READY, CLOSED]
    assert wire.desk.life()[-1] == "failed connection_lost maybe_sent"


async def test_a_taint_and_its_end_are_events_of_the_session(wire: Wire) -> None:
    connection, _ = wire.ready()
    wire.desk.ask()
    wire.desk.ledger.settle()
    wire.at(30)
    connection.data_received(ANSWER)
    assert wire.session_log.states == ["identified", READY, "tainted", READY]


async def test_a_connection_that_is_closed_while_it_drains_was_draining(wire: Wire) -> None:
    connection, transport = wire.ready()
    wire.sessions.drain()
    wire.sessions.close_all("shutdown")
    assert transport.closing
    connection.connection_lost(None)
    assert wire.session_log.states == ["identified", READY, "draining", CLOSED]
    assert [event.reason for event in wire.session_log][-1] == "shutdown"


# The gateway stops


async def test_no_device_can_name_itself_to_a_gateway_that_stops(wire: Wire) -> None:
    stranger, transport = wire.accept()
    device, _ = wire.ready()
    wire.sessions.refuse_unidentified()
    stranger.data_received(encode_handshake("352093081452259"))
    late, late_transport = wire.accept()
    late.data_received(encode_handshake("352093081452258"))
    assert (transport.closing, late_transport.aborted, device.closed) == (True, True, False)
    assert [imei for imei, _ in wire.registrar.registered] == [IMEI]


async def test_the_line_moves_to_a_newer_connection_in_order(wire: Wire) -> None:
    _, old = wire.ready()
    for name in "abc":
        wire.desk.ask(name)
    wire.desk.ledger.settle()
    connection, new = wire.ready()
    for _ in "bc":
        wire.desk.ledger.settle()
        connection.data_received(ANSWER)
    assert (old.written, new.written) == ([command(b"a")], [command(b"b"), command(b"c")])
    assert wire.registrar.unregistered == []
