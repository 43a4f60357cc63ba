"""The gateway as a process: its embedded server, its signals, its exit status."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from store.embedded import EmbeddedServer
from transport.daemon.addresses import OnReady
from transport.daemon.service_manager import ServiceManager
from transport.daemon.signals import Signals
from transport.settings import Settings

log = structlog.get_logger("telgw")

CHECK_INTERVAL = 0.02
"""Seconds between two checks of an embedded server that is loading its data."""


async def serve(
    settings: Settings, *, on_ready: OnReady | None = None, stop: asyncio.Event | None = None
) -> int:
    """Run one gateway until SIGTERM, SIGINT or `stop`; the exit status.

    Returns 0 after an orderly stop, 3 if another process took the instance id, 1 if a task or the embedded
    server failed.

    Raises:
        GatewayFault: an address cannot be bound, the URL, the user or a file is unusable, the embedded server
            does not start.
    """
    asyncio.get_running_loop().set_exception_handler(_on_loop_error)
    stop = stop or asyncio.Event()
    manager = ServiceManager()
    signals = Signals(stop.set)  # first, because a signal may come while the server loads its data
    embedded: EmbeddedServer | None = None
    try:
        if settings.redis == "embedded":
            embedded = EmbeddedServer.begin(settings.state_dir, settings.embedded_port)
        from transport.daemon.run_gateway import run_gateway  # its imports take as long as a server to start

        if embedded:
            await until_up(embedded, stop)
        if stop.is_set():
            log.info("stopped", exit_status=0)
            return 0
        return await run_gateway(settings, embedded, signals, manager, on_ready, stop)
    finally:
        if embedded:
            embedded.stop()
        signals.restore()


async def until_up(server: EmbeddedServer, stop: asyncio.Event) -> None:
    """Wait until the server has loaded its data, which can take long, or `stop` is set."""
    while not stop.is_set():
        if server.is_up():
            port = server.port or "off"
            log.info("embedded_server", directory=str(server.directory), port=port, pid=server.pid)
            return
        await asyncio.sleep(CHECK_INTERVAL)


def _on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error of the event loop. `Admission` logs a failing accept, once a minute."""
    if context.get("message") != "socket.accept() out of system resource":
        loop.default_exception_handler(context)
