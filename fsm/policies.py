"""What happens to a command at shutdown, restart, expiry, cancel, disconnect, adoption, and the like.

The table in `fsm.command` says which moves a state has. `POLICIES` says which of them follows from an
occasion: one row for each occasion and each stage. Nothing else decides that, and a test names each row that
is missing.

A stage is a state, or a part of one that only the process that holds the command can tell (`STAGES`). While
its `sent` is being committed, a command is ``sending``. ``sent`` means committed and not written; ``written``
means handed to the socket. What is ``written`` never ends as `not_sent`; what ends before the write does,
unless Redis refuses its events.

Two occasions concern a process that knows the command by its ledger alone, and therefore its state alone:
``restart`` (the entry is delivered again to the same instance) and ``adoption`` (another instance reads it,
because its own is dead). There, what is `sent` may have been written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal

from fsm.errors import UnknownState
from fsm.events import CommandEvent
from fsm.reasons import (
    CANCELLED,
    CONNECTION_LOST,
    DEVICE_NOT_CONNECTED,
    EXPIRED,
    GATEWAY_RESTART,
    GATEWAY_SHUTDOWN,
    IDENTITY_DISPUTED,
    INSTANCE_LOST,
    INTERNAL_ERROR,
    LEDGER_LOST,
    PROTOCOL_ERROR,
    SESSION_SUPERSEDED,
    SHUTDOWN,
    SUPERSEDED,
    WRITE_ERROR,
    WRITE_OVERFLOW,
    CommandReason,
)
from fsm.states import CommandState, CommandTrigger

Stage = Literal["queued", "sending", "sent", "written", "responded", "delivered", "failed", "timeout"]

STAGES: Final[dict[CommandState, tuple[Stage, ...]]] = {
    "queued": ("queued", "sending"),
    "sent": ("sent", "written"),
}
"""States that have several stages. Any other state is one stage of the same name."""

LiveOccasion = Literal[
    "shutdown", "drain_over", "expiry", "cancel", "disconnect", "absence", "dispute", "ledger_lost", "refused"
]
LedgerOccasion = Literal["restart", "adoption"]
Occasion = LiveOccasion | LedgerOccasion


class Action(Enum):
    """What happens where no event follows at once."""

    KEEP = "keep"
    """Nothing."""
    WAIT = "wait"
    """Nothing yet: the question is asked again when the ledger has answered."""
    AWAIT_DEVICE = "await_device"
    """The command waits for its device to connect again."""
    REMOVE = "remove"
    """The entry is removed: the command has ended."""
    LEAVE = "leave"
    """Everything stays as it is, for a gateway of a version that knows the state."""


@dataclass(slots=True, frozen=True)
class Fire:
    """The command moves along `trigger`.

    Attributes:
        by_close: the reasons that belong to single close reasons, when a connection has closed.
    """

    trigger: CommandTrigger
    reason: CommandReason
    by_close: Mapping[str, CommandReason] = field(default_factory=dict)

    def because(self, close_reason: str) -> CommandReason:
        """The reason, when the command's connection has closed for `close_reason`."""
        return self.by_close.get(close_reason, self.reason)


@dataclass(slots=True, frozen=True)
class Reject:
    """The cancel is rejected; `detail` says why."""

    detail: str


@dataclass(slots=True, frozen=True)
class Resume:
    """The command goes on. If its entry cannot be read any more, it ends by `otherwise`."""

    otherwise: Fire


@dataclass(slots=True, frozen=True)
class Park:
    """The command is parked, if its producer wants it to wait for its device; else it ends by `otherwise`."""

    otherwise: Fire


@dataclass(slots=True, frozen=True)
class HandOver:
    """The command is handed over to the instance that holds its device; `otherwise` if there is none."""

    otherwise: Fire | Park


Policy = Fire | Reject | Resume | Park | HandOver | Action

KEEP, WAIT, AWAIT_DEVICE, REMOVE, LEAVE = Action

