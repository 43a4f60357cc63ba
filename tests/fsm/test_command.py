"""The command machine against its specification, written out here by hand."""

from __future__ import annotations

from typing import get_args

import pytest

from fsm.command import COMMAND, OUTCOMES, Answer, Command, CommandRequest, decide, evolve
from fsm.errors import (
    IllegalTransition,
    SequenceGap,
    UnknownReason,
    UnknownState,
    UnknownTrigger,
    WrongReason,
)
from fsm.reasons import EDGE_RULES, CommandReason, Delivery
from fsm.reasons import REASONS as KNOWN_REASONS
from fsm.states import CommandState, CommandTrigger

# (from, trigger) -> {reason: to}; the empty reason stands for an edge that takes none.
EXPECTED: dict[tuple[str, str], dict[str, str]] = {
    ("new", "accept"): {"": "queued"},
    ("new", "refuse"): {
        "invalid_command": "failed",
        "not_allowed": "failed",
        "device_not_connected": "failed",
        "queue_full": "failed",
    },
    ("new", "expire"): {"expired": "timeout"},
    ("queued", "expire"): {"expired": "timeout"},
    ("queued", "send"): {"": "sent"},
    ("queued", "fail"): {
        "cancelled": "failed",
        "device_not_connected": "failed",
        "queue_full": "failed",
        "gateway_shutdown": "failed",
        "instance_lost": "failed",
        "ledger_lost": "failed",
        "internal_error": "failed",
    },
    ("sent", "withdraw"): {
        "expired": "timeout",
        "connection_lost": "failed",
        "session_superseded": "failed",
        "gateway_shutdown": "failed",
    },
    ("sent", "respond"): {"": "responded"},
    ("sent", "reject"): {"nack": "failed"},
    ("sent", "deliver"): {"": "delivered"},
    ("sent", "fail"): {
        "connection_lost": "failed",
        "write_error": "failed",
        "session_superseded": "failed",
        "gateway_shutdown": "failed",
        "gateway_restart": "failed",
        "instance_lost": "failed",
        "protocol_error": "failed",
        "internal_error": "failed",
    },
    ("sent", "time_out"): {"response_timeout": "timeout", "delivery_timeout": "timeout"},
}
STATES = ("new", "queued", "sent", "responded", "delivered", "failed", "timeout")
TRIGGERS = tuple(dict.fromkeys(trigger for _, trigger in EXPECTED))
REASONS = sorted({reason for reasons in EXPECTED.values() for reason in reasons})

REQUEST = CommandRequest(
    command_id="c-1",
    imei="352093081452251",
    payload=b"getinfo",
    codec="12",
    expires_at=2_000_000_000_000,
    accepted_at=1_900_000_000_000,
    response_timeout=30.0,
    expect_response=True,
    instance_id="gw-1",
    outbound_id="1-0",
    echo=(("requested_by", "ada"),),
)


def test_the_machine_has_the_specified_states_and_triggers() -> None:
    assert set(COMMAND.states) == set(STATES)
    assert set(COMMAND.triggers) == set(TRIGGERS)
    assert COMMAND.initial == "new"
    assert COMMAND.terminal == {"responded", "delivered", "failed", "timeout"}


@pytest.mark.parametrize("trigger", TRIGGERS)
@pytest.mark.parametrize("state", STATES)
def test_every_edge_has_the_specified_outcome(state: str, trigger: str) -> None:
    command = Command("c-1", state=state, seq=4)
    expected = EXPECTED.get((state, trigger))
    for reason in REASONS:
        if expected is None:
            with pytest.raises(IllegalTransition):
                decide(command, trigger, reason=reason)
        elif reason not in expected:
            with pytest.raises(WrongReason):
                decide(command, trigger, reason=reason)
        else:
            event = decide(command, trigger, reason=reason)
            assert (event.state, event.seq, event.reason) == (expected[reason], 5, reason)
            assert event.prev == ("" if state == "new" else state)
            assert event.terminal == (event.state not in ("queued", "sent"))
        assert command == Command("c-1", state=state, seq=4)


