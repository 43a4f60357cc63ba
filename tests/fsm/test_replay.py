"""Living and replaying are the same path, for every prefix of every walk."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsm import command as commands
from fsm import session as sessions
from fsm.command import COMMAND, Command
from fsm.errors import IllegalTransition, SequenceGap, WrongReason
from fsm.events import CommandEvent, SessionEvent
from fsm.reasons import EDGE_RULES
from fsm.replay import audit_command, audit_session, replay_command, replay_session
from fsm.session import SESSION, Session

# A loaded machine draws slowly; that says nothing about the code.

MOVES = sorted(
    {(trigger, why) for (trigger, _), verdict in EDGE_RULES.items() for why in verdict.reasons or {""}}
)


@st.composite
def command_lives(draw: st.DrawFn) -> tuple[list[Command], list[CommandEvent]]:
    """A command after each of its moves, and the moves; illegal triggers are tried on the way."""
    lives, events = [Command("c-1")], list[CommandEvent]()
    for _ in range(draw(st.integers(0, 6))):
        likely = [move for move in MOVES if COMMAND.allows(lives[-1].state, move[0])]
        trigger, reason = draw(st.sampled_from(likely or MOVES) | st.sampled_from(MOVES))
        try:
            event = commands.decide(lives[-1], trigger, reason=reason, acknowledged=draw(st.booleans()))
        except (IllegalTransition, WrongReason):
            continue
        events.append(event)
        lives.append(commands.evolve(lives[-1], event))
    return lives, events


@st.composite
def session_lives(draw: st.DrawFn) -> tuple[list[Session], list[SessionEvent]]:
    """A session after each of its moves, and the moves."""
    lives, events = [Session("s-1")], list[SessionEvent]()
    for trigger in draw(st.lists(st.sampled_from(SESSION.triggers), max_size=60)):
        if SESSION.allows(lives[-1].state, trigger):
            event = sessions.decide(lives[-1], trigger, reason=draw(st.sampled_from(["", "idle"])))
            events.append(event)
            lives.append(sessions.evolve(lives[-1], event))
    return lives, events


@given(command_lives())
def test_every_prefix_of_events_replays_to_the_command(
    life: tuple[list[Command], list[CommandEvent]],
) -> None:
    lives, events = life
    for length, lived in enumerate(lives):
        assert replay_command("c-1", events[:length]) == lived
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.terminal for event in events].count(True) <= 1
    assert audit_command(events) == []


@given(session_lives())
def test_every_prefix_of_events_replays_to_the_session(
    life: tuple[list[Session], list[SessionEvent]],
) -> None:
    lives, events = life
    for length, lived in enumerate(lives):
        assert replay_session("s-1", events[:length]) == lived
    assert audit_session(events) == []


@given(command_lives(), st.data())
def test_missing_repeated_or_swapped_events_are_refused(
    life: tuple[list[Command], list[CommandEvent]], data: st.DataObject
) -> None:
    _, events = life
    if len(events) < 2:
        return
    at = data.draw(st.integers(0, len(events) - 2))
    missing = events[:at] + events[at + 1 :]
    repeated = events[: at + 1] + events[at:]
    swapped = [*events[:at], events[at + 1], events[at], *events[at + 2 :]]
    for history in (missing, repeated, swapped):
        with pytest.raises(SequenceGap):
            replay_command("c-1", history)


def test_a_sent_command_is_maybe_sent_until_more_is_known() -> None:
    command = Command("c-1")
    deliveries = []
    for trigger, reason in (("accept", ""), ("send", ""), ("time_out", "response_timeout")):
        command = commands.evolve(command, commands.decide(command, trigger, reason=reason))
        deliveries.append(command.delivery)
    assert deliveries == ["not_sent", "maybe_sent", "maybe_sent"]


def test_the_audit_names_a_transition_missing_in_the_table() -> None:
    strange = CommandEvent("c-1", 1, state="delivered", prev="", trigger="teleport", terminal=True)
    assert replay_command("c-1", [strange]).state == "delivered"
    assert audit_command([strange]) == ["new --teleport--> delivered"]
    odd = SessionEvent("s-1", 1, state="ready", prev="", trigger="accept")
    assert audit_session([odd]) == ["new --accept--> ready"]


def test_the_empty_history_is_a_new_subject() -> None:
    assert replay_command("c-1", []) == Command("c-1", state=COMMAND.initial)
    assert replay_session("s-1", []) == Session("s-1", state=SESSION.initial)
