"""State machines: a table of edges, and one shared machine that changes the state of objects.

This is the only module that imports `transitions`. The machine owns no model: it changes any object with a
``state`` attribute, and objects are never registered with it, so they cost it no memory. There are no
callbacks: a trigger either changes ``state`` along an edge of the table or raises, and the caller carries out
all effects.

Without callbacks, most of the library's work at a trigger is not needed. `LeanEvent` omits it and costs an
eighth; a test compares it with the library's own event for every input.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, Required, TypedDict

from transitions import Event, EventData, Machine, MachineError, Transition

from fsm.errors import IllegalTransition, UnknownState, UnknownTrigger

# Below WARNING the library formats several lines for each trigger: seven times the cost of the trigger.
logging.getLogger("transitions").setLevel(logging.WARNING)


Guard = Callable[[EventData], bool]


def reason_is(wanted: str) -> Guard:
    """A guard that allows an edge only if the trigger has the reason `wanted`."""

    def guard(event: EventData) -> bool:
        return bool(event.kwargs.get("reason") == wanted)

    guard.__name__ = wanted
    return guard


class Edge(TypedDict, total=False):
    """One row of a table, in the form `transitions` reads.

    Guards are pure functions of the event data (``event.kwargs["reason"]``). They are needed only if one
    trigger leads from one state to two states.
    """

    trigger: Required[str]
    source: Required[str]
    dest: Required[str]
    conditions: list[Guard]
    unless: list[Guard]


class HasState(Protocol):
    """The attribute that a machine needs of an object."""

    state: str


@dataclass(frozen=True)
class Table:
    """A state machine as data: its name, its states, the initial state, and its edges.

    A state that no edge leaves is terminal.
    """

    name: str
    initial: str
    states: tuple[str, ...]
    edges: tuple[Edge, ...]

    @property
    def terminal(self) -> frozenset[str]:
        """States that no edge leaves."""
        return frozenset(self.states) - {edge["source"] for edge in self.edges}

    @property
    def triggers(self) -> tuple[str, ...]:
        """Names of all triggers, in the order of their first edge."""
        return tuple(dict.fromkeys(edge["trigger"] for edge in self.edges))

    def check(self, trigger: str) -> None:
        """Check that some edge of the table has this trigger.

        Raises:
            UnknownTrigger: none has.
        """
        if trigger not in self.triggers:
            raise UnknownTrigger(self.name, trigger)

    def allows(self, state: str, trigger: str) -> bool:
        """Whether `trigger` is an edge from `state`.

        Raises:
            UnknownTrigger: no edge of the table has this trigger.
        """
        self.check(trigger)
        return any(edge["source"] == state and edge["trigger"] == trigger for edge in self.edges)

    def __iter__(self) -> Iterator[Edge]:
        return iter(self.edges)


class LeanEvent(Event):
    """A trigger that evaluates guards and changes ``state``, without callbacks."""

    def trigger(self, model: Any, *args: object, **kwargs: object) -> bool:
        """Change `model` along the first edge that its guards allow; False if there is none.

        Raises:
            MachineError: the state of the model has no edge with this trigger.
        """
        candidates = self.transitions.get(model.state)
        if not candidates:
            raise MachineError(f"Can't trigger event {self.name} from state {model.state}!")
        for candidate in candidates:
            if not candidate.conditions or self._passes(candidate, model, args, kwargs):
                model.state = candidate.dest
                return True
        return False

    def _passes(
        self, candidate: Transition, model: Any, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> bool:
        state = self.machine.get_state(model.state)
        data = EventData(state, self, self.machine, model, args=args, kwargs=kwargs)
        return all(condition.check(data) for condition in candidate.conditions)


class LeanMachine(Machine):
    """The machine of the library, with `LeanEvent` for its triggers."""

    event_cls = LeanEvent


class StateMachine:
    """The shared `transitions` machine of one table.

    >>> StateMachine(table).fire(command, "send")   # changes command.state, or raises IllegalTransition
    """

    def __init__(self, table: Table) -> None:
        unknown = {edge[end] for edge in table for end in ("source", "dest")} - set(table.states)
        if unknown:
            raise ValueError(f"The {table.name} table names unknown states: {sorted(unknown)}.")
        self.table = table
        machine = LeanMachine(
            model=None,
            states=list(table.states),
            initial=table.initial,
            transitions=list(table.edges),
            auto_transitions=False,
            queued=False,
            send_event=True,
        )
        self._fire = {name: event.trigger for name, event in machine.events.items()}

    def fire(self, subject: HasState, trigger: str, reason: str = "") -> None:
        """Change the state of `subject` by `trigger`. After an error the subject is unchanged.

        Raises:
            UnknownTrigger: no edge of the table has this trigger.
            UnknownState: the table does not have the subject's state.
            IllegalTransition: there is no such edge from the subject's state.
        """
        fire = self._fire.get(trigger)
        if fire is None:
            raise UnknownTrigger(self.table.name, trigger)
        try:
            if fire(subject, reason=reason):
                return
        except MachineError:
            pass
        if subject.state not in self.table.states:
            raise UnknownState(self.table.name, subject.state)
        raise IllegalTransition(self.table.name, subject.state, trigger)
