"""Moves: changes of the ledger, and their results, as values.

A `Move` is one compare-and-set of one command, with the event that records it. The store applies many moves
in one script call and calls the ``done`` of each with a `MoveResult`. After a lost reply a move may be
repeated: by its token the script recognises it and answers ``ALREADY``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from fsm.command import Command, CommandRequest, Entry
from fsm.events import CommandEvent, Note
from fsm.quick_values import quick


class Status(StrEnum):
    """The result of one move."""

    OK = "OK"
    ALREADY = "ALREADY"
    REDELIVERED = "REDELIVERED"
    DUPLICATE = "DUPLICATE"
    CONFLICT = "CONFLICT"
    MISSING = "MISSING"
    HELD_ELSEWHERE = "HELD_ELSEWHERE"
    SERIAL = "SERIAL"
    PARKED = "PARKED"
    FULL = "FULL"
    ERROR = "ERROR"
    FENCED = "FENCED"
    ALIVE = "ALIVE"


@quick
@dataclass(slots=True, frozen=True)
class MoveResult:
    """The result of one move, with what the script found.

    Attributes:
        status: the result.
        now_ms: epoch ms of Redis when the script ran; 0 if it did not run.
        state, seq, session_id, accepted_at, codec, hops, parked_id: the ledger as the script found it, for
            ``REDELIVERED`` and ``CONFLICT``.
        token: the token of the last move of the ledger, for ``REDELIVERED``.
        detail: the holder for ``HELD_ELSEWHERE``, the class of error for ``ERROR``; `SPEAKS` with a ``sent``
            for a device that is known to send serial-port data; the id of the new entry for a `Transfer`.
    """

    status: Status
    now_ms: int = 0
    state: str = ""
    seq: int = 0
    session_id: str = ""
    accepted_at: int = 0
    token: str = ""
    detail: str = ""
    codec: str = ""
    hops: int = 0
    parked_id: str = ""

    @property
    def applied(self) -> bool:
        """Whether the ledger now has the state of the move."""
        return self.status in (Status.OK, Status.ALREADY)

    def command(self, command_id: str) -> Command:
        """The command as the script found it in the ledger."""
        return Command(command_id, self.state, self.seq, session_id=self.session_id, codec=self.codec)

    def confirm(self, request: CommandRequest) -> CommandRequest:
        """`request` with what only gateways say of it, as the ledger has it that names its entry."""
        accepted_at = self.accepted_at or request.accepted_at
        return replace(request, accepted_at=accepted_at, hops=self.hops, parked_id=self.parked_id)


SPEAKS = "speaks"
"""Detail of a result: the device of the command is known to send serial-port data."""

Done = Callable[[MoveResult], None]


@dataclass(slots=True)
class Open:
    """Create the ledger of a command with its first event; ``request`` is None for an invalid entry."""

    event: CommandEvent
    entry: Entry
    done: Done
    request: CommandRequest | None = None
    token: str = ""


@dataclass(slots=True)
class Step:
    """Apply the next event, if the ledger has the state before it and still belongs to ``entry``.

    Attributes:
        remove: further entries to remove with this step (for example the entry of a cancel). allow_missing:
        write the event even if the ledger is lost. held_imei: a device; the step is refused if the registry
        names another live instance as its holder. by_default: the codec of the event is 12 only because the
        device is not known to send serial-port data;
            if it is known, the result is ``SERIAL`` and nothing is changed. If commands are parked for the
            device of ``held_imei``, which come first, the result is ``PARKED``.
        accepted_at: epoch ms, for the age in the event if the ledger is lost.
    """

    event: CommandEvent
    entry: Entry
    done: Done
    remove: tuple[Entry, ...] = ()
    allow_missing: bool = False
    held_imei: str = ""
    by_default: bool = False
    accepted_at: int = 0
    token: str = ""


@dataclass(slots=True)
class Remark:
    """Publish a note; ``remove`` is an entry to remove with it."""

    note: Note
    done: Done
    remove: Entry | None = None


@dataclass(slots=True)
class Transfer:
    """Hand a queued command over to the instance that holds its device, if that instance is alive.

    A parked command is taken up by this, unless the registry names another live instance as the holder.
    ``fields`` is the entry for the stream of the instance.
    """

    note: Note
    entry: Entry
    seq: int
    to_instance: str
    fields: tuple[tuple[str, str], ...]
    done: Done
    token: str = ""


@dataclass(slots=True)
class ParkMove:
    """Park a queued command, unless the registry names another live instance as the holder of its device.

    The result is then ``HELD_ELSEWHERE``, with the holder.

    Attributes:
        request: the command.
        limit: if so many commands are parked for the device, the result is ``FULL``; 0 for no limit.
    """

    note: Note
    entry: Entry
    seq: int
    request: CommandRequest
    done: Done
    limit: int = 0
    token: str = ""


@dataclass(slots=True)
class Discard:
    """Remove an entry from its stream; with ``error``, write a dead letter of it.

    Attributes:
        fields: the fields of the dead letter.
        kept: an entry with the text, to be kept apart so that an operator can put it back; empty for none.
        events: events to publish for a command whose ledger cannot be written at all.
    """

    entry: Entry
    done: Done
    error: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    kept: tuple[tuple[str, str], ...] = ()
    events: tuple[CommandEvent, ...] = ()


__all__ = [
    "SPEAKS",
    "Discard",
    "Done",
    "Entry",
    "Move",
    "MoveResult",
    "Open",
    "ParkMove",
    "Remark",
    "Status",
    "Step",
    "Transfer",
]

Move = Open | Step | Remark | Transfer | ParkMove | Discard
