"""A gateway that has not started, and a recorder of the calls of its parts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from transport.daemon.gateway import Gateway
from transport.settings import Settings

LOCAL = ("127.0.0.1", 0)


@asynccontextmanager
async def idle_gateway() -> AsyncIterator[Gateway]:
    """A gateway that owns its instance id; its Redis cannot be reached."""
    settings = Settings(instance_id="gw-1", listen=(LOCAL,), metrics=None, max_connections=10)
    gateway = Gateway(settings, "redis://127.0.0.1:1")
    gateway._owns.set()
    yield gateway
    gateway._listeners.close()
    await gateway._tasks.cancel_all()


class CallRecorder:
    """Records calls of the parts of a gateway, in order, in place of carrying them out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entries: list[str] = []
        self._monkeypatch = monkeypatch

    def record(self, part: object, name: str, result: Any = None, *, entry: str = "") -> None:
        """A call of `name` is recorded as `entry`, or by its name, and returns `result`."""

        def call(*_: object, **__: object) -> Any:
            self.entries.append(entry or name)
            return result

        self._monkeypatch.setattr(part, name, call)

    def record_async(self, part: object, name: str, result: Any = None, *, entry: str = "") -> None:
        """The same for a coroutine; a `result` that is an exception is raised."""

        async def call(*_: object, **__: object) -> Any:
            self.entries.append(entry or name)
            if isinstance(result, Exception):
                raise result
            return result

        self._monkeypatch.setattr(part, name, call)
