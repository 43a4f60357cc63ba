"""Mechanisms of commands in flight: one uncommitted move, and what the ledger answers."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="P2",
        name="one uncommitted move",
        what="While a move of a command is uncommitted, other inputs wait for its outcome.",
        file="transport/commands/in_flight.py",
        where="InFlightCommands.propose",
        code="in_flight.pending is not None or in_flight.moving",
        mutant="False",
        without="two moves are decided from the same state",
        tests=("transport/test_in_flight.py::test_waiting_inputs_are_handled_in_order",),
    ),
    Mechanism(
        promise="P2",
        name="a cancel waits for an uncommitted move",
        what="While a move of a command is uncommitted, a cancel of it waits for its outcome.",
        file="transport/commands/in_flight.py",
        where="InFlightCommands.cancel",
        code="in_flight.pending is not None or in_flight.moving",
        mutant="False",
        without="a cancel is answered by a state that is about to change",
        tests=("transport/test_cancellation.py::test_a_cancel_while_sent_is_committed_is_too_late",),
    ),
    Mechanism(
        promise="P2",
        name="deferred inputs are processed",
        what="Inputs that waited for an outcome are offered again.",
        file="transport/commands/in_flight.py",
        where="InFlightCommands.resume",
        code="self.cancel(in_flight, waited)",
        mutant="pass",
        without="an answer that came while a move was on its way is forgotten",
        tests=("transport/test_cancellation.py::test_a_cancel_before_queued_is_committed_comes_first",),
    ),
    Mechanism(
        promise="P1",
        name="only what is stored has happened",
        what="A command is what it was until the ledger has said yes.",
        file="transport/commands/in_flight.py",
        where="InFlightCommands.answered",
        code="result.applied",
        mutant="True",
        without="a move that was refused counts, and the command is written",
        tests=(
            "transport/test_dispatcher.py::test_a_queued_command_whose_ledger_is_lost_is_not_sent",
            "transport/test_dispatcher.py::test_a_fenced_process_writes_nothing",
        ),
    ),
    Mechanism(
        promise="P1",
        name="the ownership is checked by the script",
        what="The move to `sent` asks that no other living instance hold the device.",
        file="transport/commands/in_flight_command.py",
        where="InFlightCommand.step",
        code="step.held_imei = request.imei",
        mutant="",
        without="the script is not asked to check",
        tests=("transport/test_connections.py::test_a_device_held_by_another_instance_is_superseded",),
    ),
    Mechanism(
        promise="P1",
        name="a lost ledger ends a waiting command",
        what="A command whose ledger is missing when it should be sent ends as `ledger_lost`.",
        file="transport/commands/in_flight.py",
        where="InFlightCommands._ledger_lost",
        code="event.terminal",
        mutant="True",
        without="its ledger is made anew and it is sent, perhaps again",
        tests=("transport/test_dispatcher.py::test_a_queued_command_whose_ledger_is_lost_is_not_sent",),
    ),
    Mechanism(
        promise="P2",
        name="an outcome is written without a ledger",
        what="The outcome of a command whose ledger is lost is written all the same.",
        file="transport/commands/in_flight.py",
        where="InFlightCommands._ledger_lost",
        code="self._commit(in_flight, replace(event, recovered=True), in_flight.removing)",
        mutant="self.release(in_flight)",
        without="what is out when Redis comes back empty has no outcome",
        tests=("transport/test_dispatcher.py::test_a_sent_command_without_ledger_keeps_its_outcome",),
    ),
    Mechanism(
        promise="P1",
        name="another process has decided",
        what="A process that finds that another process has decided lets go of the command.",
        file="transport/commands/in_flight.py",
        where="InFlightCommands._overruled",
        code="self.release(in_flight)",
        mutant="",
        without="it keeps the command in line",
        tests=("transport/test_dispatcher.py::test_a_command_ended_by_an_adopter_is_not_written",),
    ),
    Mechanism(
        promise="P3",
        name="late outcome",
        what="What is known beyond another's outcome is published as a note.",
        file="transport/commands/in_flight.py",
        where="InFlightCommands._overruled",
        code="self._notes.late_outcome(in_flight, event)",
        mutant="",
        without="the answer of a device is lost",
        tests=("transport/test_dispatcher.py::test_an_outcome_after_that_of_another_is_a_note",),
    ),
    Mechanism(
        promise="P2",
        name="a failure to store is published",
        what="A command that the store refuses for good goes to the dead letters with what is known.",
        file="transport/commands/in_flight.py",
        where="InFlightCommands.answered",
        code="self.give_up(in_flight, result.detail, event)",
        mutant="self.release(in_flight)",
        without="it is dropped in silence",
        tests=("transport/test_dispatcher.py::test_a_refused_outcome_is_published_with_the_dead_letter",),
    ),
    Mechanism(
        promise="P5",
        name="the outcome is committed first",
        what="An outcome is on its way before the place it leaves is taken.",
        file="transport/commands/in_flight.py",
        where="InFlightCommands._commit",
        code="""
            self.submit_step(in_flight, event, remove)
            if event.terminal:
                self._leave(in_flight)
        """,
        mutant="""
            step = in_flight.step(event, remove)
            if event.terminal:
                queue = self._queues.queue_with(in_flight)
                self._leave(in_flight)
                if queue is not None:
                    self.follow(queue, queue.advance(stopping=self.stopping))
            self._effects.submit(step, in_flight)
        """,
        without="the log tells the next command's `sent` before this one's end",
        tests=(
            "transport/test_device_queue_writes.py::test_the_outcome_is_published_before_the_next_is_sent",
        ),
    ),
    Mechanism(
        promise="P2",
        name="deferred inputs keep their order",
        what="Inputs that waited for an outcome are heard in the order in which they came.",
        file="transport/commands/in_flight.py",
        where="InFlightCommands.resume",
        code="in_flight.backlog.pop(0)",
        mutant="in_flight.backlog.pop()",
        without="what came last decides",
        tests=("transport/test_in_flight.py::test_waiting_inputs_are_handled_in_order",),
    ),
    Mechanism(
        promise="P1",
        name="decisions of other processes are remembered",
        what="A process remembers what it has done with a command that another process decided.",
        file="transport/commands/in_flight.py",
        where="InFlightCommands._overruled",
        code="""
            if late:
                self.recent_outcomes.add(event)
        """,
        mutant="",
        without="after a failover, or for its repetition, the command is written again",
        tests=(
            "transport/test_in_flight.py::test_work_on_a_command_ended_elsewhere_is_remembered",
            "transport/test_recent_outcomes.py::test_a_command_repeated_while_sent_waits_for_the_outcome",
        ),
    ),
    Mechanism(
        promise="P2",
        name="given up once",
        what="A command that cannot be stored is given up once, for all of its moves.",
        file="transport/commands/in_flight.py",
        where="InFlightCommands.give_up",
        code="""
            if in_flight.request.outbound_id not in self.entries:
                return
        """,
        mutant="",
        without="it is counted and told for each of its moves",
        tests=("transport/test_in_flight.py::test_a_command_that_cannot_be_stored_is_given_up_once",),
    ),
    Mechanism(
        promise="P3",
        name="failed commands are remembered",
        what="A process remembers which commands it has given up.",
        file="transport/commands/in_flight.py",
        where="InFlightCommands.give_up",
        code="self.recent_outcomes.add(letter.events[-1])",
        mutant="",
        without="it is sent when its entry comes again, after `not_sent`",
        tests=(("transport/test_in_flight.py::test_a_command_given_up_is_not_sent_when_asked_again"),),
    ),
)
