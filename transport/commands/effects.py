"""What follows from an input of the command side: values, which only the dispatcher carries out.

A `Move` is submitted to the ledger. `Repeat`, `TakeUp` and `Advance` are inputs that an input has
caused: the dispatcher handles them next. The others are for a connection, or read from Redis.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from fsm.command import CommandRequest
from fsm.moves import Entry, Move, MoveResult
from fsm.outbound import CancelRequest
from transport.commands.in_flight_command import InFlightCommand
from transport.ports import Link


@dataclass(slots=True)
class Write:
    """Write the frame of a command, in one call. All checks were made in the same turn."""

    in_flight: InFlightCommand
    link: Link
    frame: bytes


@dataclass(slots=True)
class Taint:
    """An answer is owed on the connection to a command that has its verdict."""

    link: Link


@dataclass(slots=True)
class Clear:
    """The owed answer has come."""

    link: Link


@dataclass(slots=True)
class Speaks:
    """The serial port of the device is known to speak by itself."""

    link: Link


@dataclass(slots=True)
class Close:
    """Close the connection for `reason`."""

    link: Link
    reason: str


@dataclass(slots=True)
class Recheck:
    """Another instance says that it holds the device of the connection: the registry has to be asked."""

    link: Link


@dataclass(slots=True, frozen=True)
class LookUp:
    """Read the ledger of a command that is not in hand and that the cancel of `entry` names."""

    request: CancelRequest
    entry: Entry


@dataclass(slots=True)
class ReadParked:
    """Read the commands that are parked for a device."""

    imei: str


@dataclass(slots=True)
class TakeUp:
    """Commands are parked for the device of the connection: they come first."""

    link: Link


@dataclass(slots=True)
class Repeat:
    """Take an entry by which a command came again and which the ledger names.

    Attributes:
        anew: begin the command, whatever its verdict was here.
    """

    request: CommandRequest
    anew: bool = False


@dataclass(slots=True)
class Advance:
    """The queue of the connection may have something to write or to begin."""

    link: Link


Effect = (
    Move | Write | Taint | Clear | Speaks | Close | Recheck | LookUp | ReadParked | TakeUp | Repeat | Advance
)


class Effects:
    """The effects of the input that is being handled, in the order in which they were decided.

    Attributes:
        pending: what is not carried out yet.

    Args:
        receive: where an answer of the ledger comes in, with what was said about its move.
    """

    __slots__ = ("_receive", "pending")

    def __init__(self, receive: Callable[[object, MoveResult], None]) -> None:
        self._receive = receive
        self.pending: deque[Effect] = deque()

    def add(self, effect: Effect) -> None:
        """`effect` follows."""
        self.pending.append(effect)

    def submit(self, move: Move, about: object = None) -> None:
        """Submit `move`; the class of `about` says who handles the ledger's answer."""
        if about is not None:
            move.done = partial(self._receive, about)
        self.pending.append(move)