@pytest.mark.parametrize("trigger", ["", "explode", "to_sent", "accepted"])
def test_an_unknown_trigger_raises_in_every_state(trigger: str) -> None:
    for state in STATES:
        with pytest.raises(UnknownTrigger, match=repr(trigger)):
            decide(Command("c-1", state=state), trigger)


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_an_unknown_state_raises_under_every_trigger(trigger: str) -> None:
    with pytest.raises(UnknownState, match="'melted'"):
        decide(Command("c-1", state="melted"), trigger)


def test_an_unknown_reason_raises_at_every_edge() -> None:
    for state, trigger in EXPECTED:
        with pytest.raises(UnknownReason, match="'expiered'"):
            decide(Command("c-1", state=state), trigger, reason="expiered")


def test_the_types_name_what_the_tables_hold_and_no_more() -> None:
    assert get_args(CommandState) == COMMAND.states
    assert set(get_args(CommandTrigger)) == set(COMMAND.triggers)
    assert set(get_args(CommandReason)) == KNOWN_REASONS
    rules = EDGE_RULES.values()
    assert set(get_args(Delivery)) == {d for rule in rules for d in (rule.delivery, rule.acknowledged)}


def test_a_terminal_state_has_an_outcome_and_a_timeout_has_failed() -> None:
    assert OUTCOMES == {
        "responded": "responded",
        "delivered": "delivered",
        "failed": "failed",
        "timeout": "failed",
    }
    assert set(OUTCOMES) == COMMAND.terminal
    for (state, trigger), reasons in EXPECTED.items():
        for reason, target in reasons.items():
            event = decide(Command("c-1", state=state), trigger, reason=reason)
            assert event.outcome == OUTCOMES.get(target, "")


def test_an_event_carries_the_fields_of_the_request() -> None:
    event = decide(Command("c-1"), "accept", request=REQUEST)
    assert (event.imei, event.codec) == ("352093081452251", "12")
    assert (event.instance_id, event.outbound_id) == ("gw-1", "1-0")
    assert event.echo == (("requested_by", "ada"),)


def test_an_event_never_carries_the_text_of_the_command() -> None:
    assert "getinfo" not in repr(decide(Command("c-1"), "accept", request=REQUEST))


def test_an_answer_is_published_with_the_event() -> None:
    answer = Answer(text=None, hex="00ff", truncated=True, codec="12")
    event = decide(Command("c-1", "sent", 2), "respond", answer=answer, rtt_ms=41)
    assert (event.response, event.response_hex, event.truncated, event.rtt_ms) == (None, "00ff", True, 41)


def test_a_later_event_keeps_the_session_the_command_was_sent_on() -> None:
    sent = decide(Command("c-1", "queued", 1), "send", session_id="s-7")
    command = evolve(Command("c-1", "queued", 1), sent)
    assert command.session_id == "s-7"
    assert decide(command, "time_out", reason="response_timeout").session_id == "s-7"


def test_tcp_acknowledgement_changes_only_maybe_sent() -> None:
    for (state, trigger), reasons in EXPECTED.items():
        for reason in reasons:
            plain = decide(Command("c-1", state), trigger, reason=reason)
            seen = decide(Command("c-1", state), trigger, reason=reason, acknowledged=True)
            assert plain.delivery == EDGE_RULES[trigger, state].delivery
            uncertain = state == "sent" and trigger in ("fail", "time_out")
            assert seen.delivery == ("received" if uncertain else plain.delivery)


def test_events_with_a_gap_a_repeat_or_another_id_are_refused() -> None:
    event = decide(Command("c-1"), "accept")
    queued = evolve(Command("c-1"), event)
    for command in (queued, Command("c-1", seq=5), Command("c-2")):
        with pytest.raises(SequenceGap) as caught:
            evolve(command, event)
        assert (caught.value.subject, caught.value.found) == (command.command_id, 1)


def test_only_terminal_commands_call_themselves_terminal() -> None:
    assert {state for state in STATES if Command("c-1", state).terminal} == COMMAND.terminal
