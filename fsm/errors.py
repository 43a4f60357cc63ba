"""The errors of the gateway: one root, two branches.

    GatewayError
    ├── DeviceFault      what a device did (bytes we could not accept)
    └── GatewayFault     what went wrong on our side (a rule, a store, an option)
        ├── IllegalTransition
        ├── WrongReason
        ├── UnknownTrigger, UnknownState, UnknownReason
        ├── SequenceGap
        └── InvalidCommand

Data is in attributes; ``str(error)`` is one sentence.
"""

from __future__ import annotations


class GatewayError(Exception):
    """Root of every error the gateway raises on purpose."""


class DeviceFault(GatewayError):
    """A device sent something that cannot be accepted."""


class GatewayFault(GatewayError):
    """Something went wrong on this side of the socket."""


class IllegalTransition(GatewayFault):
    """A trigger was tried in a state that has no edge for it; nothing moved."""

    def __init__(self, machine: str, state: str, trigger: str) -> None:
        super().__init__(f"The {machine} machine has no edge {trigger!r} from state {state!r}.")
        self.machine = machine
        self.state = state
        self.trigger = trigger


class WrongReason(GatewayFault):
    """A move was given a reason that does not belong to its edge; nothing moved."""

    def __init__(self, trigger: str, state: str, reason: str) -> None:
        super().__init__(f"The reason {reason!r} does not belong to {trigger!r} from {state!r}.")
        self.trigger = trigger
        self.state = state
        self.reason = reason


class UnknownTrigger(GatewayFault):
    """A trigger that the machine has on no edge at all: an error of the program; nothing moved."""

    def __init__(self, machine: str, trigger: str) -> None:
        super().__init__(f"The {machine} machine has no trigger {trigger!r}.")
        self.machine = machine
        self.trigger = trigger


class UnknownState(GatewayFault):
    """A state that the machine does not have, for example one of another version; nothing moved."""

    def __init__(self, machine: str, state: str) -> None:
        super().__init__(f"The {machine} machine has no state {state!r}.")
        self.machine = machine
        self.state = state


class UnknownReason(GatewayFault):
    """A reason that belongs to no edge at all: an error of the program; nothing moved."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"No edge has the reason {reason!r}.")
        self.reason = reason


class SequenceGap(GatewayFault):
    """An event does not continue the history it is folded into."""

    def __init__(self, subject: str, expected: int, found: int) -> None:
        super().__init__(f"The history of {subject} continues with event {expected}, not {found}.")
        self.subject = subject
        self.expected = expected
        self.found = found


class InvalidCommand(GatewayFault):
    """An outbound entry is not a command.

    ``field`` names the field at fault and never its value, which may hold a password.
    ``command_id`` is the id when one could be read, else ``None``.
    """

    def __init__(self, field: str, problem: str, command_id: str | None = None) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem
        self.command_id = command_id
