"""What is done with an entry that may be known already: one rule for the consumer and for adoption.

Whoever reads an entry first submits an `Open` for it. What the ledger answers (`command_of`) and the time say
what follows (`policy_at`):

* new, or known by this very entry: the command goes on from the state in the ledger, by the row of
  `fsm.policies` for a restart or an adoption. A command that goes on or is handed over ends or is parked
  instead when the gateway stops, its time is over, or its device does not come back;
* known by another entry: the script has answered with the note `duplicate_ignored` and removed the entry;
* in a state that this version does not know: everything is left as it is.
"""

from __future__ import annotations

from typing import Final

from fsm.command import Command, CommandRequest, decide, evolve
from fsm.errors import UnknownState
from fsm.events import CommandEvent
from fsm.moves import MoveResult, Status
from fsm.policies import LEAVE, REMOVE, HandOver, LedgerOccasion, Policy, Resume, fire_for, policy_for

MAX_HOPS: Final = 3
"""How often a command may move between instances."""


def movable(request: CommandRequest) -> bool:
    """Whether the command may be handed over once more."""
    return request.hops < MAX_HOPS


def command_of(first: CommandEvent, result: MoveResult) -> Command | None:
    """The command of an entry, as the ledger has it now; None if the ledger does not name this entry.

    Args:
        first: the event that the entry was opened with.
        result: the ledger's answer to that.
    """
    if result.status is Status.OK:
        return evolve(Command(first.command_id), first)
    return result.command(first.command_id) if result.status is Status.REDELIVERED else None


def has_ended(command: Command) -> bool:
    """Whether nothing is left of the command but its entry, which is to be removed."""
    return policy_at("restart", command.state, None, 0) is REMOVE


def policy_at(
    occasion: LedgerOccasion,
    state: str,
    request: CommandRequest | None,
    now_ms: int,
    *,
    stopping: bool = False,
    absent: bool = False,
    stranded: bool = False,
) -> Policy:
    """What happens to a command whose entry was read and whose ledger names that entry.

    Args:
        state: its state in the ledger.
        request: the entry; None if it cannot be read as a command any more.
        now_ms: epoch ms by the clock of Redis.
        stopping: this gateway stops.
        absent: the device is connected nowhere and not expected.
        stranded: no living instance holds the device.
    """
    waits = request is not None and request.waits
    try:
        policy = policy_for(occasion, state, waits=waits)
    except UnknownState:
        return LEAVE
    if not isinstance(policy, Resume | HandOver):
        return policy
    if request is None:
        return policy.otherwise
    if stopping:
        return policy_for("shutdown", state, waits=waits)
    if now_ms >= request.expires_at:
        return policy_for("expiry", state)
    if absent:
        return policy_for("absence", state, waits=waits)
    if isinstance(policy, HandOver) and (stranded or not movable(request)):
        return policy.otherwise
    return policy


def events_of_refused(
    command: Command, request: CommandRequest, refused: CommandEvent | None
) -> tuple[CommandEvent, ...]:
    """What is published of a command whose ledger cannot be written, up to its verdict.

    Args:
        command: the fold of its committed events.
        refused: the event that could not be committed; if it is a verdict, it is the one published.
    """
    events = []
    if not command.seq:
        events.append(decide(command, "accept", request=request))
        command = evolve(command, events[0])
    if refused is not None and refused.terminal and refused.seq == command.seq + 1:
        events.append(refused)
    elif fire := fire_for("refused", command.state):
        events.append(decide(command, fire.trigger, reason=fire.reason, request=request))
    return tuple(events)
