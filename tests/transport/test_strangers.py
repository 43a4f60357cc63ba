"""What a gateway does for those who have not said who they are, and whom Redis has not heard of."""

from __future__ import annotations

import asyncio

import pytest
from freezegun.api import FrozenDateTimeFactory

from tests.transport.wire import Wire
from transport.connection import handshake as guest
from transport.teltonika.handshake import ACCEPT

LOCAL = ("127.0.0.1", 0)
PATIENCE = 20.0


async def test_a_device_is_let_in_though_the_registry_does_not_answer(
    frozen: FrozenDateTimeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest, "GREETING_PATIENCE", 0.001)
    wire = Wire(frozen)
    _, transport = wire.identify()
    assert transport.written == []
    said: asyncio.Queue[bytes] = asyncio.Queue()
    monkeypatch.setattr(transport, "write", said.put_nowait)
    async with asyncio.timeout(PATIENCE):
        assert await said.get() == ACCEPT
