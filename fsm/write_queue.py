"""The write queue of one connection: one command in progress, and one answer owed.

Answers have no request id, so an answer can only belong to the single command for which the connection owes
one. A connection owes an answer from the write until one answer frame is read, even if the command has ended.
If the command with the owed answer is no longer in the slot, the queue is tainted: the next answer is the
late one, and nothing may be written before it.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class WriteQueue(Generic[T]):
    """The commands of one connection.

    Attributes:
        waiting: commands that wait, in stream order.
        slot: the command that is being committed or is sent.
        owed: the command for which the device owes an answer.
    """

    __slots__ = ("owed", "slot", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[T] = deque()
        self.slot: T | None = None
        self.owed: T | None = None

    @property
    def free(self) -> bool:
        """Whether a command may be put into the slot."""
        return self.slot is None and self.owed is None

    @property
    def tainted(self) -> bool:
        """Whether an answer is owed to a command that is no longer in the slot."""
        return self.owed is not None and self.owed is not self.slot

    def begin(self) -> T:
        """Put the first waiting command into the slot."""
        if not self.free:
            raise ValueError("A command can begin only if the slot is free and no answer is owed.")
        self.slot = self.waiting.popleft()
        return self.slot

    def written(self) -> None:
        """The command in the slot was written to the socket: from now on its answer is owed."""
        self.owed = self.slot

    def put_back(self) -> None:
        """The command in the slot was not committed: it is the first that waits again."""
        if self.slot is not None and self.owed is not self.slot:
            self.waiting.appendleft(self.slot)
            self.slot = None

    def leave(self, command: T) -> None:
        """`command` has ended: remove it. If its answer is owed, the queue is tainted."""
        if self.slot is command:
            self.slot = None
        elif command in self.waiting:
            self.waiting.remove(command)

    def answered(self) -> tuple[T, bool] | None:
        """An answer frame was read: its command, and whether it is late; None if no answer is owed."""
        owed = self.owed
        if owed is None:
            return None
        late = owed is not self.slot
        self.owed = None
        if not late:
            self.slot = None
        return owed, late
