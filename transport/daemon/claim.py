"""How a gateway takes its instance id, and what it logs about another process that owns it.

As long as another process owns the id and may be alive, a starting gateway waits and accepts no devices: a
device must not be accepted by a gateway that may have to end at once. Only if Redis cannot be reached, the
gateway goes on without the id: whether there is another process is unknown, and devices are served. When
Redis is back the same rule applies, and a gateway whose id belongs to a live process ends in order.
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

CHECK_INTERVAL = 0.25
"""Seconds between two checks of the owner, while a start waits."""
TELL_WITHIN = 1.5
"""Seconds in which Redis has to name the process that has taken the id from this one."""
ADVICE = "If that was not intended, stop one of the two, or give it another --instance-id."


class Claim:
    """The claim of one process to its instance id.

    Args:
        redis: URL of Redis, for the log.
        stop: set when the process has to end.
    """

    def __init__(self, instance_id: str, backend: Backend, redis: str, stop: asyncio.Event) -> None:
        self._instance_id = instance_id
        self._backend = backend
        self._redis = redis
        self._stop = stop
        self._logged: Holder | None = None

    async def make(self) -> None:
        """Return when the instance id is taken, Redis cannot be reached, or `stop` is set.

        Raises:
            InstanceHeld: a live process owns it.
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
        """Try again at intervals. If Redis cannot be reached now, that proves nothing: wait for it, too."""
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
            async with asyncio.timeout(CHECK_INTERVAL):
                await self._stop.wait()
        return self._stop.is_set()

    # Log

    def watched(self, watched: HolderWatched) -> None:
        """Log once that another process owns the id and may be alive."""
        if watched.holder.boot_id and self._logged != watched.holder:
            self._logged = watched.holder
            log.warning(
                "instance_id_held",
                instance_id=self._instance_id,
                holder=str(watched.holder),
                waits_s=watched.wait_s,
                meaning="It is taken if its owner sends no heartbeat in this time; else this process ends.",
            )

    def taken(self) -> None:
        """The id is taken: log it if another process owned it."""
        if self._backend.heartbeat.displaced:
            before, why = self._backend.heartbeat.displaced
            write, more = (log.info, {}) if why == GONE else (log.warning, {"advice": ADVICE})
            write("instance_id_taken", instance_id=self._instance_id, before=str(before), because=why, **more)

    def held(self, held: InstanceHeld) -> None:
        """Log that a live process owns the id. This process started without it, while Redis was away."""
        log.critical("instance_id_held", instance_id=self._instance_id, meaning=str(held))

    async def lost(self) -> None:
        """Log which process has taken the id from this one."""
        holder = "an unknown process"
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(TELL_WITHIN):
                holder = str((await self._backend.heartbeat.read_owner()).holder)
        log.critical("fenced", instance_id=self._instance_id, displaced_by=holder, advice=ADVICE)