POLICIES: Final[dict[Occasion, dict[Stage, Policy]]] = {
    # The gateway stops.
    "shutdown": {
        "queued": Park(Fire("fail", GATEWAY_SHUTDOWN)),
        "sending": WAIT,
        "sent": Fire("withdraw", GATEWAY_SHUTDOWN),
        "written": KEEP,
        "responded": KEEP,
        "delivered": KEEP,
        "failed": KEEP,
        "timeout": KEEP,
    },
    # The gateway stops, and the time to wait for answers is over.
    "drain_over": {
        "queued": KEEP,
        "sending": KEEP,
        "sent": KEEP,
        "written": Fire("fail", GATEWAY_SHUTDOWN),
        "responded": KEEP,
        "delivered": KEEP,
        "failed": KEEP,
        "timeout": KEEP,
    },
    # The command must not be written any more. What is written waits for its answer.
    "expiry": {
        "queued": Fire("expire", EXPIRED),
        "sending": Fire("expire", EXPIRED),
        "sent": Fire("withdraw", EXPIRED),
        "written": KEEP,
        "responded": KEEP,
        "delivered": KEEP,
        "failed": KEEP,
        "timeout": KEEP,
    },
    # The producer asks that it be not sent.
    "cancel": {
        "queued": Fire("fail", CANCELLED),
        "sending": Fire("fail", CANCELLED),
        "sent": Reject("sent"),
        "written": Reject("sent"),
        "responded": Reject("terminal"),
        "delivered": Reject("terminal"),
        "failed": Reject("terminal"),
        "timeout": Reject("terminal"),
    },
    # The connection that it was queued on has closed.
    "disconnect": {
        "queued": AWAIT_DEVICE,
        "sending": WAIT,
        "sent": Fire(
            "withdraw", CONNECTION_LOST, {SUPERSEDED: SESSION_SUPERSEDED, SHUTDOWN: GATEWAY_SHUTDOWN}
        ),
        "written": Fire(
            "fail",
            CONNECTION_LOST,
            {
                SUPERSEDED: SESSION_SUPERSEDED,
                SHUTDOWN: GATEWAY_SHUTDOWN,
                PROTOCOL_ERROR: PROTOCOL_ERROR,
                WRITE_OVERFLOW: WRITE_ERROR,
            },
        ),
        "responded": KEEP,
        "delivered": KEEP,
        "failed": KEEP,
        "timeout": KEEP,
    },
    # Its device is connected nowhere, and has not come back in time.
    "absence": {
        "queued": Park(Fire("fail", DEVICE_NOT_CONNECTED)),
        "sending": WAIT,
        "sent": KEEP,
        "written": KEEP,
        "responded": KEEP,
        "delivered": KEEP,
        "failed": KEEP,
        "timeout": KEEP,
    },
    # Two peers claim its device by turns.
    "dispute": {
        "queued": Fire("fail", IDENTITY_DISPUTED),
        "sending": WAIT,
        "sent": Fire("withdraw", IDENTITY_DISPUTED),
        "written": KEEP,
        "responded": KEEP,
        "delivered": KEEP,
        "failed": KEEP,
        "timeout": KEEP,
    },
    # Redis has lost the ledger. Nothing is sent without one; what is sent ends by its real outcome.
    "ledger_lost": {
        "queued": Fire("fail", LEDGER_LOST),
        "sending": Fire("fail", LEDGER_LOST),
        "sent": KEEP,
        "written": KEEP,
        "responded": KEEP,
        "delivered": KEEP,
        "failed": KEEP,
        "timeout": KEEP,
    },
    # Redis refuses every event of this one command.
    "refused": {
        "queued": Fire("fail", INTERNAL_ERROR),
        "sending": Fire("fail", INTERNAL_ERROR),
        "sent": Fire("fail", INTERNAL_ERROR),
        "written": Fire("fail", INTERNAL_ERROR),
        "responded": KEEP,
        "delivered": KEEP,
        "failed": KEEP,
        "timeout": KEEP,
    },
    # Its entry is delivered again, to the instance that it was for.
    "restart": {
        "queued": Resume(Fire("fail", INTERNAL_ERROR)),
        "sent": Fire("fail", GATEWAY_RESTART),
        "responded": REMOVE,
        "delivered": REMOVE,
        "failed": REMOVE,
        "timeout": REMOVE,
    },
    # Its instance is dead, and another one reads its entry.
    "adoption": {
        "queued": HandOver(Park(Fire("fail", INSTANCE_LOST))),
        "sent": Fire("fail", INSTANCE_LOST),
        "responded": REMOVE,
        "delivered": REMOVE,
        "failed": REMOVE,
        "timeout": REMOVE,
    },
}
"""What follows, by occasion and stage; tested complete."""

_BY_NAME: Final[Mapping[str, Mapping[str, Policy]]] = {
    occasion: {str(stage): policy for stage, policy in rows.items()} for occasion, rows in POLICIES.items()
}
_WHILE_COMMITTED: Final = {"sent": "sending"}
_WHEN_WRITTEN: Final = {"sent": "written"}


def stages_of(state: str) -> tuple[str, ...]:
    """The stages of a state, in their order."""
    stages: Mapping[str, tuple[str, ...]] = {str(name): found for name, found in STAGES.items()}
    return stages.get(state, (state,))


def stage_of(state: str, pending: CommandEvent | None, written: bool) -> str:
    """The stage of a command that this process holds. A verdict that is being committed counts as given.

    Args:
        pending: the event that is being committed.
        written: the command was handed to the socket.
    """
    if pending is not None:
        return _WHILE_COMMITTED.get(pending.state, pending.state)
    return _WHEN_WRITTEN.get(state, state) if written else state


def policy_for(occasion: Occasion, stage: str, *, waits: bool = False) -> Policy:
    """The row of the table for `occasion` and `stage`, which is a state where only the ledger is known.

    Without `waits` the command is not to wait for its device, and nothing is parked.

    Raises:
        UnknownState: there is no such stage at this occasion.
    """
    policy = _BY_NAME[occasion].get(stage)
    if policy is None:
        raise UnknownState("command", stage)
    if waits:
        return policy
    if isinstance(policy, HandOver) and isinstance(policy.otherwise, Park):
        return HandOver(policy.otherwise.otherwise)
    return policy.otherwise if isinstance(policy, Park) else policy


def fire_for(occasion: Occasion, stage: str) -> Fire | None:
    """The row for `occasion` and `stage`, if it moves the command; None if it does not, or nothing has begun.

    A row by which the command is parked counts as what happens otherwise.

    Raises:
        UnknownState: there is no such stage at this occasion.
    """
    if stage == "new":
        return None
    policy = policy_for(occasion, stage)
    return policy if isinstance(policy, Fire) else None
