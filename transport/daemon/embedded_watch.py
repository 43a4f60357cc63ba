"""Restarts the embedded server, with its data, when its process ends.

One task does this. It waits for the end of the process, which the kernel reports by a descriptor if it can.
It does not wait until a restarted server has loaded its data: for the gateway that is an outage like any
other. After too many restarts in a short time the gateway is told to end, in order.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress

import structlog

from fsm.errors import GatewayFault
from store.embedded import EmbeddedServer
from transport.restarts import Restarts

log = structlog.get_logger("telgw")

RESTARTS, WITHIN = 3, 60.0
"""Restarts within this number of seconds, at most."""
PAUSES = (0.1, 1.0, 3.0)
"""Seconds before the first, the second and the third restart."""
CHECK_INTERVAL = 0.25
"""Seconds between two checks of the process, if the kernel cannot report its end."""
OTHER_STARTS = 5.0
"""Seconds to wait for another process that shares the server and has begun to start it."""


async def watch(server: EmbeddedServer, on_failure: Callable[[], None]) -> None:
    """Keep `server` alive until cancelled.

    Args:
        on_failure: called once, when the server has died again after `RESTARTS` restarts.
    """
    loop, restarts = asyncio.get_running_loop(), Restarts(RESTARTS, WITHIN, PAUSES)
    while True:
        await _end_of(server)
        if (pause := restarts.next(loop.time())) is None:
            log.critical(
                "embedded_server_failed", restarts=RESTARTS, within_s=WITHIN, how=server.how_it_ended
            )
            on_failure()
            return
        log.warning("embedded_server_died", pid=server.pid, how=server.how_it_ended)
        await asyncio.sleep(pause)
        await _restart(server)


async def _restart(server: EmbeddedServer) -> None:
    """Start it, or wait until another process, which is already starting it, has written its pid."""
    attempts = round(OTHER_STARTS / CHECK_INTERVAL)
    try:
        server.restart()
        while not server.pid and (attempts := attempts - 1) >= 0:
            await asyncio.sleep(CHECK_INTERVAL)
            server.restart()
    except (GatewayFault, OSError) as error:
        log.error("embedded_server_unavailable", error=str(error))
    else:
        log.warning("embedded_server_restarted", pid=server.pid, owned=server.owned)


async def _end_of(server: EmbeddedServer) -> None:
    """Wait until the process of the server has ended; return at once if there is none."""
    while not server.ended():
        with suppress(OSError, AttributeError):  # the process has just ended, or this system has no pidfd
            await _pidfd_readable(os.pidfd_open(server.pid))
            continue
        await asyncio.sleep(CHECK_INTERVAL)


async def _pidfd_readable(process: int) -> None:
    """Wait for the end of the process of this descriptor, and close the descriptor."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(process, ended.set)
        await ended.wait()
    finally:
        loop.remove_reader(process)
        os.close(process)
