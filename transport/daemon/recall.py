"""Devices that a gateway expects back after its start: read once from the registry."""

from __future__ import annotations

import asyncio

from store.client.errors import StoreError
from transport.clock import Clock
from transport.commands.dispatcher import Dispatcher
from transport.daemon.backend import Backend

AGAIN_AFTER = 1.0


async def recall(owns: asyncio.Event, dispatcher: Dispatcher, backend: Backend, clock: Clock) -> None:
    """Tell the dispatcher which devices the registry names as ours, as soon as the instance id is ours.

    The registry may hold a million devices: it is read page by page, and only ours are kept. When it cannot
    be read within the grace of the start nobody is expected any more, whatever it says.
    """
    await owns.wait()
    while dispatcher.offline.wants_recall(clock.monotonic()):
        try:
            async for imeis in backend.ours():
                dispatcher.offline.recall(imei.decode(errors="replace") for imei in imeis)
        except StoreError as error:
            backend.report("recall", error)
            await asyncio.sleep(AGAIN_AFTER)
        else:
            break
    dispatcher.recalled()
