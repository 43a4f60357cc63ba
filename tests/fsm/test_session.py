"""The session machine against its specification, written out here by hand."""

from __future__ import annotations

from typing import get_args

import pytest

from fsm.errors import IllegalTransition, SequenceGap, UnknownTrigger
from fsm.session import SESSION, Session, decide, evolve
from fsm.states import SessionState, SessionTrigger

EXPECTED = {
    ("new", "accept"): "handshake",
    ("handshake", "identify"): "identified",
    ("identified", "open"): "ready",
    ("ready", "taint"): "tainted",
    ("tainted", "clear"): "ready",
    ("handshake", "drain"): "draining",
    ("identified", "drain"): "draining",
    ("ready", "drain"): "draining",
    ("tainted", "drain"): "draining",
    ("handshake", "close"): "closed",
    ("identified", "close"): "closed",
    ("ready", "close"): "closed",
    ("tainted", "close"): "closed",
    ("draining", "close"): "closed",
}
STATES = ("new", "handshake", "identified", "ready", "tainted", "draining", "closed")
TRIGGERS = ("accept", "identify", "open", "taint", "clear", "drain", "close")


def test_the_machine_has_the_specified_states_and_triggers() -> None:
    assert set(SESSION.states) == set(STATES)
    assert set(SESSION.triggers) == set(TRIGGERS)
    assert SESSION.initial == "new"
    assert SESSION.terminal == {"closed"}


def test_the_types_name_what_the_table_holds_and_no_more() -> None:
    assert get_args(SessionState) == SESSION.states
    assert set(get_args(SessionTrigger)) == set(SESSION.triggers)


def test_an_unknown_trigger_raises_in_every_state() -> None:
    for state in STATES:
        with pytest.raises(UnknownTrigger):
            decide(Session("s-1", state=state), "explode")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("trigger", TRIGGERS)
def test_every_state_and_trigger_does_what_the_specification_says(state: str, trigger: str) -> None:
    session = Session("s-1", state=state, seq=2)
    target = EXPECTED.get((state, trigger))
    if target is None:
        with pytest.raises(IllegalTransition):
            decide(session, trigger)
    else:
        event = decide(session, trigger)
        assert (event.state, event.seq, event.terminal) == (target, 3, target == "closed")
        assert event.prev == ("" if state == "new" else state)
    assert session == Session("s-1", state=state, seq=2)


def test_an_event_names_device_address_and_reason() -> None:
    event = decide(
        Session("s-1", "ready", 3),
        "close",
        reason="idle",
        imei="352093081452251",
        peer="192.0.2.7:40001",
        instance_id="gw-1",
    )
    assert (event.imei, event.peer, event.instance_id) == ("352093081452251", "192.0.2.7:40001", "gw-1")
    assert evolve(Session("s-1", "ready", 3), event) == Session("s-1", "closed", 4, "idle")


def test_events_with_a_gap_a_repeat_or_another_id_are_refused() -> None:
    event = decide(Session("s-1"), "accept")
    for session in (Session("s-1", seq=1), Session("s-1", seq=7), Session("s-2")):
        with pytest.raises(SequenceGap):
            evolve(session, event)
