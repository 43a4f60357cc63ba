"""Runs the gateway of a process: its checks before devices can connect, its pages, its tasks and its end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import structlog

from fsm.errors import GatewayFault
from store.embedded import EmbeddedServer
from transport.daemon.addresses import OnReady
from transport.daemon.embedded_watch import watch
from transport.daemon.exit_statuses import EXIT_CRASHED
from transport.daemon.exposition import expose, state
from transport.daemon.gateway import Gateway
from transport.daemon.service_manager import ServiceManager
from transport.daemon.signals import Signals
from transport.garbage import make_collections_rare
from transport.settings import Settings

log = structlog.get_logger("telgw")


async def run_gateway(
    settings: Settings,
    embedded: EmbeddedServer | None,
    signals: Signals,
    manager: ServiceManager,
    on_ready: OnReady | None,
    stop: asyncio.Event,
) -> int:
    """Run one gateway until `stop`; the exit status.

    Raises:
        GatewayFault: as `transport.daemon.process.serve` does.
    """
    gateway = Gateway(settings, embedded.url if embedded else settings.redis)
    signals.on(signal.SIGHUP, partial(_reload, gateway, manager))
    async with _watched(embedded, gateway), manager.told(partial(state, gateway)):
        return await _serve(gateway, on_ready, stop, manager)


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
    make_collections_rare()  # now, because devices need not wait for it before they connect


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
