"""The janitor: finds dead instances, has their work adopted, ends parked commands, and trims the streams.

Every instance runs one. An instance counts as dead when its heartbeat is missing twice, a grace apart. That
counts only while this process can trust what it reads: the server process is the same, it has been up long
enough for every live instance to renew its heartbeat, and no call of this process has failed for the time to
live of a heartbeat. Each script of an adoption checks the heartbeat once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, cast

from redis.asyncio import Redis

from store.client.delays import jittered
from store.client.errors import StoreError, is_transient
from store.client.numbers import whole
from store.client.replies import understood
from store.client.script import Script
from store.fleet.adoption import Alive
from store.fleet.device_status import DeviceStatusExpiry
from store.keys import Keys
from store.ledger.ledger import KEPT_FOR

_NOT_YET = -1


class ServerFacts(Protocol):
    """Facts about the server: a port, so that a simulation can replace it."""

    async def __call__(self) -> tuple[str, float]:
        """The run id of the server process and its uptime in seconds."""


def info(client: Redis) -> ServerFacts:
    """The facts of a real server."""

    async def facts() -> tuple[str, float]:
        found: Any = await cast(Any, client).info("server")
        return await understood(client, found, _read_facts)

    return facts


def _read_facts(found: Any) -> tuple[str, float]:
    return str(found["run_id"]), float(found["uptime_in_seconds"])


@dataclass(slots=True, frozen=True)
class JanitorSettings:
    """Times in seconds."""

    interval: float
    grace: float
    min_uptime: float
    heartbeat_ttl: float
    retention: float


class Janitor:
    """Cleans up after other instances.

    Args:
        adopt: adopts the work of a dead instance; raises `Alive` if it is back. Called when the instance is
            found dead, and again as long as its stream is not empty.
        trim: trims the streams.
        end_parked: ends parked commands whose time is over; whether there may be more of them.
        monotonic: seconds; now_ms: epoch ms of Redis.
    """

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        instance_id: str,
        settings: JanitorSettings,
        *,
        adopt: Callable[[str], Awaitable[None]],
        trim: Callable[[], Awaitable[None]],
        end_parked: Callable[[], Awaitable[bool]],
        monotonic: Callable[[], float],
        now_ms: Callable[[], int],
        on_error: Callable[[Exception], None],
        facts: ServerFacts | None = None,
    ) -> None:
        self._client = client
        self._keys = keys
        self._instance_id = instance_id
        self._settings = settings
        self._adopt = adopt
        self._end_parked = end_parked
        self._monotonic = monotonic
        self._now_ms = now_ms
        self._on_error = on_error
        self._trim_streams = trim
        self._facts = facts or info(client)
        self._run_id = ""
        self._trouble_at: float | None = None
        self._suspects: dict[str, float] = {}  # instance_id -> when its heartbeat was first missed
        self._dead: dict[str, int] = {}  # instance_id -> the start whose work was adopted, _NOT_YET for none
        self._forget = Script("forget.lua")
        self._device_status = DeviceStatusExpiry(client, keys)
        self._stop = asyncio.Event()

    def trouble(self) -> None:
        """A call to Redis failed in this process: for a time, missing heartbeats prove nothing."""
        self._trouble_at = self._monotonic()
        self._clear_all()

    async def run(self) -> None:
        """Check every interval, and when the grace of a suspect is over, until `stop`.

        While there are parked commands to end, one round follows the other: a million take minutes, and
        neither the check nor the trimming waits for all.
        """
        check_at = self._monotonic() + self._next_interval()
        while not await self._stopped_by(min([check_at, *self._due_times()])):
            if self._monotonic() >= check_at:
                check_at = self._monotonic() + self._next_interval()
                await self._attempt(self.check)
                more = await self._attempt(self._end_parked)
                await self._attempt(self.trim)
                if more:
                    check_at = self._monotonic()
            else:
                await self._attempt(self.check)

    async def _attempt(self, work: Callable[[], Awaitable[bool | None]]) -> bool:
        """What `work` returns; False if it fails."""
        try:
            return bool(await work())
        except StoreError as error:
            self._on_error(error)
            return False

    def stop(self) -> None:
        """Let `run` end."""
        self._stop.set()

    async def check(self) -> None:
        """Check all known instances. An error that concerns one of them does not affect the others.

        Raises:
            StoreError: a call failed.
        """
        if not await self._trusted():
            self._clear_all()
            return
        found: Any = await cast(Any, self._client).hgetall(self._keys.instances)
        known = {name.decode(errors="replace"): started for name, started in found.items()}
        for forgotten in self._suspects.keys() - known.keys():
            self._clear(forgotten)
        for instance_id, started in known.items():
            if instance_id != self._instance_id:
                await self._check_safely(instance_id, whole(started, 0))

    async def _check_safely(self, instance_id: str, started: int) -> None:
        try:
            await self._check_instance(instance_id, started)
        except StoreError as error:
            if is_transient(error):
                raise
            self._on_error(error)

    async def _trusted(self) -> bool:
        run_id, uptime = await self._facts()
        same, self._run_id = run_id == self._run_id or not self._run_id, run_id
        quiet = (
            self._trouble_at is None or self._monotonic() - self._trouble_at >= self._settings.heartbeat_ttl
        )
        return same and quiet and uptime >= self._settings.min_uptime

    async def _check_instance(self, instance_id: str, started: int) -> None:
        if await self._client.exists(self._keys.heartbeat(instance_id)):
            self._clear(instance_id)
            return
        now = self._monotonic()
        if instance_id not in self._suspects:
            self._suspects[instance_id] = now
            return
        if now < self._suspects[instance_id] + self._settings.grace:
            return
        adopted = self._dead.setdefault(instance_id, _NOT_YET) == started
        if not adopted or await self._client.xlen(self._keys.outbound(instance_id)):
            try:
                await self._adopt(instance_id)
            except Alive:
                self._clear(instance_id)
                return
            if instance_id in self._dead:  # not after an error in between
                self._dead[instance_id] = started
        if self._now_ms() - started > self._settings.retention * 1000:
            await self._forget_if_empty(instance_id)

    def _clear(self, instance_id: str) -> None:
        self._suspects.pop(instance_id, None)
        self._dead.pop(instance_id, None)

    def _clear_all(self) -> None:
        self._suspects.clear()
        self._dead.clear()

    async def _forget_if_empty(self, instance_id: str) -> None:
        names = [self._keys.instances, self._keys.heartbeat(instance_id), self._keys.outbound(instance_id)]
        await self._forget(self._client, names, [instance_id])

    async def trim(self) -> None:
        """Shorten the streams as far as their readers allow, and forget devices that are long gone.

        Raises:
            StoreError: a call failed.
        """
        retention_ms = round(self._settings.retention * 1000)
        await self._trim_streams()
        await self._expire(self._keys.deadletter, retention_ms)
        await self._expire(self._keys.kept, min(retention_ms, round(KEPT_FOR * 1000)))
        await self._device_status.expire(self._now_ms() - retention_ms)

    async def _expire(self, stream: str, after_ms: int) -> None:
        """Remove the entries of a stream that are older, exactly, whether they were read or not."""
        oldest = max(0, self._now_ms() - after_ms)
        await self._client.xtrim(stream, minid=f"{oldest}-0", approximate=False)

    def _next_interval(self) -> float:
        return jittered(self._settings.interval)

    def _due_times(self) -> list[float]:
        """When the grace of each suspect is over. Dead instances are checked once an interval."""
        grace = self._settings.grace
        return [since + grace for name, since in self._suspects.items() if name not in self._dead]

    async def _stopped_by(self, moment: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, moment - self._monotonic())):
                await self._stop.wait()
        return self._stop.is_set()
