"""Fold a history into what it tells. The log is the truth; this reads it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

from fsm import command, session
from fsm.command import COMMAND, Command
from fsm.events import CommandEvent, SessionEvent
from fsm.machine import Table
from fsm.session import SESSION, Session


def replay_command(command_id: str, events: Iterable[CommandEvent]) -> Command:
    """The command that `events`, in order, tell of.

    Raises:
        SequenceGap: an event is missing, repeated, or of another command.
    """
    return reduce(command.evolve, events, Command(command_id))


def replay_session(session_id: str, events: Iterable[SessionEvent]) -> Session:
    """The session that `events`, in order, tell of.

    Raises:
        SequenceGap: an event is missing, repeated, or of another session.
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
    """Moves in `events` that the table of today does not have. An audit, never a condition of loading."""
    return _unknown_moves(COMMAND, events)


def audit_session(events: Iterable[SessionEvent]) -> list[str]:
    """Moves in `events` that the table of today does not have."""
    return _unknown_moves(SESSION, events)
