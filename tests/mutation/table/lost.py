"""Mechanisms that restore events that Redis has confirmed and lost."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="P1",
        name="a finished command is not begun again",
        what=(
            "An entry of a command that this process has finished is told its verdict, "
            "whatever Redis has forgotten."
        ),
        file="transport/commands/consumer.py",
        where="CommandConsumer.take",
        code="""
            if not self._duplicates.take(request):
                ...
        """,
        mutant="...",
        without="after a failover that lost its `sent` a command is written again",
        tests=(
            "transport/test_recent_outcomes.py::test_an_answered_command_is_restored_and_not_written_again",
        ),
    ),
    Mechanism(
        promise="P1",
        name="outcomes are remembered",
        what="A process remembers the outcomes it has given.",
        file="transport/commands/in_flight.py",
        where="InFlightCommands.apply",
        code="self.recent_outcomes.add(event)",
        mutant="",
        without="a command that it has finished appears new to it",
        tests=(
            "transport/test_recent_outcomes.py::test_an_answered_command_is_restored_and_not_written_again",
        ),
    ),
    Mechanism(
        promise="P2",
        name="lost events are restored",
        what="An outcome that finds the moves before it lost restores them all.",
        file="transport/commands/in_flight.py",
        where="InFlightCommands.answered",
        code="self._restored(in_flight, event, result)",
        mutant="False",
        without="the command stays without an outcome in a Redis that has lost its `sent`",
        tests=("transport/test_recent_outcomes.py::test_an_outcome_restores_its_lost_sent_event",),
    ),
    Mechanism(
        promise="P3",
        name="a late `sent` is withdrawn",
        what="A `sent` that took effect after it was refused ends as not sent, because nothing was written.",
        file="transport/commands/in_flight.py",
        where="InFlightCommands.answered",
        code="self._withdrawn(in_flight, result, event.reason)",
        mutant="False",
        without="the command is taken for one that an earlier process has perhaps written",
        tests=("transport/test_late_calls.py::test_a_command_whose_sent_is_late_was_not_sent",),
    ),
    Mechanism(
        promise="P5",
        name="a repetition takes the place of its command",
        what="When Redis has lost a waiting command, the entry that asks for it again takes its place.",
        file="transport/commands/duplicates.py",
        where="DuplicateEntries._follow",
        code="in_hand.follower = request",
        mutant="",
        without="the next command goes out first, and the repetition waits for the next check",
        tests=("transport/test_recent_outcomes.py::test_a_command_repeated_while_queued_keeps_its_place",),
    ),
    Mechanism(
        promise="P5",
        name="a waiting command is replaced",
        what="What waits for its turn makes way for its repetition without being tried.",
        file="transport/commands/duplicates.py",
        where="DuplicateEntries._follow",
        code="if in_hand.waits: ...",
        mutant="",
        without="its time to live ends first, and the next command passes it",
        tests=(
            "transport/test_recent_outcomes.py::test_a_command_repeated_while_queued_takes_the_new_expiry",
        ),
    ),
    Mechanism(
        promise="P2",
        name="an outcome of another process is not restored",
        what="An outcome that finds the command ended by another process is a note.",
        file="transport/commands/in_flight.py",
        where="InFlightCommands._restored",
        code="""
            if not lost: ...
            *before, verdict = lost
        """,
        mutant="*before, verdict = lost or [event]",
        without="it is proposed again and again, for ever",
        tests=("transport/test_in_flight.py::test_an_outcome_after_an_earlier_one_is_published_once",),
    ),
    Mechanism(
        promise="faults",
        name="an id is new after the retention",
        what="An outcome older than the retention says nothing.",
        file="transport/commands/recent_outcomes.py",
        where="RecentOutcomes.find",
        code="self._monotonic() - since < self._retention",
        mutant="True",
        without="an id that may be used again is refused",
        tests=("transport/test_recent_outcomes.py::test_after_the_retention_an_id_counts_as_new",),
    ),
    Mechanism(
        promise="P1",
        name="an outcome during a look-up is returned",
        what="An outcome that was given while the ledger was asked about a repetition is told to it.",
        file="transport/commands/duplicates.py",
        where="DuplicateEntries._follow",
        code="self._commands.recent_outcomes.find(request.command_id) is not known",
        mutant="False",
        without="a command that has just been answered is written again for its repetition",
        tests=("transport/test_duplicates.py::test_a_forgotten_duplicate_after_the_outcome_is_not_written",),
    ),
    Mechanism(
        promise="P2",
        name="an old refusal does not leave a command undone",
        what="A command that was refused here and begun elsewhere is carried out when it is moved here.",
        file="transport/commands/duplicates.py",
        where="DuplicateEntries.opened",
        code="not ended",
        mutant="not ended and verdict is None",
        without="it is asked about at every check, and never ends",
        tests=("transport/test_duplicates.py::test_a_command_refused_here_is_accepted_when_moved_here",),
    ),
)
