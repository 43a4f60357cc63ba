"""Checks the keys of a fleet: heartbeats, registry, streams, groups, commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis

from store.client.errors import StoreRefused
from store.diagnosis.allow_list import devices
from store.diagnosis.exposure import diagnose_exposure
from store.diagnosis.instances import Instance, read_instances
from store.diagnosis.overdue import Backlog, find_overdue
from store.diagnosis.parked import diagnose_parked
from store.diagnosis.server import CRITICAL, OK, WARNING, Finding, Level, Report, examples
from store.diagnosis.server_facts import time_ms
from store.diagnosis.shards import ShardServers, diagnose_shards, known_shards
from store.diagnosis.shared_keys import Bounds, diagnose_shared
from store.diagnosis.stream_ids import check_last_id, last_id
from store.fleet.ownership import Holder
from store.keys import GROUP, Keys
from store.streams.entry_ids import after
from store.streams.outbound_faults import deleted_pending, trimmed_unread

__all__ = ["Bounds", "diagnose_fleet"]

SLOW_READER_MS = 60_000
_EMPTY = (
    "When it is empty, its gateway creates it again with its next heartbeat: wait, or XDEL that entry. "
    "Without a gateway, DEL the stream when it is empty."
)
_TRIMMED = "A producer uses MAXLEN, or somebody deletes entries: correct it. Publish the lost commands again."


async def diagnose_fleet(
    client: Redis,
    keys: Keys,
    bounds: Bounds,
    shard_servers: ShardServers | None = None,
    is_gone: Callable[[Holder], bool] = lambda _: False,
    host_ms: Callable[[], int] = lambda: 0,
) -> list[Finding]:
    """Check every instance that is known, holds a device or has a stream, and the keys that all share.

    Args:
        shard_servers: those of the shards of telemetry; by default `client` reads all shards.
        is_gone: whether it is proved that a process has ended.
        host_ms: epoch ms by the clock of this host, for a server that does not tell its own.

    Raises:
        StoreError: the server cannot be reached, or refuses all calls now.
    """
    now_ms = await time_ms(client) or host_ms()
    examination = _FleetCheck(client, keys, bounds, now_ms, shard_servers or ShardServers(lambda _: client))
    examination.is_gone = is_gone
    await examination.run()
    return examination.report.findings


class _FleetCheck:
    """One check of a fleet."""

    def __init__(self, client: Redis, keys: Keys, bounds: Bounds, now_ms: int, servers: ShardServers) -> None:
        self.report, self._heirs = Report(), False
        self._client: Any = client
        self._keys, self._bounds, self._now_ms, self._servers = keys, bounds, now_ms, servers
        self.is_gone: Callable[[Holder], bool] = lambda _: False

    async def run(self) -> None:
        instances = await read_instances(self.report, self._client, self._keys, self._now_ms)
        self._heirs = any(instance.alive for instance in instances)
        if not instances:
            self.report.add(OK, "fleet", "No gateway is known here yet.")
        elif not self._heirs:
            self.report.add(WARNING, "fleet", "No gateway has a heartbeat.", "Start one: telgw run.")
        for instance in instances:
            self._status(instance)
            if instance.alive and instance.holder is not None:
                diagnose_exposure(self.report, instance.instance_id, instance.holder.exposure, self._now_ms)
            await self.report.attempt(self._keys.outbound(instance.instance_id), self._stream(instance), None)
        live = {one.instance_id: one.holder.shards for one in instances if one.alive and one.holder}
        known = await known_shards(self.report, self._client, self._keys, live)
        bounds = replace(self._bounds, telemetry_shards=known.count)
        await diagnose_shared(self.report, self._client, self._keys, bounds, self._now_ms)
        await diagnose_shards(self.report, self._keys, bounds, known, self._now_ms, self._servers)
        await diagnose_parked(self.report, self._client, self._keys, self._now_ms)

    # One instance

    def _status(self, instance: Instance) -> None:
        """Check that the registry and the list of instances agree with the heartbeat."""
        held, counts = devices(instance.devices), {"devices": instance.devices}
        if instance.heartbeat_ms is not None:
            counts["heartbeat_age_ms"] = max(0, self._now_ms - instance.heartbeat_ms)
        if instance.alive and instance.known:
            seconds = max(0, self._now_ms - (instance.heartbeat_ms or 0)) / 1000
            found = f"alive, last heartbeat {seconds:.1f} s ago, {held}"
            level, mend = OK, ""
            if instance.holder is not None:
                found += f"; {instance.holder}"
                if self.is_gone(instance.holder):
                    found = found.replace("alive", "its process has ended", 1)
                    level, mend = WARNING, "Start it, or another gateway adopts its work."
            self.report.add(level, instance.subject, found, mend, counts)
        elif instance.alive:
            found = f"alive, {held}, but not in {self._keys.instances}: no gateway would notice its death"
            mend = "Restart it; if it is not a telgw, add it there."
            self.report.add(WARNING, instance.subject, found, mend, counts)
        elif instance.devices:
            found = f"no heartbeat, but {held} are registered to it: their commands wait there"
            self.report.add(self._left(instance), instance.subject, found, self._advice(instance), counts)
        elif instance.known:
            self.report.add(OK, instance.subject, "stopped, no devices", counts=counts)
        else:
            self.report.add(OK, instance.subject, "only a stream: no gateway with this name is known")

    def _left(self, instance: Instance) -> Level:
        """The level of a finding about what a dead instance left."""
        return WARNING if instance.known and self._heirs else CRITICAL

    def _advice(self, instance: Instance) -> str:
        """What to do about what a dead instance left."""
        if not instance.known:
            return (
                f"No gateway will adopt its work: start it again, or HSET {self._keys.instances} "
                f"{instance.instance_id} 0; and make producers take the name from {self._keys.registry}."
            )
        if self._heirs:
            return "Another gateway adopts its work within minutes; if not, read the logs."
        return "Start a gateway."

    async def _stream(self, instance: Instance) -> None:
        """Check its outbound stream: entries, group, pending list, and overdue commands."""
        stream = self._keys.outbound(instance.instance_id)
        exists = await self._client.exists(stream)
        groups = {group["name"]: group for group in await self._client.xinfo_groups(stream)} if exists else {}
        group, length = groups.get(GROUP.encode()), await self._client.xlen(stream)
        if group is None and (instance.alive or length):
            found = f"{length} entries, and no group {GROUP!r}"
            mend = f"Its gateway creates it within seconds; if not, restart {instance.instance_id}."
            mend = mend if instance.alive else self._advice(instance)
            self.report.add(WARNING, stream, found, mend, {"entries": length})
        elif group is not None:
            await self._pending(instance, stream, length, group)
            await self._lost(instance, stream, int(group["pending"]))
        if not instance.alive and length:
            found = f"{length} entries, and no heartbeat of its gateway"
            counts = {"entries": length}
            self.report.add(self._left(instance), stream, found, self._advice(instance), counts)
        last = await last_id(self._client, stream)
        if finding := check_last_id(stream, last, self._now_ms, _EMPTY):
            self.report.findings.append(finding)
        if length:
            bounds, client = self._bounds.limits, self._client
            backlog = await find_overdue(client, self._keys, instance.instance_id, bounds, self._now_ms)
            self._overdue(instance, stream, backlog)

    async def _pending(self, instance: Instance, stream: str, length: int, group: Mapping[str, Any]) -> None:
        summary = await self._client.xpending(stream, GROUP)
        others = {
            found["name"].decode(errors="replace"): int(found["pending"])
            for found in summary["consumers"] or ()
            if found["name"] != instance.instance_id.encode()
        }
        if others:
            shown = [f"{name} ({pending})" for name, pending in others.items()]
            found = f"pending under other consumers: {examples(shown)}"
            mend = (
                "Its gateway claims them within 30 s; if they come back, find out who else reads this group."
            )
            of_each = {f"pending:{name}": pending for name, pending in others.items()}
            self.report.add(WARNING, stream, found, mend, of_each)
        count = int(summary["pending"])
        counts = {"pending": count, "unread": max(0, length - count)}
        oldest = ""
        if count:
            counts["oldest_pending_ms"] = self._age(summary["min"])
            oldest = f", the oldest for {counts['oldest_pending_ms'] / 1000:.1f} s"
        found = f"{count} pending{oldest}; {counts['unread']} unread"
        level: Level = WARNING if instance.alive and await self._is_slow(stream, group) else OK
        mend = "Its reader has stopped, or is at --commands-limit: read its log, then restart it."
        self.report.add(level, stream, found, mend, counts)

    async def _lost(self, instance: Instance, stream: str, pending: int) -> None:
        """Whether somebody removed entries before their commands ended, if this user may know it."""
        try:
            unread = await trimmed_unread(self._client, stream) if instance.alive else 0
            deleted = await deleted_pending(self._client, stream) if pending else 0
        except StoreRefused as error:
            if error.code != "NOPERM":
                raise
            return
        if unread or deleted:
            found = f"entries were removed by others: {unread} unread, {deleted} of commands in progress"
            counts = {"removed_unread": unread, "removed_in_progress": deleted}
            self.report.add(CRITICAL, stream, found, _TRIMMED, counts)

    async def _is_slow(self, stream: str, group: Mapping[str, Any]) -> bool:
        """Whether an unread entry has waited too long."""
        start = after(group["last-delivered-id"])
        unread: Any = await self._client.xrange(stream, start, count=1) if start else ()
        return bool(unread) and self._age(unread[0][0]) > SLOW_READER_MS

    def _age(self, entry_id: bytes) -> int:
        return max(0, self._now_ms - int(entry_id.partition(b"-")[0]))

    def _overdue(self, instance: Instance, stream: str, backlog: Backlog) -> None:
        checked = f" (of {backlog.checked} checked)"
        if backlog.overdue:
            found = (
                f"{len(backlog.overdue)} without a terminal event after their time{checked}: "
                f"{examples(backlog.overdue)}"
            )
            level = CRITICAL if instance.alive else self._left(instance)
            mend = (
                f"Its gateway checks for such entries every 30 s; if they stay, read its log and restart "
                f"{instance.instance_id}."
            )
            counts = {"overdue": len(backlog.overdue), "checked": backlog.checked}
            self.report.add(level, stream, found, mend if instance.alive else self._advice(instance), counts)
        if backlog.finished:
            found = f"{len(backlog.finished)} ended, but not removed{checked}: {examples(backlog.finished)}"
            mend = "Its gateway checks for such entries every 30 s and removes them."
            counts = {"ended": len(backlog.finished), "checked": backlog.checked}
            mend = mend if instance.alive else self._advice(instance)
            self.report.add(WARNING, stream, found, mend, counts)
