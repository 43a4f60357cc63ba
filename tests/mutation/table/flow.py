"""Mechanisms of what one device may take of the others' time and memory."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="P6",
        name="accepted without Redis",
        what="A device gets its `01` after 50 ms, whether Redis has registered it or not.",
        file="transport/guest.py",
        text="        asyncio.get_running_loop().call_later(GREETING_PATIENCE, self._welcome)\n",
        mutant="",
        without="while Redis is slow no device is let in",
        tests=("transport/test_strangers.py::test_a_device_is_let_in_though_the_registry_does_not_answer",),
    ),
    Mechanism(
        promise="P6",
        name="frames are handed over, not awaited",
        what="The read path hands a frame to the store and reads on.",
        file="transport/backpressure.py",
        text="        if connection.congested:\n",
        mutant="        if True:\n",
        without="a device is not read while one frame of it is being stored",
        tests=("transport/test_connection_guards.py::test_a_device_is_read_on_while_its_frames_are_stored",),
    ),
    Mechanism(
        promise="bounds",
        name="frames of one device are bounded",
        what="A device with 32 frames that wait is not read until it has fewer.",
        file="transport/backpressure.py",
        text="        return len(waiting) >= UNACKED_LIMIT or not self._backlog.shares(weight)\n",
        mutant="        return not self._backlog.shares(weight)\n",
        without="one device has as many frames in the backlog as it likes",
        tests=("transport/test_connection_guards.py::test_a_device_is_read_on_while_its_frames_are_stored",),
    ),
    Mechanism(
        promise="bounds",
        name="a share of the backlog",
        what="The fuller the backlog, the less of it a device may have that has several frames in it.",
        file="transport/backpressure.py",
        text="        return len(waiting) >= UNACKED_LIMIT or not self._backlog.shares(weight)\n",
        mutant="        return len(waiting) >= UNACKED_LIMIT\n",
        without="a few devices fill the backlog, and nobody else is read",
        tests=(
            "transport/test_backpressure.py::test_the_fuller_the_backlog_the_less_of_it_is_for_one_device[2-True]",
        ),
    ),
    Mechanism(
        promise="bounds",
        name="the backlog is bounded",
        what="With 16 MiB of telemetry unconfirmed no device is read.",
        file="transport/backpressure.py",
        text="        if self._backlog.full:\n            self.hold_all()\n",
        mutant="",
        without="an outage of Redis fills the memory",
        tests=(
            "transport/test_connection_guards.py::test_nobody_is_read_while_too_much_waits_for_the_store",
            "transport/test_backpressure.py::test_while_the_backlog_is_full_nobody_is_read",
        ),
    ),
    Mechanism(
        promise="bounds",
        name="a new connection has no free read",
        what="While connections are read in turn, a new one is not read before its turn.",
        file="transport/link.py",
        text="        if self._hub.flow.in_turns:\n            self._hub.flow.wait(self)\n",
        mutant="",
        without="whoever connects again and again is read without end",
        tests=("transport/test_backpressure.py::test_while_the_backlog_is_full_nobody_is_read",),
    ),
    Mechanism(
        promise="bounds",
        name="what is read too early waits",
        what="What an event loop reads of a connection that waits is kept and read in turn.",
        file="transport/guest.py",
        text="        if flow.in_turns and (flow.holds(self) or hub.backlog.full):\n",
        mutant="        if False:\n",
        without="each new connection has one read for free",
        tests=(
            "transport/test_backpressure.py::test_what_an_event_loop_reads_all_the_same_is_kept_and_read_in_turn",
        ),
    ),
    Mechanism(
        promise="P6",
        name="paused devices are read again",
        what="When there is room in the backlog, connections that wait are read again.",
        file="transport/backpressure.py",
        text="            self._line.pop(connection, None)\n            connection.resume()\n",
        mutant="            self._line.pop(connection, None)\n",
        without="a device that was paused once is never heard again",
        tests=("transport/test_backpressure.py::test_everybody_is_read_again_when_there_is_room[32768]",),
    ),
    Mechanism(
        promise="P6",
        name="who has its share again",
        what="A connection that had more than its share is read again when it has less.",
        file="transport/connection.py",
        text="        if self.over_share:\n            hub.flow.after_store(self)\n",
        mutant="",
        without="it is never heard again",
        tests=(
            "transport/test_backpressure.py::test_a_device_with_too_many_frames_waiting_is_read_again_when_it_has_fewer",
        ),
    ),
    Mechanism(
        promise="P6",
        name="turns",
        what="After a full read of one connection the others have their turn.",
        file="transport/backpressure.py",
        text="        elif size >= READ_SIZE:\n",
        mutant="        elif False:\n",
        without="a flood keeps the loop",
        tests=(
            "transport/test_backpressure.py::test_after_a_full_read_the_others_have_their_turn[4096-True]",
        ),
    ),
    Mechanism(
        promise="P6",
        name="reads in turn",
        what="A connection that was read waits behind those that wait.",
        file="transport/backpressure.py",
        text="        elif self.in_turns:\n            self.wait(connection)\n        elif size",
        mutant="        elif size",
        without="who sends much fills all room before the others are read",
        tests=(
            "transport/test_backpressure.py::test_who_has_waited_longest_is_read_first_and_waits_behind_the_others_then",
        ),
    ),
    Mechanism(
        promise="bounds",
        name="handshake deadline",
        what="A connection has `--handshake-timeout` to name itself, however it spreads its bytes.",
        file="transport/link.py",
        text=(
            "        self._hub.deadlines.set(self, self._hub.clock.monotonic() + "
            "self._hub.settings.handshake_timeout)\n"
        ),
        mutant="",
        without="strangers keep their sockets for ever",
        tests=("transport/test_session_deadlines.py::test_a_device_must_name_itself_in_time",),
    ),
    Mechanism(
        promise="bounds",
        name="frame deadline",
        what="A frame that has begun must end within 30 s.",
        file="transport/connection.py",
        text=(
            "        if begun:\n"
            "            self._hub.deadlines.set(self, self._hub.clock.monotonic() + FRAME_DEADLINE)\n"
        ),
        mutant="        if begun:\n            pass\n",
        without="half a frame keeps commands and memory for ever",
        tests=("transport/test_session_deadlines.py::test_a_frame_that_has_begun_must_end_in_time",),
    ),
    Mechanism(
        promise="bounds",
        name="framing lost",
        what="A connection whose position in the stream is lost is closed.",
        file="transport/connection.py",
        text="reason=fault.reason)\n        self.shut(PROTOCOL_ERROR)\n",
        mutant="reason=fault.reason)\n",
        without="it stays open, and nothing it sends is read",
        tests=("transport/test_connection_guards.py::test_noise_that_is_no_frame_ends_the_connection",),
    ),
    Mechanism(
        promise="bounds",
        name="bad checksums in a row",
        what="After eight bad checksums in a row the connection is closed.",
        file="transport/connection.py",
        text="        if self._bad >= BAD_FRAMES_LIMIT:\n",
        mutant="        if False:\n",
        without="noise is read for ever",
        tests=(
            "transport/test_connection_guards.py::test_so_many_bad_checksums_in_a_row_end_the_connection",
        ),
    ),
    Mechanism(
        promise="bounds",
        name="who does not read is given up",
        what="A device that leaves 64 KiB unread is closed `write_overflow`.",
        file="transport/link.py",
        text="        self.shut(WRITE_OVERFLOW)\n",
        mutant="        pass\n",
        without="its acknowledgements fill the memory",
        tests=(
            "transport/test_session_deadlines.py::"
            "test_a_device_that_reads_nothing_is_aborted_and_its_command_fails",
        ),
    ),
    Mechanism(
        promise="bounds",
        name="who does not read is not waited for",
        what="A connection with unread bytes is aborted, not closed.",
        file="transport/link.py",
        text="            self._transport.close()\n        else:\n            self._transport.abort()\n",
        mutant="            self._transport.close()\n        else:\n            self._transport.close()\n",
        without="its socket stays until the kernel gives up",
        tests=(
            "transport/test_session_deadlines.py::"
            "test_a_device_that_reads_nothing_is_aborted_and_its_command_fails",
        ),
    ),
    Mechanism(
        promise="bounds",
        name="idle timeout",
        what="With `--idle-timeout` a silent connection is closed.",
        file="transport/hub.py",
        text="            elif idle and now - connection.last_read >= idle and not",
        mutant="            elif False and not",
        without="the option does nothing",
        tests=(
            "transport/test_session_deadlines.py::test_a_silent_device_is_closed_where_the_operator_says_so",
        ),
    ),
    Mechanism(
        promise="bounds",
        name="a scanner leaves no trace",
        what="Of a connection that never named a device nothing is published.",
        file="transport/link.py",
        text="        if self.imei:\n            self._hub.publish(event)\n",
        mutant="        if True:\n            self._hub.publish(event)\n",
        without="every port scan is written to the log of commands",
        tests=("transport/test_session_deadlines.py::test_a_device_must_name_itself_in_time",),
    ),
    Mechanism(
        promise="bounds",
        name="TLS counts from the accept",
        what="A connection that negotiates TLS takes its room.",
        file="transport/accepting.py",
        text="        return self._hub.admission.enter(address[0], self._hub.now)\n",
        mutant="        return self._hub.admission.enter(address[0], self._hub.now) or True\n",
        without="a flood of unfinished handshakes passes every limit",
        tests=("transport/test_tls_floods.py::test_who_has_not_come_to_speak_tls_counts_against_the_limits",),
    ),
    Mechanism(
        promise="bounds",
        name="one time for TLS and name",
        what="The time to name itself begins before TLS is spoken.",
        file="transport/accepting.py",
        text=(
            "            self._hub.deadlines.set(self, self._accepted_at + "
            "self._hub.settings.handshake_timeout)\n"
        ),
        mutant="            pass\n",
        without="a stranger has twice the time",
        tests=(
            "transport/test_tls_floods.py::"
            "test_the_time_to_name_itself_runs_from_the_accept_and_not_from_the_end_of_tls",
        ),
    ),
    Mechanism(
        promise="P6",
        name="deadlines in turns",
        what="Of connections that are overdue together, fifty are dealt with in one turn of the loop.",
        file="transport/hub.py",
        text="        due = self.deadlines.due(now, at_most=DUE_AT_ONCE)\n",
        mutant="        due = self.deadlines.due(now)\n",
        without="thousands of strangers hold up the devices",
        tests=(
            "transport/test_floods.py::"
            "test_thousands_that_are_overdue_together_are_dealt_with_over_many_turns",
        ),
    ),
    Mechanism(
        promise="bounds",
        name="read again when there is room",
        what="As many connections are read at once as there is room for.",
        file="transport/backpressure.py",
        text="        turns = max(0, self._backlog.free // READ_COST)\n",
        mutant="        turns = len(self._line)\n",
        without="a store that stalls is given more and more to hold",
        tests=(
            "transport/test_backpressure.py::test_everybody_is_read_again_when_there_is_room[32767]",
            "transport/test_backpressure.py::test_a_few_at_a_time_are_read_again_and_the_rest_in_the_next_turn_of_the_loop",
        ),
    ),
    Mechanism(
        promise="bounds",
        name="a turn ends no pause",
        what="The turn of other connections does not end the pause of one.",
        file="transport/guest.py",
        text="        if self.closed or asking or self._hub.flow.holds(self):\n",
        mutant="        if self.closed or asking:\n",
        without="a device that sends much in one read is read on, whatever waits for the store",
        tests=("transport/test_backpressure.py::test_a_turn_of_the_loop_does_not_end_a_pause",),
    ),
    Mechanism(
        promise="P7",
        name="only the refused frame's connection",
        what="A frame that the store refuses closes its own connection, not a newer one.",
        file="transport/hub.py",
        text="        if connection is not None and connection.awaits(batch):",
        mutant="        if connection is not None:",
        without="the newer connection of the device is closed for a frame that it did not send",
        tests=("transport/test_hub_books.py::test_only_the_connection_whose_frame_is_refused_is_closed",),
    ),
)
