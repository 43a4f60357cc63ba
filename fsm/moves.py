"""What the rules ask of the ledger, and what it answers: values only.

A `Move` is one compare-and-set of one command with the event that records it. The store carries out many in
one script and calls each one's ``done`` with a `MoveResult`. Repeating a move after a lost reply is
harmless: its token makes the second time answer ``ALREADY``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from fsm.command import Command, CommandRequest, Entry
from fsm.events import CommandEvent, Note


class Status(StrEnum):
    """The ledger's answer to one move."""

    OK = "OK"
    ALREADY = "ALREADY"
    REDELIVERED = "REDELIVERED"
    DUPLICATE = "DUPLICATE"
    CONFLICT = "CONFLICT"
    MISSING = "MISSING"
    HELD_ELSEWHERE = "HELD_ELSEWHERE"
    SERIAL = "SERIAL"
    ERROR = "ERROR"
    FENCED = "FENCED"
    ALIVE = "ALIVE"


@dataclass(slots=True, frozen=True)
class MoveResult:
    """The ledger's answer.

    Attributes:
        status: what became of the move.
        now_ms: epoch ms by the clock of Redis when the script ran; 0 when it did not run.
        state, seq, session_id, accepted_at, codec: the ledger as found, for ``REDELIVERED`` and ``CONFLICT``.
        token: the token of the ledger's last move, for ``REDELIVERED``.
        detail: the holder for ``HELD_ELSEWHERE``, the class of error for ``ERROR``; `SPEAKS` with a ``sent``
            for a device that is known to speak by itself.
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

    @property
    def applied(self) -> bool:
        """Whether the ledger now stands where the move put it."""
        return self.status in (Status.OK, Status.ALREADY)

    def command(self, command_id: str) -> Command:
        """The command as the ledger was found."""
        return Command(command_id, self.state, self.seq, session_id=self.session_id, codec=self.codec)


SPEAKS = "speaks"
"""What the ledger adds to its answer when a command was sent to a device that speaks by itself."""

Done = Callable[[MoveResult], None]


@dataclass(slots=True)
class Open:
    """Begin the ledger of a command with its first event; ``request`` is None for an invalid entry."""

    event: CommandEvent
    entry: Entry
    done: Done
    request: CommandRequest | None = None
    token: str = ""


@dataclass(slots=True)
class Step:
    """Move a command on, if the ledger stands where the event departs from and still belongs to ``entry``.

    Attributes:
        remove: further entries that leave their pending list with this step (a cancel's own entry).
        allow_missing: write the event even when the ledger is lost.
        held_imei: the device that no other living instance may hold, by the registry's word.
        by_default: the event's codec is 12 because the device is not known to speak by itself; if it is, the
            answer is ``SERIAL`` and nothing has moved.
        accepted_at: epoch ms, for the event's age when the ledger is lost.
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
    """Publish a note; ``remove`` is an entry that is thereby answered."""

    note: Note
    done: Done
    remove: Entry | None = None


@dataclass(slots=True)
class Transfer:
    """Hand a queued command to the instance that holds its device, if that instance is alive.

    ``fields`` is the entry as the new instance will read it.
    """

    note: Note
    entry: Entry
    seq: int
    to_instance: str
    fields: tuple[tuple[str, str], ...]
    done: Done
    token: str = ""


@dataclass(slots=True)
class Discard:
    """Take an entry off its stream; with ``error``, keep it on the dead-letter stream.

    Attributes:
        fields: the entry as it was read, values that are not UTF-8 in hex.
        events: what is published for a command whose ledger cannot be written at all.
    """

    entry: Entry
    done: Done
    error: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    events: tuple[CommandEvent, ...] = ()


__all__ = [
    "SPEAKS",
    "Discard",
    "Done",
    "Entry",
    "Move",
    "MoveResult",
    "Open",
    "Remark",
    "Status",
    "Step",
    "Transfer",
]

Move = Open | Step | Remark | Transfer | Discard
