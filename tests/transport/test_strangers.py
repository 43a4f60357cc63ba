"""What a gateway does for those who have not said who they are, and whom Redis has not heard of."""

from __future__ import annotations

import asyncio
import ssl

import pytest
from freezegun.api import FrozenDateTimeFactory

from tests.transport.wire import Wire
from transport import guest
from transport.daemon import listeners
from transport.daemon.listeners import Listeners
from transport.settings import Settings
from transport.teltonika.handshake import ACCEPT

LOCAL = ("127.0.0.1", 0)
PATIENCE = 1.0


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


async def test_a_stranger_who_never_begins_tls_is_sent_away_in_time(
    frozen: FrozenDateTimeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "context_for", lambda _: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    settings = Settings(instance_id="gw-1", listen=(), tls_listen=(LOCAL,), handshake_timeout=0.05)
    doors = Listeners(settings)
    doors.bind()
    _, [address] = await doors.open(Wire(frozen).hub)
    reader, writer = await asyncio.open_connection(*address)
    async with asyncio.timeout(PATIENCE):
        assert await reader.read() == b""
    writer.transport.abort()
    doors.close()
