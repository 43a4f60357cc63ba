"""The watch over the embedded server: when it dies it is started again, with its data.

One task owns this. It waits for the end of the server's process, which the kernel tells by a descriptor
where it can, and never for the server itself: while that loads its data, the gateway's calls meet an outage
like any other. Restarts that come too often are no cure. Then the gateway is told to end, in order.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import structlog

from fsm.errors import GatewayFault
from store.embedded import EmbeddedServer

log = structlog.get_logger("telgw")

RESTARTS, WITHIN = 3, 60.0
"""So many restarts in so many seconds are tried."""
PAUSES = (0.1, 1.0, 3.0)
"""Seconds before the first, second and third of them."""
LOOK_EVERY = 0.25
"""Seconds between two looks at the process, where the kernel does not tell of its end."""
FASTER = 5.0
"""Seconds for another process that shares the server, and has begun to start it, to have done so."""


async def watch(server: EmbeddedServer, on_failure: Callable[[], None]) -> None:
    """Keep `server` alive until cancelled.

    Args:
        on_failure: told once, when it has died again although it was started again `RESTARTS` times.
    """
    loop, tried = asyncio.get_running_loop(), deque[float]()
    while True:
        await _end_of(server)
        while tried and loop.time() - tried[0] >= WITHIN:
            tried.popleft()
        if len(tried) == RESTARTS:
            log.critical(
                "embedded_server_failed", restarts=RESTARTS, within_s=WITHIN, how=server.how_it_ended
            )
            on_failure()
            return
        log.warning("embedded_server_died", pid=server.pid, how=server.how_it_ended)
        await asyncio.sleep(PAUSES[len(tried)])
        tried.append(loop.time())
        await _restart(server)


async def _restart(server: EmbeddedServer) -> None:
    """Start it, or wait until whoever was faster has told who it is."""
    looks = round(FASTER / LOOK_EVERY)
    try:
        server.restart()
        while not server.pid and (looks := looks - 1) >= 0:
            await asyncio.sleep(LOOK_EVERY)
            server.restart()
    except (GatewayFault, OSError) as error:
        log.error("embedded_server_unavailable", error=str(error))
    else:
        log.warning("embedded_server_restarted", pid=server.pid, owned=server.owned)


async def _end_of(server: EmbeddedServer) -> None:
    """Wait until the process of the server has ended; at once when there is none."""
    while not server.ended():
        with suppress(
            OSError, AttributeError
        ):  # the process has just ended, or this system has no such thing
            await _told(os.pidfd_open(server.pid))
            continue
        await asyncio.sleep(LOOK_EVERY)


async def _told(process: int) -> None:
    """Wait for the end of the process behind a descriptor, and close that."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(process, ended.set)
        await ended.wait()
    finally:
        loop.remove_reader(process)
        os.close(process)
