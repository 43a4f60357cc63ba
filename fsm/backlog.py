"""How much was taken from devices and is not stored yet: one bound for all of it.

Whoever stores what devices send adds to the backlog what it takes, and removes it when it is stored or
dropped. Whoever reads from devices asks it first. The bound holds because the question comes before the read:
the backlog passes its limit by no more than what is read at once.

No device may fill it alone. A device may have a share of what is still free: the fuller the backlog, the
smaller the share of those who have much in it, so that there is room for one who has nothing in it.
"""

from __future__ import annotations

LIMIT = 16 * 1024 * 1024
"""Bytes above which no device is read: what a store that stands still may cost."""
SHARE = 16
"""A device with several frames in the backlog may have this part of what is free."""


class Backlog:
    """A count of bytes.

    Attributes:
        bytes: taken and neither stored nor dropped.
        limit: no device is read while `bytes` is above it.
    """

    __slots__ = ("bytes", "limit")

    def __init__(self, limit: int = LIMIT) -> None:
        self.bytes = 0
        self.limit = limit

    @property
    def full(self) -> bool:
        """Whether no device is to be read."""
        return self.bytes > self.limit

    @property
    def free(self) -> int:
        """Bytes up to the limit; below zero when it is passed."""
        return self.limit - self.bytes

    def shares(self, own: int) -> bool:
        """Whether a device that has `own` bytes in the backlog may have more."""
        return own * SHARE <= self.limit - self.bytes
