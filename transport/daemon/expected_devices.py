"""Reads from the registry, once after the start, the devices that a gateway expects back."""

from __future__ import annotations

import asyncio

from store.client.errors import StoreError
from transport.clock import Clock
from transport.commands.dispatcher import Dispatcher
from transport.daemon.backend import Backend

AGAIN_AFTER = 1.0


async def read_expected(owns: asyncio.Event, dispatcher: Dispatcher, backend: Backend, clock: Clock) -> None:
    """Tell the dispatcher which devices are registered for this instance, once the instance id is owned.

    The registry may hold a million devices: it is read in pages, and only ours are kept. If it cannot be read
    within the grace of the start, no device is expected any more.
    """
    await owns.wait()
    while dispatcher.offline.wants_registry(clock.monotonic()):
        try:
            async for imeis in backend.ours():
                dispatcher.offline.expect(imei.decode(errors="replace") for imei in imeis)
        except StoreError as error:
            backend.report("expected devices", error)
            await asyncio.sleep(AGAIN_AFTER)
        else:
            break
    dispatcher.registry_read()
