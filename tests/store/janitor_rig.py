"""A janitor with the server it asks, and all that it is seen to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from freezegun.api import FrozenDateTimeFactory
from redis.asyncio import Redis

from store.fleet.janitor import Janitor, JanitorSettings
from store.keys import Keys
from store.streams.caps import CapSettings, Memory, stream_caps
from store.streams.trimmer import Trimmer

KEYS = Keys()
SETTINGS = JanitorSettings(
    interval=60,
    grace=30,
    min_uptime=180,
    heartbeat_ttl=90,
    retention=3600,
)
CAPS = CapSettings(responses_maxlen=300, telemetry_maxlen=300, session_events="sessions:events")


class JanitorRig:
    """A janitor, the server it asks, and what it was seen to do."""

    def __init__(self, client: Redis, settings: JanitorSettings = SETTINGS) -> None:
        self.client: Any = client
        self.run_id, self.uptime = "run 1", 1000.0
        self.rounds = 0
        self.parked_rounds = self.parked_pages = 0
        self.adopted: list[str] = []
        self.errors: list[Exception] = []
        self.trimmed: list[tuple[str, int]] = []
        self.changed = asyncio.Event()
        self.on_adopt: Callable[[str], None] = lambda _: None
        self.trimmer = Trimmer(
            client,
            KEYS,
            stream_caps(KEYS, CAPS),
            retention=settings.retention,
            now_ms=lambda: round(time.time() * 1000),
            on_trimmed=lambda stream, unread: self.trimmed.append((stream, unread)),
            memory=self._memory,
        )
        self.janitor = Janitor(
            client,
            KEYS,
            "us",
            settings,
            adopt=self._adopt,
            trim=self.trimmer.trim,
            end_parked=self._end_parked,
            monotonic=lambda: time.monotonic(),  # asked at call time, for the clock may be frozen
            now_ms=lambda: round(time.time() * 1000),
            on_error=self._on_error,
            facts=self._facts,
        )

    async def _facts(self) -> tuple[str, float]:
        self.rounds += 1
        self.changed.set()
        await self.client.ping()
        return self.run_id, self.uptime

    async def _memory(self) -> Memory:
        return Memory()

    async def _adopt(self, instance_id: str) -> None:
        self.adopted.append(instance_id)
        self.changed.set()
        self.on_adopt(instance_id)

    async def _end_parked(self) -> bool:
        self.parked_rounds += 1
        self.parked_pages -= 1
        self.changed.set()
        return self.parked_pages > 0

    def _on_error(self, error: Exception) -> None:
        self.errors.append(error)
        self.changed.set()

    async def know(self, *instances: str) -> None:
        for instance in instances:
            await self.client.hset(KEYS.instances, instance, round(time.time() * 1000))

    async def renew_heartbeat(self, instance: str) -> None:
        await self.client.set(KEYS.heartbeat(instance), "1", ex=90)

    async def known(self) -> list[str]:
        return sorted(name.decode(errors="replace") for name in await self.client.hkeys(KEYS.instances))

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.changed.clear()
            await self.changed.wait()


async def die(rig: JanitorRig, frozen: FrozenDateTimeFactory) -> None:
    """Look twice, a grace apart."""
    await rig.janitor.check()
    frozen.tick(SETTINGS.grace)
    await rig.janitor.check()
