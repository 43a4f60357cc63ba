"""The facts about the instances of a fleet: who is known, alive, holds devices, or has a stream."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from store.client.numbers import whole
from store.diagnosis.server import Report
from store.fleet.ownership import Holder
from store.keys import Keys

_PAGE = 1000


@dataclass(slots=True, frozen=True)
class Instance:
    """The facts about one instance.

    Attributes:
        known: whether it is in ``instances:known``, where janitors find it.
        heartbeat_ms: epoch ms of its last heartbeat; None without one.
        devices: number of devices that are registered to it.
        holder: the process that owns its id, as it describes itself.
    """

    instance_id: str
    known: bool
    heartbeat_ms: int | None
    devices: int
    holder: Holder | None = None

    @property
    def subject(self) -> str:
        """Its name in findings."""
        return f"instance {self.instance_id}"

    @property
    def alive(self) -> bool:
        """Whether it has a heartbeat."""
        return self.heartbeat_ms is not None


def _literal(text: str) -> str:
    """The pattern that matches only `text`, because a key prefix may have any character."""
    return re.sub(r"([\\*?[])", r"\\\1", text)


async def read_instances(report: Report, client: Redis, keys: Keys, now_ms: int) -> list[Instance]:
    """Every instance that is known, holds a device or has a stream; what cannot be read goes to `report`.

    Raises:
        StoreError: the server cannot be reached, or refuses all calls now.
    """
    return await _Reader(report, client, keys, now_ms).instances()


class _Reader:
    def __init__(self, report: Report, client: Any, keys: Keys, now_ms: int) -> None:
        self.report, self._client, self._keys, self._now_ms = report, client, keys, now_ms

    async def instances(self) -> list[Instance]:
        attempt, keys = self.report.attempt, self._keys
        known: Any = await attempt(keys.instances, self._client.hgetall(keys.instances), {})
        held = await attempt(keys.registry, self._devices(), {})
        addressed = await attempt("streams", self._addressed(), set())
        await attempt(keys.sessions, self._client.hget(keys.sessions, ""), None)  # checks only its type
        listed = {name.decode(errors="replace") for name in known}
        return [
            Instance(
                name,
                name in listed,
                await self._heartbeat_ms(name),
                held.get(name, 0),
                await self._holder(name),
            )
            for name in sorted(listed | held.keys() | addressed)
        ]

    async def _addressed(self) -> set[str]:
        """Instances with a stream: the name may be misspelled, or the gateway was never started."""
        prefix = self._keys.outbound("")
        streams = self._client.scan_iter(f"{_literal(prefix)}*", count=_PAGE)
        return {key.decode(errors="replace").removeprefix(prefix) async for key in streams}

    async def _devices(self) -> Mapping[str, int]:
        held: Counter[str] = Counter()
        async for _, name in self._client.hscan_iter(self._keys.registry, count=_PAGE):
            held[name.decode(errors="replace")] += 1
        return held

    async def _heartbeat_ms(self, instance_id: str) -> int | None:
        key = self._keys.heartbeat(instance_id)
        value: bytes | None = await self.report.attempt(key, self._client.get(key), None)
        if value is None:
            return None
        return whole(value, self._now_ms)

    async def _holder(self, instance_id: str) -> Holder | None:
        attempt, holder, boot = (
            self.report.attempt,
            self._keys.holder(instance_id),
            self._keys.boot(instance_id),
        )
        owner: bytes | None = await attempt(boot, self._client.get(boot), None)
        words: Any = await attempt(holder, self._client.hgetall(holder), {})
        return Holder.read(owner.decode(errors="replace"), words) if owner else None
