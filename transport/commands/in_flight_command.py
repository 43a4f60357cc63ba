"""A command in flight: what this process knows of it from its entry to its verdict."""

from __future__ import annotations

from collections.abc import Callable, MutableSequence
from dataclasses import dataclass, field
from typing import Protocol

from fsm.command import QUEUED, Command, CommandRequest, Facts
from fsm.events import CommandEvent
from fsm.moves import Entry
from fsm.states import CommandTrigger
from transport.ports import Link


class CommandQueue(Protocol):
    """The queue of a connection, as a command in it sees it; see `transport.commands.device_queue`."""

    link: Link

    @property
    def idle(self) -> bool:
        """Whether nothing waits, is out, or is owed."""

    def pump(self) -> None:
        """Write the committed command or begin the next one, if this is the moment."""

    def committed(self, in_flight: InFlightCommand) -> None:
        """`sent` is in the log: write now, or as soon as the connection is between frames."""

    def leave(self, in_flight: InFlightCommand) -> None:
        """A verdict on `in_flight` was given: it gives up its place."""

    def put_back(self) -> list[InFlightCommand]:
        """The command in the slot was not committed: it waits again. What has to wait elsewhere."""


@dataclass(slots=True, eq=False)
class InFlightCommand:
    """One command that this process holds.

    Attributes:
        command: the fold of its committed events.
        fresh: its entry was delivered for the first time.
        queue: where it waits or is out; None while its device is offline.
        pending: the event proposed to the ledger and not yet committed; at most one.
        moving: it is being handed to another instance.
        backlog: inputs that wait for the outcome of `pending` or the hand-over, as
            (trigger, entries to remove, facts).
        written: the command was handed to the socket.
        written_at: monotonic second of the write.
        offset: the connection's byte count after the command; 0 until that is known.
        received: the device's TCP was seen to have acknowledged the whole command.
        follower: takes over when this command is released, before the next command of the queue begins: the
            same command came again by another entry, which the ledger names.
    """

    request: CommandRequest
    command: Command
    fresh: bool = False
    queue: CommandQueue | None = None
    pending: CommandEvent | None = None
    moving: bool = False
    backlog: list[tuple[CommandTrigger, tuple[Entry, ...], Facts]] = field(default_factory=list)
    written: bool = False
    written_at: float = 0.0
    offset: int = 0
    received: bool = False
    follower: Callable[[], None] | None = None

    @property
    def entry(self) -> Entry:
        """The outbound entry that stays pending until the verdict."""
        return Entry(self.request.instance_id, self.request.outbound_id)

    @property
    def moved_in(self) -> bool:
        """Whether another instance has just handed it over to this one."""
        return self.fresh and self.request.hops > 0

    @property
    def place(self) -> tuple[int, int]:
        """Its place in the stream, by which the commands of one device are ordered."""
        milliseconds, _, serial = self.request.outbound_id.partition("-")
        return int(milliseconds), int(serial or 0)

    @property
    def waits(self) -> bool:
        """Whether it is queued, with no event proposed and no hand-over in progress."""
        return self.command.state == QUEUED and self.pending is None and not self.moving

    @property
    def decided(self) -> bool:
        """Whether a verdict has been given or proposed."""
        return self.command.terminal or (self.pending is not None and self.pending.terminal)


def insert(line: MutableSequence[InFlightCommand], in_flight: InFlightCommand) -> None:
    """Insert `in_flight` into `line` in stream order: at the end, unless it was put back or handed over."""
    at = len(line)
    while at and line[at - 1].place > in_flight.place:
        at -= 1
    line.insert(at, in_flight)
