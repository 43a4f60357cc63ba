"""The order in which one connection's commands are written: one outstanding, and one answer owed.

Answers carry no request id, so an answer can only belong to the single command the connection owes one for.
A connection owes an answer from the write until one answer frame is read, whatever verdict the command got
meanwhile. While the owed answer is older than every command in the slot, the queue is tainted: an answer
that arrives then is the late one, and nothing may be written before it.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class WriteQueue(Generic[T]):
    """The commands of one connection.

    Attributes:
        waiting: commands not begun, in stream order.
        slot: the command that is being committed, or is out.
        owed: the command whose answer the device has not given yet.
    """

    __slots__ = ("owed", "slot", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[T] = deque()
        self.slot: T | None = None
        self.owed: T | None = None

    @property
    def free(self) -> bool:
        """Whether a command may be begun."""
        return self.slot is None and self.owed is None

    @property
    def tainted(self) -> bool:
        """Whether an answer is owed to a command that is no longer in the slot."""
        return self.owed is not None and self.owed is not self.slot

    def begin(self) -> T:
        """Take the first waiting command into the slot."""
        if not self.free:
            raise ValueError("A command is begun only when the slot is free and no answer is owed.")
        self.slot = self.waiting.popleft()
        return self.slot

    def written(self) -> None:
        """The command in the slot has been handed to the socket: from now on its answer is owed."""
        self.owed = self.slot

    def put_back(self) -> None:
        """The command in the slot was not committed; it waits first in line again."""
        if self.slot is not None and self.owed is not self.slot:
            self.waiting.appendleft(self.slot)
            self.slot = None

    def leave(self, command: T) -> None:
        """`command` has a verdict: it gives up its place, and the queue is tainted if its answer is owed."""
        if self.slot is command:
            self.slot = None
        elif command in self.waiting:
            self.waiting.remove(command)

    def answered(self) -> tuple[T, bool] | None:
        """One answer frame was read: whose it is and whether it is late; None if no answer is owed."""
        owed = self.owed
        if owed is None:
            return None
        late = owed is not self.slot
        self.owed = None
        if not late:
            self.slot = None
        return owed, late
