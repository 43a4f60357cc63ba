"""Mechanisms of what is told again when Redis has lost what it had confirmed."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="P1",
        name="what is finished here is not begun again",
        what=(
            "An entry of a command that this process has finished is told its verdict, "
            "whatever Redis has forgotten."
        ),
        file="transport/intake.py",
        text="        elif not self._repeats.take(request, entry):\n",
        mutant="        else:\n",
        without="after a failover that lost its `sent` a command is written again",
        tests=(
            "transport/test_lost_moves.py::"
            "test_a_command_that_was_answered_is_not_written_again_and_its_verdict_is_told_again",
        ),
    ),
    Mechanism(
        promise="P1",
        name="verdicts are remembered",
        what="A process remembers the verdicts it has given.",
        file="transport/flights.py",
        text="            self.verdicts.add(event)\n            self.release(flight)\n",
        mutant="            self.release(flight)\n",
        without="a command that it has finished looks new to it",
        tests=(
            "transport/test_lost_moves.py::"
            "test_a_command_that_was_answered_is_not_written_again_and_its_verdict_is_told_again",
        ),
    ),
    Mechanism(
        promise="P2",
        name="what was lost is told again",
        what="A verdict that finds the moves before it lost tells them all.",
        file="transport/flights.py",
        text="            if not self._told_again(flight, event, remove, result):\n",
        mutant="            if True:\n",
        without="the command stays without a verdict in a Redis that has lost its `sent`",
        tests=(
            "transport/test_lost_moves.py::"
            "test_the_verdict_on_a_command_that_is_out_finds_its_sent_lost_and_tells_both",
        ),
    ),
    Mechanism(
        promise="faults",
        name="an id is new after the retention",
        what="A verdict older than the retention says nothing.",
        file="transport/verdicts.py",
        text="        return None if self._monotonic() - at >= self._retention else verdict\n",
        mutant="        return verdict\n",
        without="an id that may be used again is refused",
        tests=("transport/test_lost_moves.py::test_after_the_retention_an_id_counts_as_new",),
    ),
    Mechanism(
        promise="bounds",
        name="so many verdicts",
        what="The last 2000 verdicts are remembered.",
        file="transport/verdicts.py",
        text="        if len(self._given) > REMEMBERED:\n",
        mutant="        if False:\n",
        without="every command there ever was stays in memory",
        tests=("transport/test_lost_moves.py::test_the_verdicts_that_are_remembered_are_the_last_ones",),
    ),
)
