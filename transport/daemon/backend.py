"""The Redis side of a gateway: its clients, and the parts of `store` that use them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, cast

import structlog

from fsm.backlog import Backlog
from fsm.events import CommandEvent, SessionEvent
from fsm.telemetry import PendingFrame
from store.client.client import connect
from store.client.errors import StoreError, is_transient
from store.client.gathering import stand_still
from store.diagnosis.rights import check_rights
from store.fleet.adoption import Adoption
from store.fleet.allow_list import RedisAllowList
from store.fleet.device_families import DeviceFamilies
from store.fleet.device_status import reporting
from store.fleet.heartbeat import STOPPED, Heartbeat
from store.fleet.janitor import Janitor, JanitorSettings
from store.fleet.ownership import HolderWatched, InstanceHeld, Watch
from store.fleet.parked import ParkedExpiry
from store.fleet.registry import Registrar
from store.fleet.stale_registrations import StaleRegistrations, held_by
from store.keys import Keys
from store.ledger.ledger import Ledger
from store.streams.caps import stream_caps
from store.streams.outbound import BLOCK_MS
from store.streams.session_log import SessionLog
from store.streams.telemetry import Telemetry
from store.streams.trimmer import Trimmer
from transport.clock import Clock
from transport.commands.verdict_log import log_verdict
from transport.connection.allow_list import REDIS
from transport.daemon import presence as presences
from transport.daemon.operator_parts import operator_parts
from transport.daemon.outages import Outages
from transport.daemon.telemetry_shards import ShardContext, TelemetryShards, backlog_limit
from transport.daemon.trim_reports import TrimReports, cap_settings
from transport.metrics import Metrics
from transport.settings import Settings

log = structlog.get_logger("telgw.store")

PURPOSES = {
    **dict.fromkeys(("ledger", "registry", "heartbeat", "sessions", "status", "janitor"), 0.0),
    "telemetry": 2.0,  # longer, because frames in flight are stored again after a time-out
    "reader": BLOCK_MS / 1000,
}
"""The clients of a gateway, and the seconds that a call of each may block on the server."""


class Backend:
    """One client for each purpose, so that none waits behind another, and the parts that use them."""

    def __init__(
        self,
        settings: Settings,
        url: str,
        boot_id: str,
        clock: Clock,
        metrics: Metrics,
        presence: presences.Presence,
        *,
        on_renewed: Callable[[int], None],
        on_fenced: Callable[[], None],
        on_watched: Callable[[HolderWatched], None],
        on_held: Callable[[InstanceHeld], None],
        on_refused: Callable[[PendingFrame], None],
        on_progress: Callable[[int], None],
    ) -> None:
        self._settings = settings
        self._boot_id = boot_id
        self._clock = clock
        self._metrics = metrics
        self._on_renewed = on_renewed
        self._on_fenced = on_fenced
        self._outages = Outages(clock.monotonic)
        self.keys = Keys(settings.key_prefix)
        instance_id = settings.instance_id
        self.clients = {
            name: connect(url, purpose=f"{instance_id}:{name}", key_prefix=settings.key_prefix, block=block)
            for name, block in PURPOSES.items()
        }
        for name in PURPOSES.keys() - {"reader"}:  # whose calls wait for entries
            self.clients[name].on_answer = metrics.redis_calls.labels(name).observe
        sessions = f"{settings.key_prefix}{settings.session_events}"
        apart = settings.session_events != "off" and sessions != self.keys.responses
        reports = TrimReports(metrics, clock.monotonic)
        self.trimmer = Trimmer(
            self.clients["telemetry"],  # which waits for it, and for no other client
            self.keys,
            stream_caps(self.keys, cap_settings(settings, sessions if apart else "")),
            retention=settings.retention,
            now_ms=clock.now_ms,
            on_trimmed=reports.trimmed,
            on_measured=reports.measured,
            on_memory=reports.memory_read,
        )
        appended = partial(self.trimmer.add, self.keys.responses)
        self.ledger = Ledger(
            self.clients["ledger"],
            self.keys,
            instance_id,
            boot_id,
            retention=settings.retention,
            on_error=partial(self.report, "ledger"),
            on_fenced=on_fenced,
            owns=self._owns,
            on_appended=appended,
        )
        self.registrar = Registrar(
            self.clients["registry"],
            self.keys,
            instance_id,
            boot_id,
            on_failure=self._registration_failed,
            on_fenced=on_fenced,
            hold=settings.takeover_hold,
            owns=self._owns,
        )
        self.heartbeat = Heartbeat(
            self.clients["heartbeat"],
            self.keys,
            instance_id,
            boot_id,
            settings.heartbeat_interval,
            settings.heartbeat_ttl,
            on_renewed=self._heartbeat_renewed,
            on_failure=partial(self.report, "heartbeat"),
            on_fenced=on_fenced,
            on_watched=on_watched,
            on_held=on_held,
            remembered=settings.retention,
            watch=Watch(
                instance_id,
                partial(presence.describe, settings.heartbeat_interval),
                forced=settings.take_over,
                is_gone=presences.is_gone,
                monotonic=clock.monotonic,
            ),
        )
        self.telemetry = Telemetry(
            self.clients["telemetry"],
            self.keys,
            instance_id,
            on_error=partial(self.report, "telemetry"),
            on_refused=on_refused,
            on_progress=partial(on_progress, 0) if settings.telemetry_shards == 1 else None,
            backlog=Backlog(backlog_limit(settings.telemetry_shards)),
            meter=self.trimmer,
            # With shards there are several such queues, which would hold up each other.
            pause=stand_still if settings.telemetry_shards == 1 else asyncio.sleep,
        )
        self.telemetry_shards = TelemetryShards(
            ShardContext(settings, url, clock, metrics, reports, on_refused),
            self.keys,
            self.clients["janitor"],
            on_progress=on_progress,
            on_error=partial(self.report, "shards"),
        )
        self.shards = [shard.store for shard in self.telemetry_shards.shards]
        self.stores = (self.telemetry, *self.shards)
        self.session_log: SessionLog | None = None
        if settings.session_events != "off":
            self.session_log = SessionLog(
                self.clients["sessions"],
                sessions,
                "" if apart else self.keys.unasked,
                on_error=partial(self.report, "sessions"),
            )
        parts = operator_parts(
            self.clients["status"], self.keys, instance_id, settings.heartbeat_interval, self.report
        )
        self.device_status, self.trace = parts
        self.allow_list: RedisAllowList | None = None
        if settings.allow_list == REDIS:
            self.clients["allow_list"] = connect(
                url, purpose=f"{instance_id}:allow-list", key_prefix=settings.key_prefix
            )
            self.allow_list = RedisAllowList(
                self.clients["allow_list"],
                self.keys,
                on_error=partial(self.report, "allow_list"),
            )
        self.families: DeviceFamilies | None = None
        if settings.io_names == "on" or settings.policy is not None:
            self.clients["families"] = connect(
                url, purpose=f"{instance_id}:families", key_prefix=settings.key_prefix
            )
            self.families = DeviceFamilies(
                self.clients["families"],
                self.keys,
                settings.avl_family,
                on_error=partial(self.report, "families"),
            )
        self.parked = ParkedExpiry(
            self.clients["janitor"],
            self.keys,
            self._janitors_ledger(),
            now_ms=clock.now_ms,
            on_ended=self._parked_ended,
        )
        self.janitor = Janitor(
            self.clients["janitor"],
            self.keys,
            instance_id,
            JanitorSettings(
                interval=settings.janitor_interval,
                grace=settings.janitor_grace,
                min_uptime=settings.janitor_min_uptime,
                heartbeat_ttl=settings.heartbeat_ttl,
                retention=settings.retention,
            ),
            adopt=self._adopt,
            trim=self.trimmer.trim,
            end_parked=self.parked.end_due,
            monotonic=clock.monotonic,
            now_ms=clock.now_ms,
            on_error=partial(self.report, "janitor"),
        )

    async def check_rights(self) -> None:
        """Try every right that a gateway needs.

        Raises:
            LoginRefused, RightsMissing: Redis answers, but refuses the login or a right.
        """
        streams = [self.session_log.stream] if self.session_log else []
        await check_rights(
            self.clients["janitor"],
            self.keys,
            self._settings.instance_id,
            self._boot_id,
            *streams,
            allow_list=self.allow_list is not None,
            families=self.families is not None,
        )
        await self.telemetry_shards.check_rights()

    def refresh_copies(self) -> None:
        """Read again what the operator keeps in Redis, in the background."""
        for copy in (self.allow_list, self.families):
            if copy is not None:
                copy.refresh()

    def stale_registrations(self, is_here: Callable[[str], bool]) -> StaleRegistrations:
        """The task that removes registrations which earlier processes of this instance id left."""
        return StaleRegistrations(
            self.clients["janitor"],
            self.keys,
            self._settings.instance_id,
            self._boot_id,
            self.registrar,
            grace=self._settings.reconnect_grace,
            every=self._settings.janitor_interval,
            is_here=is_here,
            on_closed=self._session_lost,
            on_error=partial(self.report, "janitor"),
        )

    def ours(self) -> AsyncIterator[list[bytes]]:
        """The devices that are registered for this instance, in pages."""
        return held_by(self.clients["janitor"], self.keys, self._settings.instance_id)

    def reporting(self, span: float) -> AsyncIterator[list[str]]:
        """The devices that have reported over a time of `span` seconds or more, in pages."""
        return reporting(self.clients["janitor"], self.keys, span)

    def _owns(self) -> bool:
        return self.heartbeat.taken

    def _janitors_ledger(self, dead: str | None = None) -> Ledger:
        return Ledger(
            self.clients["janitor"],
            self.keys,
            self._settings.instance_id,
            self._boot_id,
            retention=self._settings.retention,
            on_error=partial(self.report, "janitor"),
            on_fenced=self._on_fenced,
            owns=self._owns,
            dead=dead,
        )

    def _parked_ended(self, event: CommandEvent) -> None:
        self._metrics.command(event)
        log_verdict(event)

    async def _adopt(self, dead: str) -> None:
        """Adopt the work of the instance `dead`."""
        if await cast(Any, self.clients["janitor"]).hget(self.keys.holder(dead), STOPPED):
            log.debug("instance_stopped", stopped=dead)
        else:
            self._metrics.instances_lost.inc()
            log.warning("instance_lost", dead=dead)
        ledger = self._janitors_ledger(dead)
        adoption = Adoption(
            self.clients["janitor"],
            self.keys,
            dead,
            ledger,
            self._settings.limits,
            now_ms=self._clock.now_ms,
            on_closed=self._session_lost,
            on_adopted=self._metrics.adoptions.inc,
        )
        await adoption.adopt()

    def _session_lost(self, event: SessionEvent) -> None:
        if self.session_log is not None:
            self.session_log.append(event, self._clock.now_ms())

    @property
    def redis_up(self) -> bool:
        """Whether Redis answers, as far as is known."""
        return self._outages.redis_up

    def report(self, part: str, error: Exception) -> None:
        """Count a failed call to Redis, and log it unless the same error was logged recently."""
        transient = is_transient(error)
        if transient:
            self.janitor.trouble()
            self.heartbeat.renew_soon()
        name = error.kind if isinstance(error, StoreError) else type(error).__name__
        self._metrics.store_errors.labels(part, name).inc()
        self._outages.failed(part, error, transient=transient)

    def _heartbeat_renewed(self, redis_ms: int) -> None:
        """Log the end of an outage as soon as it is certain, now that the heartbeat was renewed."""
        if not self._outages.succeeded():
            self.heartbeat.renew_soon()
        self._on_renewed(redis_ms)

    def _registration_failed(self, count: int) -> None:
        self.janitor.trouble()
        self.heartbeat.renew_soon()
        self._metrics.registry_failures.inc(count)
        self._outages.registrations_failed(count)

    async def close(self) -> None:
        """Close every client."""
        for client in self.clients.values():
            await client.aclose()
        await self.telemetry_shards.close()
