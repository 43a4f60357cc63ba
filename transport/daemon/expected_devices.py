"""Reads from Redis, once after the start, which devices a gateway expects back, and which it knows."""

from __future__ import annotations

import asyncio

from store.client.errors import StoreError
from transport.clock import Clock
from transport.commands.dispatcher import Dispatcher
from transport.connection.known_devices import SETTLED, KnownDevices
from transport.connection.sessions import Sessions
from transport.daemon.backend import Backend

AGAIN_AFTER = 1.0


async def read_expected(
    owns: asyncio.Event, dispatcher: Dispatcher, known: KnownDevices, backend: Backend, clock: Clock
) -> None:
    """Tell the dispatcher, and the memory of known devices, which devices are registered for this instance.

    It is asked once the instance id is owned.

    The registry may hold a million devices: it is read in pages, and only ours are kept. If it cannot be read
    within the grace of the start, no device is expected any more.
    """
    await owns.wait()
    while dispatcher.offline.wants_registry(clock.monotonic()):
        try:
            async for imeis in backend.ours():
                found = [imei.decode(errors="replace") for imei in imeis]
                known.registered(found)
                dispatcher.offline.expect(found)
        except StoreError as error:
            backend.report("expected devices", error)
            await asyncio.sleep(AGAIN_AFTER)
        else:
            break
    dispatcher.registry_read()


async def read_known(owns: asyncio.Event, sessions: Sessions, backend: Backend) -> None:
    """Recall the devices that were known before the start, wherever in the fleet, while devices connect.

    Without them every device is a stranger after a restart, when the whole fleet connects at once.
    """
    await owns.wait()
    while True:
        try:
            async for imeis in backend.reporting(SETTLED):
                if not sessions.recall(imeis):
                    return
        except StoreError as error:
            backend.report("known devices", error)
            await asyncio.sleep(AGAIN_AFTER)
        else:
            return
