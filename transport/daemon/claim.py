"""How a gateway comes to own its instance id, and what its log tells of the other process that has it.

While another process has the id and may live, a starting gateway waits and no device can connect to it: a
device must not be accepted by a gateway that may have to end at once. Only when Redis cannot be asked at
all does it go on without the id: then nobody knows whether there is another process, and devices are
served. When Redis is back the same rule decides, and a gateway that finds its id with a living process
ends in order.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog

from store.client.errors import StoreError
from store.client.url import redacted
from store.fleet.ownership import GONE, Holder, HolderWatched, InstanceHeld
from transport.daemon.backend import Backend

log = structlog.get_logger("telgw")

LOOK_EVERY = 0.25
"""Seconds between two looks at the owner of the id, while a start waits."""
TELL_WITHIN = 1.5
"""Seconds in which Redis has to say who has displaced us."""
ADVICE = "If that was not meant, stop one of the two, or give it another --instance-id."


class Claim:
    """The claim of one process to its instance id.

    Args:
        redis: URL of Redis, for the log.
        stop: set when the process is told to end.
    """

    def __init__(self, instance_id: str, backend: Backend, redis: str, stop: asyncio.Event) -> None:
        self._instance_id = instance_id
        self._backend = backend
        self._redis = redis
        self._stop = stop
        self._told: Holder | None = None

    async def make(self) -> None:
        """Own the instance id, or know that Redis is away, or be told to stop.

        Raises:
            InstanceHeld: a living process has it.
        """
        try:
            await self._backend.heartbeat.take_over()
        except HolderWatched as watched:
            self.watched(watched)
            await self._wait()
        except StoreError as error:
            self._backend.report("heartbeat", error)
            log.warning(
                "degraded", redis=redacted(self._redis), meaning="devices are served, nothing is stored"
            )

    async def _wait(self) -> None:
        """Look again and again; a Redis that goes away meanwhile proves nothing and is waited for."""
        while not await self._stopped():
            try:
                await self._backend.heartbeat.take_over()
                return
            except HolderWatched as watched:
                self.watched(watched)
            except StoreError as error:
                self._backend.report("heartbeat", error)

    async def _stopped(self) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY):
                await self._stop.wait()
        return self._stop.is_set()

    # What the log tells

    def watched(self, watched: HolderWatched) -> None:
        """Another process has the id, and may live: told once."""
        if watched.holder.boot_id and self._told != watched.holder:
            self._told = watched.holder
            log.warning(
                "instance_id_held",
                instance_id=self._instance_id,
                holder=str(watched.holder),
                waits_s=watched.patience,
                meaning="It is taken if its holder shows no heartbeat in this time; else this process ends.",
            )

    def taken(self) -> None:
        """The id is ours: told if it was another's."""
        if self._backend.heartbeat.displaced:
            before, why = self._backend.heartbeat.displaced
            write, more = (log.info, {}) if why == GONE else (log.warning, {"advice": ADVICE})
            write("instance_id_taken", instance_id=self._instance_id, before=str(before), because=why, **more)

    def held(self, held: InstanceHeld) -> None:
        """A living process has the id, and this one has begun without it, while Redis was away."""
        log.critical("instance_id_held", instance_id=self._instance_id, meaning=str(held))

    async def lost(self) -> None:
        """Another process has taken the id from this one: tell which."""
        holder = "a process that is not known"
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(TELL_WITHIN):
                holder = str((await self._backend.heartbeat.look()).holder)
        log.critical("fenced", instance_id=self._instance_id, displaced_by=holder, advice=ADVICE)
