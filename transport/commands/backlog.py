"""The backlog of a start: the entries that an earlier process of this instance has left on the stream.

The earlier process may have taken parked commands up. Their place is that of their parking, before entries
that lie before them on the stream, and only the ledger knows it. So no command begins until all of the
backlog is read, and the ledger has answered for each of its commands.
"""

from __future__ import annotations


class Backlog:
    """Whether the backlog has its order; see the module.

    Attributes:
        ordered: every command of the backlog is in its place. It stays so.
    """

    __slots__ = ("_openings", "_read", "ordered")

    def __init__(self) -> None:
        self.ordered = False
        self._read = False
        self._openings: set[str] = set()

    def opening(self, outbound_id: str) -> None:
        """The ledger is asked for the command of an entry."""
        if not self.ordered:
            self._openings.add(outbound_id)

    def opened(self, outbound_id: str) -> None:
        """The ledger has answered for the command of an entry."""
        self._openings.discard(outbound_id)

    def read(self) -> None:
        """All of the backlog is read."""
        self._read = True

    def look(self, *, full: bool) -> bool:
        """Whether the backlog has come into its order just now.

        Args:
            full: so many commands are held that no more are read. They do not wait for what is not read,
                which would wait for them.
        """
        if self.ordered or self._openings or not (self._read or full):
            return False
        self.ordered = True
        return True
