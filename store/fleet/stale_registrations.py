"""Stale registrations: entries of the registry that name an instance for devices which it does not hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any, cast

from redis.asyncio import Redis

from fsm.events import SessionEvent
from fsm.reasons import INSTANCE_LOST
from fsm.registration import Registered, RegisterResult, token_of
from fsm.session import CLOSED
from store.client.delays import jittered
from store.client.errors import StoreError
from store.client.replies import one_each, understood
from store.fleet.registry import Registrar
from store.keys import Keys

SELDOM = 3600.0
"""Seconds: a scan of a registry with a million devices takes Redis a second."""


async def held_by(client: Redis, keys: Keys, instance_id: str) -> AsyncIterator[list[bytes]]:
    """The devices that are registered for the instance, in pages, as they are written there.

    Raises:
        StoreError: a call failed.
    """
    cursor, name = 0, instance_id.encode()
    while True:
        cursor, found = await cast(Any, client).hscan(keys.registry, cursor, count=1000)
        imeis = [imei for imei, holder in found.items() if holder == name]
        if imeis:
            yield imeis
        if not cursor:
            return


def lost_session(session_id: str, imei: str, instance_id: str) -> SessionEvent:
    """The end of a session that ended with its process. Its last `seq` is not known."""
    return SessionEvent(
        session_id=session_id,
        seq=0,
        state=CLOSED,
        prev="",
        trigger="close",
        reason=INSTANCE_LOST,
        imei=imei,
        instance_id=instance_id,
        terminal=True,
    )


class StaleRegistrations:
    """Removes entries that name this instance for devices which are not connected to it.

    They remain if the instance restarts after a crash before any janitor notices, or if Redis loses a
    removal. No janitor adopts the work of a live instance, so without this task they would stay for ever.

    Args:
        registrar: the registrar of this process; only it registers devices for this instance.
        boot_id: of this process; its sessions are not removed here.
        grace: seconds in which the devices of an earlier process may come back.
        every: seconds between two scans, as long as they find something.
        is_here: whether a device has a session on this process.
        on_closed: called with every session of an earlier process that has ended.
        on_error: called with every failed call.
    """

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        instance_id: str,
        boot_id: str,
        registrar: Registrar,
        *,
        grace: float,
        every: float,
        is_here: Callable[[str], bool],
        on_closed: Callable[[SessionEvent], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._client = client
        self._keys = keys
        self._instance_id = instance_id
        self._boot_id = boot_id
        self._registrar = registrar
        self._grace = grace
        self._every = every
        self._is_here = is_here
        self._on_closed = on_closed
        self._on_error = on_error

    async def run(self) -> None:
        """Scan after the grace, and then repeatedly; the pause grows as long as scans find nothing.

        A scan that fails has found out nothing. While Redis is away the process may not even own its instance
        id, and an earlier one may go on registering devices for it.
        """
        await asyncio.sleep(self._grace)
        pause = self._every
        while True:
            try:
                clean = not await self.remove_stale()
            except StoreError as error:
                clean = False
                self._on_error(error)
            await asyncio.sleep(jittered(pause))
            pause = min(2 * pause, SELDOM) if clean else self._every

    async def remove_stale(self) -> int:
        """Scan once and remove stale entries; their number.

        Raises:
            StoreError: a call failed.
        """
        count = 0
        async for imeis in held_by(self._client, self._keys, self._instance_id):
            texts = [imei.decode(errors="replace") for imei in imeis]
            gone = [imei for imei in texts if not self._is_here(imei)]
            count += len(gone)
            if gone:
                await self._remove(gone)
        return count

    async def _remove(self, imeis: Sequence[str]) -> None:
        """Queue the removals. A device that connects later is registered later, or has another token."""
        found: Any = await cast(Any, self._client).hmget(self._keys.sessions, imeis)
        tokens = await understood(self._client, found, partial(one_each, imeis))
        for imei, token in zip(imeis, tokens, strict=True):
            if not self._is_here(imei):
                session_id = token_of((token or b"").decode(errors="replace"))
                self._registrar.unregister(imei, session_id, partial(self._removed, imei, session_id))

    def _removed(self, imei: str, session_id: str, result: RegisterResult) -> None:
        ours = session_id.startswith(f"{self._boot_id}-")
        if result.status is Registered.REMOVED and session_id and not ours:
            self._on_closed(lost_session(session_id, imei, self._instance_id))
