"""The lean machine moves as the library's own does."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from transitions import Machine, MachineError

from fsm.command import COMMAND
from fsm.machine import LeanMachine, Table
from fsm.reasons import EXPIRED
from fsm.session import SESSION


@dataclass(slots=True)
class Subject:
    state: str


def build(machine_class: type[Machine], table: Table) -> Machine:
    return machine_class(
        model=None,
        states=list(table.states),
        initial=table.initial,
        transitions=list(table.edges),
        auto_transitions=False,
        send_event=True,
    )


def outcome(machine: Machine, state: str, trigger: str, reason: str) -> tuple[object, str]:
    subject = Subject(state)
    try:
        return machine.events[trigger].trigger(subject, reason=reason), subject.state
    except MachineError:
        return MachineError, subject.state


@pytest.mark.parametrize("table", [COMMAND, SESSION], ids=lambda table: table.name)
@pytest.mark.parametrize("reason", ["", EXPIRED, "connection_lost"])
def test_every_trigger_acts_as_with_the_stock_machine(table: Table, reason: str) -> None:
    stock, lean = build(Machine, table), build(LeanMachine, table)
    for state in table.states:
        for trigger in table.triggers:
            assert outcome(lean, state, trigger, reason) == outcome(stock, state, trigger, reason)
