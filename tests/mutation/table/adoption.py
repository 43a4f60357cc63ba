"""Mechanisms of bringing the commands of a dead instance to their end."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="P1",
        name="hands off the living",
        what="An adopter that learns that the instance is back touches nothing more.",
        file="store/fleet/adoption.py",
        where="Adoption._move",
        code="result.status is Status.ALIVE",
        mutant="False",
        without="it goes on through the stream",
        tests=(
            "redis/test_adopters.py::test_an_instance_that_comes_back_in_the_middle_keeps_the_rest[fake-Step]",
        ),
    ),
    Mechanism(
        promise="P1",
        name="what is out is not handed on",
        what="A command that the dead instance had committed as `sent` is not given to another.",
        file="fsm/policies.py",
        code='"sent": Fire("fail", INSTANCE_LOST)',
        mutant='"sent": HandOver(Fire("fail", INSTANCE_LOST))',
        without="it is written a second time",
        tests=(
            "redis/test_ownership.py::test_a_command_that_is_out_and_has_time_left_is_handed_to_nobody[fake]",
        ),
    ),
    Mechanism(
        promise="P1",
        name="not handed on when its time is over",
        what="An expired command is ended, not handed on.",
        file="fsm/redelivery.py",
        where="policy_at",
        code="now_ms >= request.expires_at",
        mutant="False",
        without="it travels on although it will never be sent",
        tests=("redis/test_adoption.py::test_a_queued_command_whose_time_is_over_expires[fake]",),
    ),
    Mechanism(
        promise="P2",
        name="three moves at most",
        what="A command that has moved three times is ended, not handed on.",
        file="fsm/redelivery.py",
        where="policy_at",
        code="stranded or not movable(request)",
        mutant="stranded",
        without="it moves for ever",
        tests=("redis/test_adoption.py::test_a_command_moves_three_times_and_no_more[fake]",),
    ),
    Mechanism(
        promise="P3",
        name="expired, not lost",
        what="A command whose time is over ends as `expired`.",
        file="fsm/redelivery.py",
        where="policy_at",
        code='return policy_for("expiry", state)',
        mutant="return policy.otherwise",
        without="it ends as `instance_lost`",
        tests=("redis/test_adoption.py::test_a_queued_command_whose_time_is_over_expires[fake]",),
    ),
    Mechanism(
        promise="P2",
        name="who holds it is dead too",
        what="A command whose new holder is dead as well is ended.",
        file="store/fleet/adoption.py",
        where="Adoption._hand_over",
        code="result.status is not Status.HELD_ELSEWHERE",
        mutant="True",
        without="it stays without a verdict",
        tests=(
            "redis/test_adoption.py::"
            "test_a_queued_command_whose_device_nobody_alive_holds_is_lost[fake-silent]",
        ),
    ),
    Mechanism(
        promise="P1",
        name="an adopter's tokens are its own",
        what="The tokens of an adopter are unlike those of the process it works in.",
        file="store/fleet/adoption.py",
        where="Adoption._token",
        code='f"{self._name}:{next(self._tokens)}"',
        mutant='f"{self._ledger._boot_id}:{next(self._tokens)}"',
        without="what an adopter hands to itself looks like its own repeated move",
        tests=(
            "redis/test_adopters.py::test_what_an_adopter_hands_to_itself_does_not_look_like_its_own_move[fake]",
        ),
    ),
    Mechanism(
        promise="P2",
        name="one entry spares the others",
        what="An entry that cannot be settled does not hold up those behind it.",
        file="store/fleet/adoption.py",
        where="Adoption.adopt",
        code="""
            if is_transient(error): ...
            failure = failure or error
        """,
        mutant="raise",
        without="one broken ledger keeps all commands behind it from their verdict",
        tests=(
            "redis/test_adopters.py::test_a_command_whose_ledger_is_broken_does_not_hold_up_the_others[fake]",
        ),
    ),
    Mechanism(
        promise="P2",
        name="a full Redis ends the round",
        what="An adopter whose moves are refused for want of memory leaves everything as it is.",
        file="store/fleet/adoption.py",
        where="Adoption._give_up",
        code="if is_transient(refusal): ...",
        mutant="",
        without="commands are given up because Redis is full",
        tests=("redis/test_adopters.py::test_a_store_that_is_full_ends_the_round_and_no_command[fake-Open]",),
    ),
    Mechanism(
        promise="P2",
        name="what has ended is only removed",
        what="Of a command with a verdict, the adopter removes the entry.",
        file="store/fleet/adoption.py",
        where="Adoption._end",
        code="await self._move(Discard(entry, _nothing))",
        mutant="",
        without="it is looked at for ever",
        tests=("redis/test_adoption.py::test_of_a_command_that_has_ended_only_the_entry_is_removed[fake]",),
    ),
    Mechanism(
        promise="P2",
        name="unread commands too",
        what="An adopter settles what nobody has read as well as what is pending.",
        file="fsm/redelivery.py",
        where="command_of",
        code="return evolve(Command(first.command_id), first)",
        mutant="return None",
        without="what was not read yet is accepted and has no verdict",
        tests=("redis/test_adoption.py::test_an_unread_command_is_accepted_and_then_lost[fake]",),
    ),
    Mechanism(
        promise="P2",
        name="a command that our limits refuse",
        what="A command that the dead instance took and our own limits refuse ends all the same.",
        file="store/fleet/adoption.py",
        where="Adoption._refuse",
        code='await self._end(policy_at("adoption", known.state, None, self._now_ms()), known, entry)',
        mutant="return",
        without="it stays without a verdict",
        tests=(
            "redis/test_adoption.py::"
            "test_a_command_that_only_the_dead_instance_would_have_taken_ends_all_the_same[fake]",
        ),
    ),
    Mechanism(
        promise="P2",
        name="cancels are inherited",
        what="A cancel on the stream of a dead instance calls its command off.",
        file="store/fleet/adoption.py",
        where="Adoption._cancel",
        code="""
            await self._move(Step(verdict.event, verdict.held, _nothing, remove=(entry,)))
            return
        """,
        mutant='verdict = "unknown"',
        without="it is rejected",
        tests=("redis/test_adopters.py::test_a_cancel_calls_off_what_waits_on_a_living_instance[fake]",),
    ),
    Mechanism(
        promise="registry",
        name="the end of a lost session is told",
        what="Each registry entry of a dead instance that is removed is told as the end of its session.",
        file="store/fleet/adoption.py",
        where="Adoption._remove",
        code="await understood(self._client, removed, _read_removed)",
        mutant="()",
        without="consumers believe the device is still there",
        tests=(
            "redis/test_adoption.py::test_its_registry_entries_vanish_and_each_session_is_told_closed[fake]",
        ),
    ),
    Mechanism(
        promise="registry",
        name="an instance that is back is not settled",
        what="Who is back when its devices are removed is not settled.",
        file="store/fleet/adoption.py",
        where="Adoption._remove",
        code='raise Alive(f"Instance {self._dead!r} is alive again.")',
        mutant="return",
        without="the janitor takes it for settled",
        tests=(
            (
                "store/test_adoption.py::"
                "test_an_instance_that_is_back_is_not_settled_though_it_has_no_commands"
            ),
        ),
    ),
    Mechanism(
        promise="P2",
        name="an unreadable command that has ended",
        what="The entry of a command that has ended is only removed, though our limits refuse it.",
        file="fsm/policies.py",
        code='"adoption": {"queued": HandOver(Fire("fail", INSTANCE_LOST)), "sent": Fire("fail", INSTANCE_LOST), "responded": REMOVE, "delivered": REMOVE, "failed": REMOVE, "timeout": REMOVE}',
        mutant='"adoption": {"queued": HandOver(Fire("fail", INSTANCE_LOST)), "sent": Fire("fail", INSTANCE_LOST), "responded": REMOVE, "delivered": REMOVE, "failed": Fire("fail", INSTANCE_LOST), "timeout": REMOVE}',
        without="the janitor ends with an error, and the process with it",
        tests=(
            (
                "store/test_adoption.py::"
                "test_of_a_command_that_has_ended_only_the_entry_is_removed_though_our_limits_refuse_it"
            ),
        ),
    ),
)
