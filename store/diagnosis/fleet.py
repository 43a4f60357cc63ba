"""Whether the keys of a fleet tell of healthy instances: heartbeats, registry, streams, groups, commands."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from store.client.numbers import whole
from store.diagnosis.overdue import Backlog, find_overdue
from store.diagnosis.server import CRITICAL, OK, WARNING, Finding, Level, Report, examples
from store.diagnosis.shared_keys import Bounds, diagnose_shared
from store.diagnosis.stream_ids import judge_last_id, last_id
from store.fleet.ownership import Holder
from store.keys import GROUP, Keys
from store.streams.entry_ids import after

__all__ = ["Bounds", "Instance", "diagnose_fleet"]

SLOW_READER_MS = 60_000
_EMPTY = "Wait until {stream} is empty, or XDEL the entry of that id, then DEL it: its gateway makes it anew."

_PAGE = 1000


@dataclass(slots=True, frozen=True)
class Instance:
    """What is known of one instance.

    Attributes:
        known: it is listed in ``instances:known``, where janitors find it.
        beat: epoch ms of its last heartbeat; None without one.
        devices: how many devices the registry gives to it.
        holder: the process that owns its id, in its own words.
    """

    instance_id: str
    known: bool
    beat: int | None
    devices: int
    holder: Holder | None = None

    @property
    def subject(self) -> str:
        """What findings call it."""
        return f"instance {self.instance_id}"

    @property
    def alive(self) -> bool:
        """Whether it has a heartbeat."""
        return self.beat is not None


def _literal(text: str) -> str:
    """The pattern that matches `text` alone; a key prefix may hold any character."""
    return re.sub(r"([\\*?[])", r"\\\1", text)


async def diagnose_fleet(client: Redis, keys: Keys, bounds: Bounds) -> list[Finding]:
    """Look at every instance that is known, holds a device or has a stream, and at what all of them share.

    Raises:
        StoreError: the server cannot be reached, or serves nobody for now.
    """
    seconds, micros = await client.time()
    examination = _Examination(client, keys, bounds, int(seconds) * 1000 + int(micros) // 1000)
    await examination.run()
    return examination.report.findings


class _Examination:
    """One look at a fleet."""

    def __init__(self, client: Redis, keys: Keys, bounds: Bounds, now_ms: int) -> None:
        self.report = Report()
        self._client: Any = client
        self._keys = keys
        self._bounds = bounds
        self._now_ms = now_ms
        self._heirs = False

    async def run(self) -> None:
        instances = await self._instances()
        self._heirs = any(instance.alive for instance in instances)
        if not instances:
            self.report.add(OK, "fleet", "No gateway is known here yet.")
        elif not self._heirs:
            self.report.add(WARNING, "fleet", "No gateway has a heartbeat.", "Start one: telgw run.")
        for instance in instances:
            self._life(instance)
            await self.report.attempt(self._keys.outbound(instance.instance_id), self._stream(instance), None)
        await diagnose_shared(self.report, self._client, self._keys, self._bounds, self._now_ms)

    # Who there is

    async def _instances(self) -> list[Instance]:
        attempt, keys = self.report.attempt, self._keys
        known: Any = await attempt(keys.instances, self._client.hgetall(keys.instances), {})
        devices = await attempt(keys.registry, self._devices(), {})
        addressed = await attempt("streams", self._addressed(), set())
        await attempt(keys.sessions, self._client.hget(keys.sessions, ""), None)  # for its type alone
        listed = {name.decode(errors="replace") for name in known}
        return [
            Instance(
                name, name in listed, await self._beat(name), devices.get(name, 0), await self._holder(name)
            )
            for name in sorted(listed | devices.keys() | addressed)
        ]

    async def _addressed(self) -> set[str]:
        """To whom commands were sent: a name may be misspelt, or its gateway never have been started."""
        prefix = self._keys.outbound("")
        streams = self._client.scan_iter(f"{_literal(prefix)}*", count=_PAGE)
        return {key.decode(errors="replace").removeprefix(prefix) async for key in streams}

    async def _devices(self) -> Mapping[str, int]:
        held: Counter[str] = Counter()
        async for _, name in self._client.hscan_iter(self._keys.registry, count=_PAGE):
            held[name.decode(errors="replace")] += 1
        return held

    async def _beat(self, instance_id: str) -> int | None:
        key = self._keys.heartbeat(instance_id)
        beat: bytes | None = await self.report.attempt(key, self._client.get(key), None)
        if beat is None:
            return None
        return whole(beat, self._now_ms)

    async def _holder(self, instance_id: str) -> Holder | None:
        attempt, holder, boot = (
            self.report.attempt,
            self._keys.holder(instance_id),
            self._keys.boot(instance_id),
        )
        owner: bytes | None = await attempt(boot, self._client.get(boot), None)
        words: Any = await attempt(holder, self._client.hgetall(holder), {})
        return Holder.read(owner.decode(errors="replace"), words) if owner else None

    # One instance

    def _life(self, instance: Instance) -> None:
        """Whether what the registry and the list of instances say fits the heartbeat."""
        devices = f"{instance.devices} devices"
        if instance.alive and instance.known:
            seconds = max(0, self._now_ms - (instance.beat or 0)) / 1000
            found = f"alive, last beat {seconds:.1f} s ago, {devices}"
            if instance.holder is not None:
                found += f"; {instance.holder}"
            self.report.add(OK, instance.subject, found)
        elif instance.alive:
            found = f"alive, {devices}, but not in {self._keys.instances}: no gateway would notice its death"
            mend = "Restart it; if it is no telgw, add it there."
            self.report.add(WARNING, instance.subject, found, mend)
        elif instance.devices:
            found = f"no heartbeat, yet {devices} are registered to it: their commands wait there"
            self.report.add(self._left(instance), instance.subject, found, self._undertaker(instance))
        elif instance.known:
            self.report.add(OK, instance.subject, "stopped, no devices")
        else:
            self.report.add(OK, instance.subject, "no gateway of this name is known, only its stream")

    def _left(self, instance: Instance) -> Level:
        """How bad it is that a dead instance has left something."""
        return WARNING if instance.known and self._heirs else CRITICAL

    def _undertaker(self, instance: Instance) -> str:
        """Who takes care of what a dead instance has left."""
        if not instance.known:
            return (
                f"No gateway will tidy up after it: start it once more, or HSET {self._keys.instances} "
                f"{instance.instance_id} 0; and see that producers take the name from {self._keys.registry}."
            )
        if self._heirs:
            return "Another gateway tidies up within some minutes; if it stays so, look at the logs."
        return "Start a gateway."

    async def _stream(self, instance: Instance) -> None:
        """Its outbound stream: entries, group, pending list, and commands that wait for too long."""
        stream = self._keys.outbound(instance.instance_id)
        exists = await self._client.exists(stream)
        groups = {group["name"]: group for group in await self._client.xinfo_groups(stream)} if exists else {}
        group, length = groups.get(GROUP.encode()), await self._client.xlen(stream)
        if group is None and (instance.alive or length):
            found = f"{length} entries, and no group {GROUP!r}"
            mend = f"A gateway makes it within seconds; if it stays so, restart {instance.instance_id}."
            self.report.add(WARNING, stream, found, mend if instance.alive else self._undertaker(instance))
        elif group is not None:
            await self._pending(instance, stream, length, group)
        if not instance.alive and length:
            found = f"{length} entries, and no heartbeat of its gateway"
            self.report.add(self._left(instance), stream, found, self._undertaker(instance))
        last = await last_id(self._client, stream)
        if finding := judge_last_id(stream, last, self._now_ms, _EMPTY.format(stream=stream)):
            self.report.findings.append(finding)
        if length:
            bounds, client = self._bounds.limits, self._client
            told = await find_overdue(client, self._keys, instance.instance_id, bounds, self._now_ms)
            self._overdue(instance, stream, told)

    async def _pending(self, instance: Instance, stream: str, length: int, group: Mapping[str, Any]) -> None:
        summary = await self._client.xpending(stream, GROUP)
        other_consumers = [
            f"{found['name'].decode(errors='replace')} ({found['pending']})"
            for found in summary["consumers"] or ()
            if found["name"] != instance.instance_id.encode()
        ]
        if other_consumers:
            found = f"pending under other consumers: {examples(other_consumers)}"
            mend = (
                "Its gateway takes them over within 30 s; if they come back, find who else reads this group."
            )
            self.report.add(WARNING, stream, found, mend)
        count = int(summary["pending"])
        oldest = f", the oldest for {self._age(summary['min']) / 1000:.1f} s" if count else ""
        found = f"{count} pending{oldest}; {max(0, length - count)} unread"
        level: Level = WARNING if instance.alive and await self._is_slow(stream, group) else OK
        mend = "Its reader has stopped, or is at --commands-limit: look at its log, then restart it."
        self.report.add(level, stream, found, mend)

    async def _is_slow(self, stream: str, group: Mapping[str, Any]) -> bool:
        """Whether an entry has been waiting for long to be read."""
        start = after(group["last-delivered-id"])
        unread: Any = await self._client.xrange(stream, start, count=1) if start else ()
        return bool(unread) and self._age(unread[0][0]) > SLOW_READER_MS

    def _age(self, entry_id: bytes) -> int:
        return max(0, self._now_ms - int(entry_id.partition(b"-")[0]))

    def _overdue(self, instance: Instance, stream: str, told: Backlog) -> None:
        looked = f" (of {told.looked_at} looked at)"
        if told.overdue:
            found = (
                f"{len(told.overdue)} without a verdict after their time{looked}: {examples(told.overdue)}"
            )
            level = CRITICAL if instance.alive else self._left(instance)
            mend = (
                f"Its gateway looks for such entries every 30 s; if they stay, look at its log and restart "
                f"{instance.instance_id}."
            )
            self.report.add(level, stream, found, mend if instance.alive else self._undertaker(instance))
        if told.finished:
            found = f"{len(told.finished)} finished, yet still listed{looked}: {examples(told.finished)}"
            mend = "Its gateway looks for such entries every 30 s and lets go of them."
            self.report.add(WARNING, stream, found, mend if instance.alive else self._undertaker(instance))
