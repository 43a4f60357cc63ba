"""The heartbeat: how other instances know that this one lives, and how it learns that it was replaced.

When the instance id may be taken from another process is decided by `store.fleet.ownership`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis

from store.client.errors import NotOwnerYet, StoreError
from store.client.replies import read_time, understood
from store.client.script import Script
from store.fleet.ownership import Holder, HolderWatched, InstanceHeld, Seen, Watch
from store.keys import Keys

RETRY = 1.0
"""Seconds between attempts to take over, and between renewals while calls to Redis fail."""
TRIES = 3
NOBODY = Seen()
STOPPED = "stopped"
"""Field of the holder after an orderly stop: epoch ms."""


def expiry(ttl: float) -> tuple[str, int]:
    """`ttl` seconds as SET spells it: ``EX`` in whole seconds, else ``PX`` in milliseconds."""
    return ("EX", int(ttl)) if ttl == int(ttl) else ("PX", max(1, round(ttl * 1000)))


class Heartbeat:
    """Renews the heartbeat of one process.

    Args:
        interval: seconds between renewals.
        ttl: seconds that the instance counts as alive after a renewal.
        on_renewed: called with the time of Redis, epoch ms, at each renewal.
        on_failure: called with the error of a failed renewal; the next renewal tries again.
        on_fenced: called once, when another process has taken the instance id.
        on_watched: called by `run` as long as another process owns the instance id and may be alive.
        on_held: called by `run` when a live process owns the instance id, which this one never had.
        watch: decides when the instance id may be taken.
        remembered: seconds for which others know that this instance was stopped in order.
    """

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        instance_id: str,
        boot_id: str,
        interval: float,
        ttl: float,
        *,
        on_renewed: Callable[[int], None],
        on_failure: Callable[[Exception], None],
        on_fenced: Callable[[], None],
        on_watched: Callable[[HolderWatched], None] = lambda _: None,
        on_held: Callable[[InstanceHeld], None] = lambda _: None,
        watch: Watch | None = None,
        remembered: float = 7 * 86400.0,
    ) -> None:
        self._client = client
        self._names = [
            *(keys.heartbeat(instance_id), keys.boot(instance_id)),
            *(keys.instances, keys.holder(instance_id)),
        ]
        self._watch = watch or Watch(instance_id, lambda: Holder(boot_id, interval=interval))
        self._identity = (instance_id, boot_id)
        self._interval = interval
        self._expiry = expiry(ttl)
        self._ttl_ms = round(ttl * 1000)
        self._renewed_ms = 0
        self._remembered_ms = round(remembered * 1000)
        self._on_renewed = on_renewed
        self._on_failure = on_failure
        self._on_fenced = on_fenced
        self._on_watched = on_watched
        self._on_held = on_held
        self._script = Script("heartbeat.lua")
        self._stop = asyncio.Event()
        self._wake = asyncio.Event()
        self._soon = False
        self._calling = asyncio.Lock()
        self.taken = False
        """Whether this process has taken the instance id."""
        self.displaced: tuple[Holder, str] | None = None
        """The owner from which this process took the instance id, and why it could be taken."""
        self.lapses = 0
        """How often others may have taken this instance for dead until a renewal: also before the first one,
        and when Redis told an earlier time than before."""

    async def take_over(self) -> int:
        """Take over the instance id unless its owner is alive, and renew the heartbeat; the time of Redis.

        The time is in epoch ms. The script replaces only the owner that was read before: a delayed call,
        which reaches Redis after this process has ended and another one has started, changes nothing.

        Raises:
            InstanceHeld: a live process owns it.
            HolderWatched: another process owns it and may be alive: call this again.
            StoreError: the call failed. The next renewal takes over instead.
        """
        for _ in range(TRIES):
            now_ms = await self._take(await self.read_owner())
            if now_ms is not None:
                self.taken = True
                self._renewed(now_ms)
                return now_ms
        raise NotOwnerYet("The owner of the instance id changes all the time.")

    async def read_owner(self) -> Seen:
        """The owner of the instance id now.

        Raises:
            StoreError: the call failed.
        """
        client: Any = self._client
        heartbeat_key, boot, _, holder = self._names
        try:
            owner = await client.get(boot) or b""
            heartbeat = await client.get(heartbeat_key) or b"" if owner else b""
            description = await client.hgetall(holder) if owner else {}
        except StoreError:
            self._watch.restart()
            raise
        return Seen(owner, heartbeat, Holder.read(owner.decode(errors="replace"), description))

    async def _take(self, seen: Seen) -> int | None:
        """Take the instance id from the owner that was read; None if the owner has changed since."""
        why = self._watch.decide(seen)
        if seen.boot not in (b"", self._identity[1].encode()):
            self.displaced = (seen.holder, why)
        try:
            return await self._call("take_over", seen)
        except StoreError:
            self._watch.restart()
            raise

    def shared_for(self) -> float:
        """Seconds for which a replaced process may still run, until its next heartbeat fails."""
        return self._interval + 1.0 if self.displaced else 0.0

    async def renew(self) -> int | None:
        """Renew the heartbeat once; the time of Redis, epoch ms.

        None if another process owns the instance id, and after `stop`.

        Raises:
            InstanceHeld: this process does not own the instance id yet, and a live process does.
            StoreError: the call failed, or it is not known yet whether the owner is alive.
        """
        if self._stop.is_set():
            return None
        if not self.taken:
            return await self.take_over()
        now_ms = await self._call("renew")
        if now_ms is None:
            self.stop()
            self._on_fenced()
        else:
            self._renewed(now_ms)
        return now_ms

    def _renewed(self, now_ms: int) -> None:
        if not 0 <= now_ms - self._renewed_ms < self._ttl_ms:
            self.lapses += 1
        self._renewed_ms = now_ms
        self._on_renewed(now_ms)

    async def run(self) -> None:
        """Renew every interval until `stop`; the first time one interval from now.

        An instance id that could not be taken over at the start is tried for more often: until then it may
        belong to another process, and nothing of ours is carried out. If that one lives, `run` ends.
        """
        while await self._due():
            try:
                await self.renew()
            except InstanceHeld as held:
                self.stop()
                self._on_held(held)
            except HolderWatched as watched:
                self._on_watched(watched)
            except StoreError as error:
                self.renew_soon()
                self._on_failure(error)

    def renew_soon(self) -> None:
        """Renew within `RETRY` seconds, whatever the interval.

        Called after any call to Redis that failed: the first heartbeat that is renewed shows that Redis is
        back, and the registry is reconciled then.
        """
        self._soon = True
        self._wake.set()

    def stop(self) -> None:
        """Let `run` end, and never renew again.

        If a successor cannot reach Redis its ownership expires, and a renewal would take the id from it.
        """
        self._stop.set()
        self._wake.set()

    async def release(self) -> None:
        """Stop, and say that this instance is gone, unless another process owns its id by now.

        Raises:
            StoreError: the call failed; the heartbeat then ends by its time to live.
        """
        self.stop()
        await self._call("release")

    async def _call(self, act: str, seen: Seen = NOBODY) -> int | None:
        arguments: list[str | bytes | int] = [act, *self._identity, *self._expiry]
        if act == "release":
            arguments.append(self._remembered_ms)
        else:
            arguments += [*seen[:2], *self._watch.own.fields()]
        async with self._calling:  # a renewal that is overtaken by the release would bring the key back
            reply = await self._script(self._client, self._names, arguments)
        return None if reply in (b"FENCED", b"CHANGED") else await understood(self._client, reply, read_time)

    @property
    def pause(self) -> float:
        """Seconds until the next renewal."""
        return min(RETRY, self._interval) if self._soon or not self.taken else self._interval

    async def _due(self) -> bool:
        """Wait until the next renewal is due; False after `stop`."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while not self._stop.is_set():
            left = begun + self.pause - loop.time()
            if left <= 0:
                self._soon = False
                return True
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._wake.wait()
        return False
