"""A gateway that has begun nothing, and a diary of what its parts are asked for."""

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
    """A gateway that owns its instance id, and for whose Redis nobody answers."""
    settings = Settings(instance_id="gw-1", listen=(LOCAL,), metrics=None, max_connections=10)
    gateway = Gateway(settings, "redis://127.0.0.1:1")
    gateway._owns.set()
    yield gateway
    gateway._listeners.close()
    await gateway._tasks.cancel_all()


class Diary:
    """Keeps what the parts of a gateway are asked for, in order; nothing is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entries: list[str] = []
        self._monkeypatch = monkeypatch

    def note(self, part: object, name: str, result: Any = None, *, entry: str = "") -> None:
        """A call of `name` is noted as `entry`, or by its name, and returns `result`."""

        def call(*_: object, **__: object) -> Any:
            self.entries.append(entry or name)
            return result

        self._monkeypatch.setattr(part, name, call)

    def await_(self, part: object, name: str, result: Any = None, *, entry: str = "") -> None:
        """The same for what is awaited; an exception is raised."""

        async def call(*_: object, **__: object) -> Any:
            self.entries.append(entry or name)
            if isinstance(result, Exception):
                raise result
            return result

        self._monkeypatch.setattr(part, name, call)
