"""Folds a history of events into a command or a session."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

from fsm import command, session
from fsm.command import COMMAND, Command
from fsm.events import CommandEvent, SessionEvent
from fsm.machine import Table
from fsm.session import SESSION, Session


def replay_command(command_id: str, events: Iterable[CommandEvent]) -> Command:
    """The command that `events`, in their order, result in.

    Raises:
        SequenceGap: an event is missing, repeated, or belongs to another command.
    """
    return reduce(command.evolve, events, Command(command_id))


def replay_session(session_id: str, events: Iterable[SessionEvent]) -> Session:
    """The session that `events`, in their order, result in.

    Raises:
        SequenceGap: an event is missing, repeated, or belongs to another session.
    """
    return reduce(session.evolve, events, Session(session_id))


def _unknown_moves(table: Table, events: Iterable[CommandEvent | SessionEvent]) -> list[str]:
    known = {(edge["source"], edge["trigger"], edge["dest"]) for edge in table.edges}
    moves = ((event.prev or table.initial, event.trigger, event.state) for event in events)
    return [
        f"{source} --{trigger}--> {dest}"
        for source, trigger, dest in moves
        if (source, trigger, dest) not in known
    ]


def audit_command(events: Iterable[CommandEvent]) -> list[str]:
    """Transitions in `events` that the present table does not have. Replay does not depend on this audit."""
    return _unknown_moves(COMMAND, events)


def audit_session(events: Iterable[SessionEvent]) -> list[str]:
    """Transitions in `events` that the present table does not have."""
    return _unknown_moves(SESSION, events)
