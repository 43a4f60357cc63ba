"""Recurring work of a gateway: deadlines, registration, handover."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from fsm.registration import Registered, value_of
from store.client.errors import StoreError
from store.fleet.registry import Registrar
from transport.commands.dispatcher import Dispatcher
from transport.connection.context import ConnectionContext
from transport.connection.sessions import Sessions
from transport.connection.timeouts import Timeouts
from transport.daemon.backend import Backend
from transport.ports import RegistryPort

SWEEP_EVERY = 0.1
STALL = 0.5
"""Seconds by which a sweep has to be late before sockets are read ahead of deadlines."""
CHECK_INTERVAL = 0.02
"""Seconds between two checks of a condition."""
RECONCILE = 500
"""Sessions that are compared with the registry in one batch: it bounds memory and the time of one step."""
RELOCATE_EVERY = 1.0
TRACED_EVERY = 2.0
"""Seconds after which a gateway notices that somebody watches a device."""


async def until(condition: Callable[[], bool], within: float) -> None:
    """Wait until `condition` holds, `within` seconds at most."""
    for _ in range(round(within / CHECK_INTERVAL)):
        if condition():
            return
        await asyncio.sleep(CHECK_INTERVAL)


async def sweep(connections: ConnectionContext, timeouts: Timeouts, dispatcher: Dispatcher) -> None:
    """Handle the deadlines that are due, at short intervals."""
    clock, metrics = connections.clock, connections.metrics
    while True:
        before = clock.monotonic()
        await asyncio.sleep(SWEEP_EVERY)
        stall = clock.monotonic() - before - SWEEP_EVERY
        metrics.loop_stall.set(stall)
        if stall > STALL:
            # First read what arrived during the delay: such an answer is not late, such a device not idle.
            connections.set_time(clock.monotonic())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        now = clock.monotonic()
        while timeouts.sweep(now):
            await asyncio.sleep(0)  # other connections are read in between
            now = clock.monotonic()
        dispatcher.sweep(now)


async def reconcile(sessions: Sessions, registrar: Registrar, *, everything: bool) -> bool:
    """Register the sessions again that are not registered as they should be; whether Redis has answered.

    A session whose device has another holder is closed. The status of the devices that were heard since the
    last time is told.

    Args:
        everything: register all of them. This instance may have been taken for dead, and commands parked for
            devices that it holds.
    """
    answered = True
    imeis = list(sessions.by_imei)
    for start in range(0, len(imeis), RECONCILE):
        some = imeis[start : start + RECONCILE]
        doubtful = some if everything else await find_doubtful(sessions, registrar, some)
        answered = await reconcile_some(sessions, registrar, doubtful) and answered
        sessions.status.refresh(link for imei in some if (link := sessions.by_imei.get(imei)))
    return answered


async def find_doubtful(sessions: Sessions, registrar: Registrar, imeis: Sequence[str]) -> Sequence[str]:
    """The devices that the registry does not name as it should, or that are held because of a take-over."""
    links = [link for imei in imeis if (link := sessions.by_imei.get(imei))]
    values = {link.imei: value_of(link.session_id, link.claimant) for link in links if not link.held}
    try:
        differing = await registrar.differing(values)
    except StoreError:
        return imeis
    return [*differing, *(link.imei for link in links if link.held)]


async def reconcile_some(sessions: Sessions, registrar: Registrar, imeis: Sequence[str]) -> bool:
    """Register the devices that are still connected: an ended session must not be registered again.

    Returns:
        Whether Redis has answered.
    """
    links = [link for imei in imeis if (link := sessions.by_imei.get(imei))]
    held = [(link.imei, link.session_id, link.claimant) for link in links]
    results = await registrar.reconcile(held)
    for (imei, session_id, _), result in zip(held, results, strict=True):
        sessions.reconciled(session_id, imei, result)
    return all(result.status is not Registered.FAILED for result in results)


async def trace(connections: ConnectionContext, backend: Backend) -> None:
    """Publish the bytes of the devices that somebody watches."""
    async with asyncio.TaskGroup() as group:
        group.create_task(backend.trace.run())
        group.create_task(_watch_traced(connections, backend))


async def _watch_traced(connections: ConnectionContext, backend: Backend) -> None:
    """Every few seconds, look which devices those are."""
    while True:
        await asyncio.sleep(TRACED_EVERY)
        try:
            connections.tap.watch(await backend.trace.traced(connections.clock.now_ms()))
        except StoreError as error:
            backend.report("trace", error)


async def hand_over(dispatcher: Dispatcher, backend: Backend) -> None:
    """Once a second, ask the registry for the devices that commands wait for."""
    while True:
        await asyncio.sleep(RELOCATE_EVERY)
        try:
            await find_holders(dispatcher, backend.registrar)
        except StoreError as error:
            backend.report("relocation", error)  # an established label of a metric


async def find_holders(dispatcher: Dispatcher, registry: RegistryPort) -> None:
    """Tell the dispatcher which instances hold the devices that commands wait for.

    Raises whatever the registry raises when it cannot be asked.
    """
    imeis = dispatcher.offline.imeis
    if imeis:
        dispatcher.held(await registry.holders(imeis))


async def flush_events(backend: Backend, within: float) -> None:
    """Wait until session events and the status of devices are written, `within` seconds at most."""
    parts = (backend.device_status, *([backend.session_log] if backend.session_log else ()))
    await asyncio.gather(*(part.flush(within) for part in parts))
