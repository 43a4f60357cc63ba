"""The entries in hand: what this process has read of its outbound stream and not finished."""

from __future__ import annotations

from collections.abc import Iterator

from fsm.command import QUEUED
from fsm.moves import Entry
from transport.commands.in_flight_command import InFlightCommand


class EntriesInHand:
    """The commands in flight, by entry and by command id, and the entries that begin no command.

    The one owner of the question whether an entry is being handled, so that its redelivery changes nothing.
    """

    def __init__(self) -> None:
        self._commands: dict[str, InFlightCommand] = {}
        self._by_command: dict[str, InFlightCommand] = {}
        self._others: set[str] = set()

    def __len__(self) -> int:
        return len(self._commands)

    def __iter__(self) -> Iterator[InFlightCommand]:
        return iter(list(self._commands.values()))

    def __contains__(self, outbound_id: str) -> bool:
        return outbound_id in self._commands or outbound_id in self._others

    @property
    def oldest_queued(self) -> int | None:
        """Epoch ms at which the longest-waiting queued command was accepted."""
        queued = [in_flight.request.accepted_at for in_flight in self if in_flight.command.state == QUEUED]
        return min(queued, default=None)

    def by_entry(self, outbound_id: str) -> InFlightCommand | None:
        """The command in flight by this entry."""
        return self._commands.get(outbound_id)

    def find(self, command_id: str) -> InFlightCommand | None:
        """The command in flight with this id."""
        return self._by_command.get(command_id)

    def add(self, in_flight: InFlightCommand) -> None:
        """A command is in flight by its entry."""
        self._commands[in_flight.request.outbound_id] = in_flight
        self._by_command.setdefault(in_flight.request.command_id, in_flight)

    def remove(self, in_flight: InFlightCommand) -> None:
        """The command has ended, or is the matter of another instance."""
        self._commands.pop(in_flight.request.outbound_id, None)
        if self._by_command.get(in_flight.request.command_id) is in_flight:
            del self._by_command[in_flight.request.command_id]

    def add_other(self, entry: Entry) -> None:
        """An entry that begins no command is being answered: a cancel, a repetition, or one that is wrong."""
        self._others.add(entry.outbound_id)

    def remove_other(self, entry: Entry) -> None:
        """The entry is answered, or has to be delivered again."""
        self._others.discard(entry.outbound_id)
