"""What stands around a connection in place of the store, the allow-list and the socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fsm.device_terms import Absence, Listed, Terms
from fsm.telemetry import PendingFrame
from tests.transport.connection_rig import FakeTelemetry, FakeTransport


class Store(FakeTelemetry):
    """A store that remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[PendingFrame] = []

    def store(self, batch: PendingFrame) -> None:
        super().store(batch)
        self.given.append(batch)


def listed(welcome: bool) -> Listed:
    """What a list says of a device that may connect, or may not."""
    return Terms() if welcome else Absence.NOT_LISTED


class FakeAllowList:
    """An allow-list that answers at once, or, with None, when the test calls `asked`."""

    is_copy = False

    def __init__(self, answer: bool | None) -> None:
        self._answer = None if answer is None else listed(answer)
        self.asked: Callable[[Listed], None] | None = None
        self.changed = asyncio.Event()

    def look_up(self, imei: str) -> Listed | None:
        return self._answer

    def ask(self, imei: str, done: Callable[[Listed], None]) -> None:
        self.asked = done

    async def reload(self) -> int:
        return 0

    def look(self) -> None:
        """Nothing changes."""


class Socket(FakeTransport):
    """A socket that tells when something is written."""

    def __init__(self, on_write: Callable[[bytes], None]) -> None:
        super().__init__()
        self._on_write = on_write

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closing, "something is written to a connection that is closed"
        self._on_write(bytes(data))
        super().write(data)
