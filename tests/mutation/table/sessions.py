"""Mechanisms of what is kept of connections, and of what is read and written at their ends."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="bounds",
        name="nothing is kept of a closed connection",
        what="A connection that is gone is taken out of those that are closing.",
        file="transport/connection/sessions.py",
        where="Sessions.socket_closed",
        code="self.closing.discard(connection)",
        mutant="",
        without="every connection that we close is kept for ever",
        tests=("transport/test_sessions.py::test_a_closed_connection_is_forgotten",),
    ),
    Mechanism(
        promise="bounds",
        name="no closed connection is paused",
        what="A connection that is gone is taken out of those that wait to be read.",
        file="transport/connection/protocol.py",
        where="DeviceConnection.connection_lost",
        code="self._context.backpressure.forget(self)",
        mutant="",
        without="every device that leaves while Redis is away is kept for ever",
        tests=("transport/test_sessions.py::test_a_closed_connection_is_forgotten",),
    ),
    Mechanism(
        promise="bounds",
        name="addresses are forgotten",
        what="An address without a connection is not counted any more.",
        file="transport/connection/newcomers.py",
        where="Newcomers._leave_source",
        code="del self._by_source[place.source]",
        mutant="",
        without="every address that ever connected is kept for ever",
        tests=("transport/test_sessions.py::test_a_closed_unidentified_connection_is_forgotten",),
    ),
    Mechanism(
        promise="bounds",
        name="a connection that does not close is aborted",
        what="At the end connections are closed whatever is still to be written.",
        file="transport/connection/sessions.py",
        where="Sessions.abort_all",
        code="connection.abort()",
        mutant="",
        without="a device that does not read holds its socket",
        tests=(("transport/test_sessions.py::test_connections_left_at_the_end_are_aborted"),),
    ),
    Mechanism(
        promise="bounds",
        name="nothing is read after a close",
        what="What comes behind the frame that ends a connection is not read.",
        file="transport/teltonika/stream.py",
        where="DeviceStream._feed_frames",
        code="return (*items, _out_of_step())",
        mutant="items.append(_out_of_step())",
        without="it is stored, for a device that gets no acknowledgement",
        tests=(("transport/test_stream.py::test_bad_checksums_in_a_row_end_the_reading"),),
    ),
    Mechanism(
        promise="faults",
        name="commands behind frames of any kind",
        what="The end of any frame is a moment to write.",
        file="transport/connection/protocol.py",
        where="DeviceConnection._read_frames",
        code="context.commands.quiet(self)",
        mutant="",
        without="a command waits for the next frame of records",
        tests=("transport/test_protocol_frames.py::test_a_command_is_written_behind_a_frame_of_any_kind",),
    ),
    Mechanism(
        promise="faults",
        name="the grace outlives other frames",
        what="A frame without records leaves a device its grace until it gets commands.",
        file="transport/teltonika/stream.py",
        where="DeviceStream._time_frame",
        code="""
            if self.is_open:
                ...
            else:
                self._await_grace(now)
        """,
        mutant="self.deadline = None",
        without="a device that sends no records but something else never gets a command",
        tests=(("transport/test_protocol_frames.py::test_a_device_without_records_gets_commands_too"),),
    ),
    Mechanism(
        promise="faults",
        name="a device that sends is not idle",
        what="Whatever a device sends, it is not idle then.",
        file="transport/connection/protocol.py",
        where="DeviceConnection.received",
        code="self.last_read = context.now",
        mutant="",
        without="every device is idle after its time",
        tests=("transport/test_protocol_frames.py::test_a_device_that_sends_is_not_idle",),
    ),
    Mechanism(
        promise="P7",
        name="a close after unread bytes",
        what="At a stop devices still get the acknowledgements that are on their way.",
        file="transport/connection/protocol.py",
        code="(SHUTDOWN, PROTOCOL_ERROR, REJECTED)",
        mutant="(PROTOCOL_ERROR, REJECTED)",
        without="a device whose network is slow sends again what is stored",
        tests=(
            ("transport/test_protocol_frames.py::test_a_slow_device_reads_why_it_is_closed[shutdown-False]"),
        ),
    ),
)
