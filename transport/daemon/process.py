"""The gateway as a process: its embedded server, its signals, its exit status."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import structlog

from fsm.errors import GatewayFault
from store.embedded import EmbeddedServer
from transport.daemon.embedded_watch import watch
from transport.daemon.exposition import expose, state
from transport.daemon.gateway import EXIT_CRASHED, Gateway, OnReady
from transport.daemon.service_manager import ServiceManager
from transport.daemon.signals import Signals
from transport.settings import Settings

log = structlog.get_logger("telgw")

CHECK_INTERVAL = 0.02
"""Seconds between two checks of an embedded server that is loading its data."""
YOUNG_OBJECTS = 10_000
"""Objects that were made and not freed, after which Python looks for garbage: 14 times the default."""


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
            await until_up(embedded, stop)
        if stop.is_set():
            log.info("stopped", exit_status=0)
            return 0
        gateway = Gateway(settings, embedded.url if embedded else settings.redis)
        signals.on(signal.SIGHUP, partial(_reload, gateway, manager))
        _make_collections_rare()
        async with _watched(embedded, gateway), manager.told(partial(state, gateway)):
            return await _serve(gateway, on_ready, stop, manager)
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


@asynccontextmanager
async def _watched(embedded: EmbeddedServer | None, gateway: Gateway) -> AsyncIterator[None]:
    """Within the block, restart the embedded server when it dies."""
    if embedded is None:
        yield
        return
    watcher = asyncio.create_task(watch(embedded, partial(_fail, gateway)), name="embedded server")
    watcher.add_done_callback(partial(_watch_failed, gateway))
    try:
        yield
    finally:
        watcher.cancel()


def _watch_failed(gateway: Gateway, watcher: asyncio.Task[None]) -> None:
    if not watcher.cancelled() and (error := watcher.exception()):
        log.critical("task_failed", task=watcher.get_name(), exc_info=error)
        _fail(gateway)


def _fail(gateway: Gateway) -> None:
    gateway.exit_status = EXIT_CRASHED
    gateway.stop()


def _make_collections_rare() -> None:
    """Make garbage collections rare: a full one stalls every connection, and the others cost time, too.

    Objects that exist as long as the process are frozen. A thousand commands or frames in progress are more
    objects than the default allows, and all of them are freed when they are finished: looking through them
    finds nothing and takes a twelfth of the time of a command. Rare collections are safe because the code
    creates few reference cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


def _reload(gateway: Gateway, manager: ServiceManager) -> None:
    manager.reloading()
    gateway.files.reload(manager.ready)


async def _serve(
    gateway: Gateway, on_ready: OnReady | None, stop: asyncio.Event, manager: ServiceManager
) -> int:
    pages = await expose(gateway)
    watcher = asyncio.create_task(_forward(stop, gateway), name="stop")
    try:
        await _prepare(gateway)
        return await gateway.run(partial(_begun, manager, on_ready), manager.stopping)
    finally:
        watcher.cancel()
        if pages:
            pages.stop()


def _begun(manager: ServiceManager, on_ready: OnReady | None, bound: list[tuple[str, int]]) -> None:
    manager.ready()
    if on_ready:
        on_ready(bound)


def _on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error of the event loop. `Admission` logs a failing accept, once a minute."""
    if context.get("message") != "socket.accept() out of system resource":
        loop.default_exception_handler(context)


async def _prepare(gateway: Gateway) -> None:
    """Check what could prevent a start, before the instance id is taken from another gateway."""
    gateway.sessions.admission.warn_if_few()
    try:
        await gateway.backend.check_rights()
    except GatewayFault:
        await gateway.backend.close()
        raise


async def _forward(stop: asyncio.Event, gateway: Gateway) -> None:
    await stop.wait()
    gateway.stop()
