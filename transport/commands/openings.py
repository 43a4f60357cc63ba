"""What the ledger is asked when an entry is read: the subjects of the first moves."""

from __future__ import annotations

from dataclasses import dataclass

from fsm.events import CommandEvent
from fsm.moves import Entry, Open, Step
from transport.commands.in_flight_command import InFlightCommand


@dataclass(slots=True)
class Refusal:
    """The verdict on an entry that is no valid command."""

    entry: Entry
    event: CommandEvent
    fields: dict[bytes, bytes]


@dataclass(slots=True)
class DeadLetter:
    """An entry without a command id, which goes to the dead letters."""

    entry: Entry


@dataclass(slots=True)
class Opening:
    """The first event of a command.

    Attributes:
        moves: the move that opens the command, and the one of its `sent` if the same call carries it.
    """

    in_flight: InFlightCommand
    event: CommandEvent
    moves: tuple[Open | Step, ...] = ()

    def made(self, token: str) -> bool:
        """Whether `token` is of this very call, which was repeated because its reply was lost."""
        return any(token == move.token for move in self.moves)
