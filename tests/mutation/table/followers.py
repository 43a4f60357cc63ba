"""Mechanisms of cancels, commands that follow their device, notes, and the clock."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="faults",
        name="a cancel is an input",
        what="A cancel of a command in hand is decided like any other input.",
        file="transport/commands/cancellation.py",
        where="Cancellation.take",
        code="self._commands.cancel(in_flight, entry)",
        mutant='self._effects.submit(self._notes.cancel_rejected(request.command_id, entry, "unknown"))',
        without="it is rejected, though the command waits",
        tests=("transport/test_cancellation.py::test_a_queued_command_is_called_off",),
    ),
    Mechanism(
        promise="P2",
        name="a cancel reads the ledger again",
        what="A cancel whose command moved on meanwhile is decided again.",
        file="transport/commands/cancellation.py",
        where="Cancellation.answered",
        code="""
            if result.applied:
                ...
            elif result.status in (Status.CONFLICT, Status.MISSING):
                self.take(cancelling.request, cancelling.entry)
        """,
        mutant="if result.applied: ...",
        without="it is dropped without an answer",
        tests=("transport/test_cancellation.py::test_a_command_changed_during_the_look_up_is_read_again",),
    ),
    Mechanism(
        promise="P2",
        name="a failed cancel does not stop the others",
        what="A cancel whose ledger cannot be read does not keep the others waiting.",
        file="transport/commands/lookups.py",
        where="Lookups._look_up_all",
        code="""
            try:
                ...
            except Exception as error:
                log.warning("lookup_failed", what=self._what, error=type(error).__name__)
                self._failed(question)
        """,
        mutant="""
            try:
                ...
            except ZeroDivisionError as error:
                log.warning("lookup_failed", what=self._what, error=type(error).__name__)
                self._failed(question)
        """,
        without="all that wait are let go",
        tests=("transport/test_cancellation.py::test_an_unreadable_ledger_delays_no_other_cancel",),
    ),
    Mechanism(
        promise="P1",
        name="only committed commands are handed over",
        what="A command is handed on only while it is `queued` and no move of it is on its way.",
        file="transport/commands/handover.py",
        where="Handover.move",
        code="not in_flight.waits or not movable(in_flight.request)",
        mutant="not movable(in_flight.request)",
        without="it is handed on twice, or before it is accepted",
        tests=("transport/test_handover.py::test_a_command_whose_queued_is_not_committed_is_not_moved_yet",),
    ),
    Mechanism(
        promise="P2",
        name="hops end",
        what="A command that has moved three times waits where it is.",
        file="transport/commands/handover.py",
        where="Handover.move",
        code="not in_flight.waits or not movable(in_flight.request)",
        mutant="not in_flight.waits",
        without="it moves in circles",
        tests=("transport/test_handover.py::test_a_command_moves_three_times_at_most",),
    ),
    Mechanism(
        promise="P1",
        name="a hand-over excludes other moves",
        what="While a command is being handed on nothing else happens to it.",
        file="transport/commands/handover.py",
        where="Handover.move",
        code="in_flight.moving = True",
        mutant="",
        without="a device that comes back gets what was handed on",
        tests=("transport/test_handover.py::test_a_command_is_handed_over_once_at_a_time",),
    ),
    Mechanism(
        promise="P1",
        name="a handed-over command is forgotten",
        what="A command that another instance has is let go of.",
        file="transport/commands/handover.py",
        where="Handover.answered",
        code="self._commands.release(in_flight)",
        mutant="",
        without="it stays in line here too",
        tests=("transport/test_handover.py::test_commands_move_to_the_holder_in_order",),
    ),
    Mechanism(
        promise="P1",
        name="a command taken meanwhile is forgotten",
        what="A command that another instance has taken before it was handed over is let go of.",
        file="transport/commands/handover.py",
        where="Handover.answered",
        code="self._commands.lost(in_flight, result)",
        mutant="",
        without="it stays in line here too",
        tests=("transport/test_handover.py::test_a_command_taken_by_another_instance_is_dropped",),
    ),
    Mechanism(
        promise="P2",
        name="inputs during a hand-over are kept",
        what="Inputs that waited for the outcome of a hand-over are offered again.",
        file="transport/commands/handover.py",
        where="Handover.answered",
        code="self._commands.resume(in_flight)",
        mutant="",
        without="a cancel that came meanwhile is forgotten",
        tests=(
            "transport/test_device_queue_writes.py::test_inputs_during_a_hand_over_are_handled_if_it_fails",
        ),
    ),
    Mechanism(
        promise="bounds",
        name="unsolicited answers are bounded",
        what="Of what a device says unasked, thirty are told in any minute.",
        file="transport/commands/notes.py",
        where="Notes._may_tell",
        code="len(told) == UNSOLICITED_LIMIT and now - told[0] < MINUTE",
        mutant="False",
        without="one device fills the log",
        tests=(
            "transport/test_device_queue_answers.py::test_thirty_unsolicited_answers_a_minute_are_published",
        ),
    ),
    Mechanism(
        promise="bounds",
        name="unsolicited answers are limited in time",
        what="While the ledger is far behind, what a device says unasked is only counted.",
        file="transport/commands/notes.py",
        where="Notes.unsolicited",
        code="depth > BACKLOG",
        mutant="False",
        without="devices fill the memory during an outage",
        tests=(
            "transport/test_device_queue_answers.py::"
            "test_with_a_full_ledger_queue_unsolicited_are_only_counted",
        ),
    ),
    Mechanism(
        promise="P3",
        name="deadlines are monotonic",
        what="Deadlines are measured by a monotonic clock.",
        file="transport/clock.py",
        where="Clock.monotonic",
        code="time.monotonic()",
        mutant="time.time()",
        without="a wall clock that is set ends or prolongs every wait",
        tests=("transport/test_clock.py::test_setting_the_wall_clock_moves_no_deadline",),
    ),
    Mechanism(
        promise="P3",
        name="a held-up reply does not put the clock back",
        what="Of the recent measurements of Redis' clock the one that is furthest ahead counts.",
        file="transport/clock.py",
        where="Clock.sync",
        code="max(self._best, measured)",
        mutant="measured",
        without="a stall makes expired commands young again",
        tests=("transport/test_clock.py::test_the_measurement_furthest_ahead_in_a_minute_counts",),
    ),
    Mechanism(
        promise="P3",
        name="the time is that of Redis",
        what="Expiries are measured by the clock of Redis, which is read with every reply.",
        file="transport/commands/in_flight.py",
        where="InFlightCommands.answered",
        code="self.heard(in_flight, result)",
        mutant="",
        without="a host whose clock is wrong expires, or sends, at the wrong time",
        tests=("transport/test_device_queue_writes.py::test_each_reply_of_the_ledger_sets_the_time",),
    ),
    Mechanism(
        promise="faults",
        name="the grace of a device that may reconnect",
        what="A device that left within the grace is expected.",
        file="transport/commands/offline.py",
        where="OfflineCommands.left",
        code="self._left_at[imei] = now",
        mutant="pass",
        without="commands for it are refused as soon as it is gone",
        tests=("transport/test_connections.py::test_a_command_is_accepted_within_the_reconnect_grace",),
    ),
    Mechanism(
        promise="bounds",
        name="offline devices are forgotten",
        what="Of a device that is not expected any more nothing is kept.",
        file="transport/commands/offline.py",
        where="OfflineCommands.forget",
        code="del self._left_at[imei]",
        mutant="",
        without="every device that ever was here is remembered",
        tests=(
            "transport/test_device_queue_writes.py::test_a_device_that_is_not_expected_any_more_is_forgotten",
        ),
    ),
    Mechanism(
        promise="P2",
        name="not handed over to ourselves",
        what="A command whose device the registry gives to us waits for it.",
        file="transport/commands/handover.py",
        where="Handover.found",
        code="holder != self._instance_id",
        mutant="True",
        without="it is handed to ourselves, hop by hop, and then lost",
        tests=("transport/test_handover.py::test_a_device_without_another_holder_is_waited_for",),
    ),
    Mechanism(
        promise="P3",
        name="a clock that is behind is accepted in time",
        what="A measurement of Redis' clock counts for one to two minutes.",
        file="transport/clock.py",
        where="Clock.sync",
        code="now - self._since >= MEMORY_MS",
        mutant='self._since < 0 and now >= 0 and self._best == float("-inf")',
        without="after a failover to a server whose clock is behind commands expire too early for ever",
        tests=("transport/test_clock.py::test_a_server_whose_clock_is_behind_is_believed_in_time",),
    ),
)
