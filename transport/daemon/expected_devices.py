"""Reads from the registry, once after the start, the devices that a gateway expects back."""

from __future__ import annotations

import asyncio

from store.client.errors import StoreError
from transport.clock import Clock
from transport.commands.dispatcher import Dispatcher
from transport.connection.known_devices import KnownDevices
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
