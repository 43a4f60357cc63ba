"""The state machine: what it does with legal and illegal moves."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from fsm.command import COMMAND
from fsm.errors import IllegalTransition, UnknownState, UnknownTrigger
from fsm.machine import Edge, StateMachine, Table, reason_is
from fsm.session import SESSION

LAMP = Table(
    name="lamp",
    initial="off",
    states=("off", "on", "broken"),
    edges=(
        Edge(trigger="press", source="off", dest="on"),
        Edge(trigger="press", source="on", dest="off"),
        Edge(trigger="strike", source="on", dest="broken", conditions=[reason_is("hammer")]),
    ),
)


@dataclass(slots=True)
class Subject:
    state: str


@pytest.mark.parametrize("table", [COMMAND, SESSION], ids=lambda table: table.name)
def test_a_trigger_follows_the_table_or_raises_without_effect(table: Table) -> None:
    machine = StateMachine(table)
    for state in table.states:
        for trigger in table.triggers:
            subject = Subject(state)
            targets = {e["dest"] for e in table if e["source"] == state and e["trigger"] == trigger}
            assert table.allows(state, trigger) == bool(targets)
            if targets:
                machine.fire(subject, trigger)
                assert subject.state in targets
            else:
                with pytest.raises(IllegalTransition) as caught:
                    machine.fire(subject, trigger)
                assert subject.state == state
                assert (caught.value.machine, caught.value.state, caught.value.trigger) == (
                    table.name,
                    state,
                    trigger,
                )


@pytest.mark.parametrize("trigger", ["explode", "", "to_on", "initial", "trigger"])
def test_a_trigger_the_table_does_not_know_raises(trigger: str) -> None:
    subject = Subject("off")
    with pytest.raises(UnknownTrigger, match=f"lamp machine has no trigger {trigger!r}"):
        StateMachine(LAMP).fire(subject, trigger)
    assert subject.state == "off"
    with pytest.raises(UnknownTrigger):
        LAMP.allows("off", trigger)


def test_a_state_the_table_does_not_know_raises_and_stays() -> None:
    subject = Subject("melted")
    with pytest.raises(UnknownState, match="lamp machine has no state 'melted'"):
        StateMachine(LAMP).fire(subject, "press")
    assert subject.state == "melted"


def test_a_failed_guard_is_an_illegal_transition() -> None:
    subject = Subject("on")
    with pytest.raises(IllegalTransition):
        StateMachine(LAMP).fire(subject, "strike", "feather")
    assert subject.state == "on"
    StateMachine(LAMP).fire(subject, "strike", "hammer")
    assert subject.state == "broken"


def test_one_machine_moves_many_subjects_and_remembers_none() -> None:
    machine = StateMachine(LAMP)
    subjects = [Subject("off") for _ in range(10)]
    for subject in subjects[:5]:
        machine.fire(subject, "press")
    assert [subject.state for subject in subjects] == ["on"] * 5 + ["off"] * 5


def test_a_table_that_names_an_unknown_state_is_refused() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        StateMachine(Table("bad", "a", ("a",), (Edge(trigger="go", source="a", dest="nowhere"),)))


def test_terminal_states_are_those_no_edge_leaves() -> None:
    assert LAMP.terminal == {"broken"}
    assert LAMP.triggers == ("press", "strike")


@pytest.mark.parametrize("table", [COMMAND, SESSION], ids=lambda table: table.name)
def test_every_state_is_reachable_and_can_reach_an_end(table: Table) -> None:
    steps = {state: {e["dest"] for e in table if e["source"] == state} for state in table.states}

    def reach(start: str) -> set[str]:
        seen, todo = {start}, [start]
        while todo:
            new = steps[todo.pop()] - seen
            seen |= new
            todo += new
        return seen

    assert reach(table.initial) == set(table.states)
    assert all(reach(state) & table.terminal for state in table.states)
