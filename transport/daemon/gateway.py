"""The gateway: what it starts, in which order, and how it stops (see the package)."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import structlog

from fsm.reasons import FENCED, SHUTDOWN
from store.client.errors import StoreError
from store.fleet.ownership import InstanceHeld
from transport.clock import Clock
from transport.commands.dispatcher import Dispatcher
from transport.connection.context import connection_context
from transport.connection.pending import refuse
from transport.connection.timeouts import Timeouts
from transport.daemon.addresses import OnReady
from transport.daemon.backend import Backend
from transport.daemon.checkup import check_up
from transport.daemon.claim import Claim
from transport.daemon.exit_statuses import EXIT_CRASHED, EXIT_FENCED
from transport.daemon.expected_devices import read_expected, read_known
from transport.daemon.files import Files
from transport.daemon.listeners import Listeners
from transport.daemon.milestones import FLUSH_TIMEOUT, log_stop, whereabouts
from transport.daemon.outbound import outbound
from transport.daemon.presence import Presence
from transport.daemon.recurring import flush_events, hand_over, reconcile, sweep, trace, until
from transport.metrics import Metrics
from transport.settings import Settings
from transport.tasks import Tasks

log = structlog.get_logger("telgw")

LAST_READ_TIMEOUT = 1.5
"""Seconds for the read in flight to end, and again for the last read."""


class Gateway:
    """One gateway process on one event loop."""

    def __init__(self, settings: Settings, url: str) -> None:
        self.settings = settings
        self.url = url
        self._listeners = Listeners(settings)
        self.boot_id = uuid.uuid4().hex[:12]
        self.clock = Clock()
        self.metrics = Metrics()
        self.presence = Presence(self.boot_id, self._listeners.exposure, settings.telemetry_shards)
        self.backend = backend = Backend(
            settings,
            url,
            self.boot_id,
            self.clock,
            self.metrics,
            self.presence,
            on_renewed=self._on_renewed,
            on_fenced=self._on_fenced,
            on_watched=lambda watched: self._claim.watched(watched),
            on_held=self._on_held,
            on_refused=lambda batch: refuse(self.connections, batch),
            on_progress=lambda shard: self.connections.serving[shard].progress(),
        )
        self.files = Files(settings, self._listeners, backend.allow_list, backend.families)
        self.dispatcher = Dispatcher(
            settings, self.boot_id, self.clock, backend.ledger, self.metrics, self.files.policy
        )
        self.connections = connection_context(
            *(settings, self.boot_id, self.clock, self.metrics, self.dispatcher, backend),
            *(self.files.allow_list, self.files.io_names),
        )
        self.sessions = self.connections.sessions
        self.timeouts = Timeouts(self.connections)
        self.reader, self._outbound_faults = outbound(
            settings, backend, self.dispatcher, self.clock, self.metrics, self._still_owns
        )
        self.exit_status = 0
        self._fenced = False
        self.listening = False
        self.pages_at = "off"
        self.heartbeat_at = self.clock.monotonic()
        self.pending = 0
        self._tasks = Tasks(self._on_crash, lambda name: self.metrics.task_failures.labels(name).inc())
        self._stop = asyncio.Event()
        self._claim = Claim(settings.instance_id, self.backend, url, self._stop)
        self._heartbeat_renewed = asyncio.Event()
        self._owns = asyncio.Event()

    # The causes of an end

    @property
    def stopping(self) -> bool:
        """Whether the shutdown has begun."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Begin the shutdown."""
        self._stop.set()

    def _on_crash(self, name: str) -> None:
        self.exit_status = EXIT_CRASHED
        self._stop.set()

    def _on_fenced(self) -> None:
        self.backend.heartbeat.stop()
        self._fenced = True
        self.exit_status = EXIT_FENCED
        self._stop.set()

    def _on_held(self, held: InstanceHeld) -> None:
        """End: this process started while Redis was away, and a live gateway owns the instance id."""
        self._claim.held(held)
        self.exit_status = EXIT_FENCED
        self._stop.set()

    def _on_renewed(self, redis_ms: int) -> None:
        self.clock.sync(redis_ms)
        self.heartbeat_at = self.clock.monotonic()
        self._heartbeat_renewed.set()
        if not self._owns.is_set():
            self._owns.set()
            self._claim.taken()
        self.backend.refresh_copies()

    async def _still_owns(self) -> bool:
        """Whether this process still owns the instance id. After a missed heartbeat, ask Redis."""
        if self.clock.monotonic() - self.heartbeat_at <= self.settings.heartbeat_interval + 0.5:
            return True
        return await self.backend.heartbeat.renew() is not None

    # The whole run

    async def run(self, on_ready: OnReady | None = None, on_stop: Callable[[], None] = lambda: None) -> int:
        """Serve until stopped; the exit status.

        Args:
            on_ready: called with the addresses when devices can connect.
            on_stop: called when the shutdown begins.

        Raises:
            CannotListen: an address cannot be bound.
            InstanceHeld: a live process owns the instance id.
        """
        self._listeners.bind()
        self.presence.open()
        try:
            return await self._live(on_ready, on_stop)
        except Exception:
            await self._abandon()  # tasks may run already
            raise
        finally:
            self.presence.close()

    async def _live(self, on_ready: OnReady | None, on_stop: Callable[[], None]) -> int:
        await self._claim.make()
        if self._stop.is_set() and not self.backend.heartbeat.taken:
            await self._abandon()  # stopped while it waited for the instance id
            return self.exit_status
        await self._open(on_ready)
        await self._stop.wait()
        on_stop()
        try:
            await (self._give_way() if self._fenced else self._shut_down())
        except Exception:  # an error that leaves here would mean that the gateway could not start
            log.critical("crashed", exc_info=True)
            self.exit_status = EXIT_CRASHED
            await self._abandon()
        log.info("stopped", exit_status=self.exit_status)
        return self.exit_status

    async def _give_way(self) -> None:
        await self._claim.lost()
        await self._abandon(FENCED)

    async def _open(self, on_ready: OnReady | None) -> None:
        """Take the instance id and write the heartbeat, before any device can connect."""
        self.dispatcher.offline.begin(self.clock.monotonic())
        self._begin()
        bound = await self._listeners.open(self.connections)
        self.listening = True
        self._listeners.announce(bound, **whereabouts(self.settings, self.url, self.pages_at))
        if on_ready:
            on_ready(bound.all)

    def _begin(self) -> None:
        """Start all tasks."""
        start, backend, owns, known = self._tasks.start, self.backend, self._owns, self.sessions.known
        start("ledger", backend.ledger.run)
        start("registrar", backend.registrar.run)
        start("telemetry", backend.telemetry.run)
        for number, shard in enumerate(backend.shards):
            start(f"telemetry {number}", shard.run)
        start("heartbeat", backend.heartbeat.run)
        if backend.session_log is not None:
            start("session log", backend.session_log.run)
        start("device status", backend.device_status.run)
        if backend.allow_list is not None:
            start("allow-list", backend.allow_list.answer)
            start("allow-list copy", backend.allow_list.keep_copy)
        if backend.families is not None:
            start("device families", backend.families.keep_copy)
        start("removed devices", partial(self.connections.access.close_removed, self.sessions, self.clock))
        start("files", self.files.run)
        start("expected devices", partial(read_expected, owns, self.dispatcher, known, backend, self.clock))
        start("known devices", partial(read_known, owns, self.sessions, backend))
        start("reader", self._read)
        start("shards", backend.telemetry_shards.run)
        start("janitor", backend.janitor.run)
        start("stale registrations", backend.stale_registrations(self.sessions.by_imei.__contains__).run)
        start("check", partial(check_up, backend, self._heartbeat_renewed))  # before `reconcile` clears it
        start("sweep", partial(sweep, self.connections, self.timeouts, self.dispatcher))
        start("reconcile", self._reconcile)
        start("trace", partial(trace, self.connections, self.backend))
        start("handover", partial(hand_over, self.dispatcher, self.backend))
        for name in self._tasks.names:
            self.metrics.task_failures.labels(name)  # from 0 on, because a rate begins with a second sample

    # Recurring work

    async def _read(self) -> None:
        """Read commands, once the instance id is owned and the time of Redis is known: they expire by it."""
        await self._owns.wait()
        await self.reader.run()

    async def _reconcile(self) -> None:
        """After each heartbeat, compare the registry with the connected devices."""
        heartbeat, lapses = self.backend.heartbeat, 0
        while True:
            await self._heartbeat_renewed.wait()
            self._heartbeat_renewed.clear()
            with suppress(StoreError):
                self.pending = await self.reader.pending()
                await self._outbound_faults.look()
            now = heartbeat.lapses
            if await reconcile(self.sessions, self.backend.registrar, everything=now != lapses):
                lapses = now

    # The shutdown

    async def _shut_down(self) -> None:
        """Stop in order: accept nothing new, end commands, store records, release the heartbeat."""
        log_stop(self.settings, len(self.sessions.by_imei), self.dispatcher)
        self._listeners.close()
        self.sessions.refuse_unidentified()
        if not self.backend.heartbeat.taken:
            self.backend.heartbeat.stop()  # it must not take the instance id from the next process
        for name in ("reconcile", "handover", "janitor", "shards", "stale registrations"):
            await self._tasks.ended(name, 0.0)
        held = [(imei, link.session_id) for imei, link in self.sessions.by_imei.items()]
        await self.backend.registrar.unregister_all(held, within=FLUSH_TIMEOUT)
        await self._stop_commands()
        await self._drain_commands()
        await self._flush()
        with suppress(StoreError):
            await self.backend.heartbeat.release()
        await self._abandon()

    async def _stop_commands(self) -> None:
        self.sessions.drain()
        self.dispatcher.stop()
        self.reader.stop()
        if self._owns.is_set():
            await self._tasks.ended("reader", LAST_READ_TIMEOUT)
            with suppress(StoreError, TimeoutError):
                async with asyncio.timeout(LAST_READ_TIMEOUT):
                    await self.reader.sweep()
        self.dispatcher.stop()

    async def _drain_commands(self) -> None:
        await until(lambda: not self.dispatcher.draining, self.settings.shutdown_timeout)
        self.dispatcher.give_up()

    async def _flush(self) -> None:
        """Store and acknowledge records, save terminal events, and close the sockets, in `FLUSH_TIMEOUT`."""
        backend = self.backend
        self.connections.stop_reading()
        async with asyncio.TaskGroup() as group:
            flushes = [group.create_task(store.flush(FLUSH_TIMEOUT)) for store in backend.stores]
            moves = group.create_task(backend.ledger.flush(FLUSH_TIMEOUT))
        await self._close_sockets(SHUTDOWN)
        self.sessions.share.conclude()
        await flush_events(backend, 1.0)
        records = sum(flush.result() for flush in flushes)
        if records or moves.result():
            log.warning("unsaved", records=records, moves=moves.result())

    async def _close_sockets(self, reason: str) -> None:
        self.sessions.close_all(reason)
        await until(lambda: not self.sessions.connected, 1.0)
        self.sessions.abort_all()
        await asyncio.sleep(0)

    async def _abandon(self, reason: str = SHUTDOWN) -> None:
        """Close everything at once."""
        self._listeners.close()
        await self._close_sockets(reason)
        await self._tasks.cancel_all()
        await self.backend.close()
