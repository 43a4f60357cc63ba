"""Which events a consumer has handled already, so that an older one is not handled after a newer one.

A stream delivers each entry at least once: after a crash, a lost reply or a failed attempt an event comes
again, perhaps behind later ones of its command. The memory is bounded and lost with the process, and two
consumers of a group do not share it. So a database needs the same guard in its own ``UPDATE`` (``WHERE
last_seq < ?``).
"""

from __future__ import annotations

from cachetools import LRUCache

from store.streams.messages import CommandEvent, Note

REMEMBERED = 100_000
"""Commands, and notes, that are remembered at most."""


class Seen:
    """The last sequence number of each command, and the ids of notes."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._commands: LRUCache[str, int] = LRUCache(remembered)
        self._notes: LRUCache[str, bool] = LRUCache(remembered)

    def is_known(self, message: object) -> bool:
        """Whether this message, or a later event of the same command, was handled."""
        if isinstance(message, CommandEvent):
            return bool(message.seq <= self._commands.get(message.command_id, 0))
        return isinstance(message, Note) and message.note_id in self._notes

    def add(self, message: object) -> None:
        """Remember that a message was handled. Messages of other kinds are not remembered."""
        if isinstance(message, CommandEvent):
            self._commands[message.command_id] = message.seq
        elif isinstance(message, Note):
            self._notes[message.note_id] = True
