"""The session: one TCP connection of one device, from accept to close.

Its state changes at steps of its life cycle, never for a frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fsm.errors import SequenceGap
from fsm.events import SessionEvent
from fsm.machine import Edge, StateMachine, Table
from fsm.states import SessionTrigger

NEW: Final = "new"
HANDSHAKE: Final = "handshake"
IDENTIFIED: Final = "identified"
READY: Final = "ready"
TAINTED: Final = "tainted"
DRAINING: Final = "draining"
CLOSED: Final = "closed"

_OPEN_STATES = (HANDSHAKE, IDENTIFIED, READY, TAINTED)

SESSION = Table(
    name="session",
    initial=NEW,
    states=(NEW, HANDSHAKE, IDENTIFIED, READY, TAINTED, DRAINING, CLOSED),
    edges=(
        Edge(trigger="accept", source=NEW, dest=HANDSHAKE),
        Edge(trigger="identify", source=HANDSHAKE, dest=IDENTIFIED),
        Edge(trigger="open", source=IDENTIFIED, dest=READY),
        Edge(trigger="taint", source=READY, dest=TAINTED),
        Edge(trigger="clear", source=TAINTED, dest=READY),
        *(Edge(trigger="drain", source=state, dest=DRAINING) for state in _OPEN_STATES),
        *(Edge(trigger="close", source=state, dest=CLOSED) for state in (*_OPEN_STATES, DRAINING)),
    ),
)
"""States and edges of a session. Commands are written only in ``ready``."""

_machine = StateMachine(SESSION)


@dataclass(slots=True, frozen=True)
class Session:
    """A session: the fold of its events."""

    session_id: str
    state: str = NEW
    seq: int = 0
    reason: str = ""


@dataclass(slots=True)
class _Probe:
    state: str


def decide(
    session: Session,
    trigger: SessionTrigger,
    *,
    reason: str = "",
    imei: str = "",
    peer: str = "",
    auth: str = "",
    instance_id: str = "",
) -> SessionEvent:
    """The event that follows if `trigger` happens to `session`. Nothing is changed.

    Raises:
        IllegalTransition: the table has no such edge from this state.
        UnknownTrigger, UnknownState: the machine has no such trigger or state at all.
    """
    probe = _Probe(session.state)
    _machine.fire(probe, trigger, reason)
    return SessionEvent(
        session_id=session.session_id,
        seq=session.seq + 1,
        state=probe.state,
        prev="" if session.state == NEW else session.state,
        trigger=trigger,
        reason=reason,
        imei=imei,
        peer=peer,
        auth=auth,
        instance_id=instance_id,
        terminal=probe.state == CLOSED,
    )


def evolve(session: Session, event: SessionEvent) -> Session:
    """`session` with `event` folded into it.

    Raises:
        SequenceGap: the event belongs to another session or does not continue this one.
    """
    if event.session_id != session.session_id or event.seq != session.seq + 1:
        raise SequenceGap(session.session_id, session.seq + 1, event.seq)
    return Session(session.session_id, event.state, event.seq, event.reason)
