"""The backlog: what was read from devices and is not stored yet, with one limit for all of it.

The store adds a frame to the backlog when it accepts it, and removes it when it is stored or dropped. A
connection asks the backlog before it reads, so the backlog exceeds its limit by one read at most.

No device may fill it alone. A device may have a share of what is still free: the fuller the backlog, the
smaller this share, so that there is room for a device that has nothing in it.
"""

from __future__ import annotations

LIMIT = 16 * 1024 * 1024
"""Bytes above which no device is read: the memory that an outage of the store may take."""
SHARE = 16
"""A device with several frames in the backlog may have this fraction of the free bytes."""


class Backlog:
    """A count of bytes.

    Attributes:
        bytes: accepted, and neither stored nor dropped.
        limit: no device is read as long as `bytes` is above it.
    """

    __slots__ = ("bytes", "limit")

    def __init__(self, limit: int = LIMIT) -> None:
        self.bytes = 0
        self.limit = limit

    @property
    def full(self) -> bool:
        """Whether no device may be read."""
        return self.bytes > self.limit

    @property
    def free(self) -> int:
        """Bytes left up to the limit; negative above it."""
        return self.limit - self.bytes

    def shares(self, own: int) -> bool:
        """Whether a device that has `own` bytes in the backlog may have more."""
        return own * SHARE <= self.limit - self.bytes
