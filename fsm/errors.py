"""The errors of the gateway: one root, two branches.

    GatewayError
    ├── DeviceFault      errors of a device (bytes that cannot be accepted)
    └── GatewayFault     errors on our side (a rule, a store, an option)
        ├── IllegalTransition
        ├── WrongReason
        ├── UnknownTrigger, UnknownState, UnknownReason
        ├── SequenceGap
        └── InvalidCommand

The data is in attributes; ``str(error)`` is one sentence.
"""

from __future__ import annotations


class GatewayError(Exception):
    """The root of all errors that the gateway raises."""


class DeviceFault(GatewayError):
    """A device sent something that cannot be accepted."""


class GatewayFault(GatewayError):
    """An error on this side of the socket."""


class IllegalTransition(GatewayFault):
    """The state has no edge for the trigger; nothing was changed."""

    def __init__(self, machine: str, state: str, trigger: str) -> None:
        super().__init__(f"The {machine} machine has no edge {trigger!r} from state {state!r}.")
        self.machine = machine
        self.state = state
        self.trigger = trigger


class WrongReason(GatewayFault):
    """The reason does not belong to the edge; nothing was changed."""

    def __init__(self, trigger: str, state: str, reason: str) -> None:
        super().__init__(f"The reason {reason!r} does not belong to {trigger!r} from {state!r}.")
        self.trigger = trigger
        self.state = state
        self.reason = reason


class UnknownTrigger(GatewayFault):
    """No edge of the machine has this trigger: a bug. Nothing was changed."""

    def __init__(self, machine: str, trigger: str) -> None:
        super().__init__(f"The {machine} machine has no trigger {trigger!r}.")
        self.machine = machine
        self.trigger = trigger


class UnknownState(GatewayFault):
    """The machine does not have this state, which may come from another version. Nothing was changed."""

    def __init__(self, machine: str, state: str) -> None:
        super().__init__(f"The {machine} machine has no state {state!r}.")
        self.machine = machine
        self.state = state


class UnknownReason(GatewayFault):
    """No edge has this reason: a bug. Nothing was changed."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"No edge has the reason {reason!r}.")
        self.reason = reason


class SequenceGap(GatewayFault):
    """An event does not continue the history into which it is folded."""

    def __init__(self, subject: str, expected: int, found: int) -> None:
        super().__init__(f"The history of {subject} continues with event {expected}, not {found}.")
        self.subject = subject
        self.expected = expected
        self.found = found


class InvalidCommand(GatewayFault):
    """An outbound entry is not a valid command.

    ``field`` names the wrong field, but never its value, which may hold a password. ``command_id`` is the id
    if it could be read, else ``None``.
    """

    def __init__(self, field: str, problem: str, command_id: str | None = None) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem
        self.command_id = command_id
