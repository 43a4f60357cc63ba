"""Files of the operator that are read again while the gateway runs: TLS files and the allow-list.

One task reads all of them, so no file is read twice at the same time. `reload`, which SIGHUP calls, reads all
files again. Besides, an allow-list in a file is checked for changes once a second. A part (TLS, or the
allow-list) is replaced as a whole: if it cannot be used, that is logged, and the former one stays in use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import structlog

from fsm.errors import GatewayError
from store.client.errors import StoreError
from store.fleet.allow_list import RedisAllowList
from transport.connection.allow_list import AllowListPort, file_list, why_unreadable
from transport.daemon.listeners import Listeners
from transport.settings import Settings

log = structlog.get_logger("telgw")

CHECK_INTERVAL = 1.0
"""Seconds between two checks of the allow-list file."""

Facts = dict[str, Any]


class Files:
    """Reads the files again when the allow-list file has changed, and on request.

    Args:
        list_in_redis: the allow-list, if it is in Redis.

    Attributes:
        allow_list: the list, in a file or in Redis; None without one.
    """

    def __init__(
        self, settings: Settings, listeners: Listeners, list_in_redis: RedisAllowList | None
    ) -> None:
        self._settings = settings
        self._listeners = listeners
        self._list_in_file = file_list(settings)
        self.allow_list: AllowListPort | None = list_in_redis or self._list_in_file
        self._asked = asyncio.Event()

    def tls_ends(self) -> float | None:
        """Epoch seconds when the first of certificate, CA and revocation lists expires; None without TLS."""
        until = self._listeners.tls_until
        return until.timestamp() if until else None

    def reload(self) -> None:
        """Read everything again, in the background."""
        self._asked.set()

    async def run(self) -> None:
        """Check and reload, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_INTERVAL if self._list_in_file else None):
                    await self._asked.wait()
            if self._asked.is_set():
                self._asked.clear()
                await self._reload()
            elif self._list_in_file:
                await self._list_in_file.reload_if_changed()

    async def _reload(self) -> None:
        tls = await self._part("tls", self._tls)
        allow_list = await self._part("allow_list", self._devices)
        if tls is not None or allow_list is not None:
            log.info("reloaded", **(tls or {}), **(allow_list or {}))

    async def _part(self, part: str, reload: Callable[[], Awaitable[Facts]]) -> Facts | None:
        """Facts about what was read, for the log; None if it cannot be used."""
        try:
            return await reload()
        except (GatewayError, StoreError, OSError, ValueError) as error:
            log.error("reload_failed", part=part, error=why_unreadable(error), in_use="the former files")
            return None

    async def _tls(self) -> Facts:
        tls = await self._listeners.reload_tls()
        return (
            {}
            if tls is None
            else {"tls": [str(path) for path in tls.files], "tls_until": tls.until.isoformat()}
        )

    async def _devices(self) -> Facts:
        if self.allow_list is None:
            return {}
        devices = await self.allow_list.reload()
        return {"allow_list": self._settings.allow_list, "devices": devices}
