"""Files of the operator that are read again while the gateway runs: TLS, allow-list, AVL ids, policy.

One task reads all of them, so no file is read twice at the same time. `reload`, which SIGHUP calls, reads all
files again. Besides, an allow-list in a file is checked for changes once a second. Each part is replaced as a
whole: if it cannot be used, that is logged, and the former one stays in use.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import structlog

from fsm.command_policy import Policy, read_policy
from fsm.errors import GatewayError
from store.client.errors import StoreError
from store.fleet.allow_list import RedisAllowList
from store.fleet.device_families import DeviceFamilies
from transport.commands.policy_gate import PolicyGate
from transport.connection.allow_list import AllowListPort, file_list, why_unreadable
from transport.connection.file_reader import FileReader, regular
from transport.daemon.listeners import Listeners
from transport.settings import Settings
from transport.teltonika.avl_ids import AvlDictionary, dictionary, families_of
from transport.teltonika.io_names import IoNames

log = structlog.get_logger("telgw")

CHECK_INTERVAL = 1.0
"""Seconds between two checks of the allow-list file."""

Facts = dict[str, Any]


class Files:
    """Reads the files again when the allow-list file has changed, and on request.

    Args:
        list_in_redis: the allow-list, if it is in Redis.
        families: the families of devices, with ``--io-names`` or ``--policy``.

    Attributes:
        io_names: names IO values; None without ``--io-names``.
        policy: judges commands.
        allow_list: the list, in a file or in Redis; None without one.
    """

    def __init__(
        self,
        settings: Settings,
        listeners: Listeners,
        list_in_redis: RedisAllowList | None,
        families: DeviceFamilies | None = None,
    ) -> None:
        self._settings = settings
        self._own_ids = FileReader("The file of --avl-ids")
        self.io_names: IoNames | None = None
        if families is not None and settings.io_names == "on":
            self.io_names = IoNames(self._own_ids.read_now(self._read_ids), families.of)
        self._policy_file = FileReader("The file of --policy")
        self.policy = PolicyGate(
            settings.allow_verbs,
            None if settings.policy is None else self._policy_file.read_now(self._read_policy),
            lambda imei: () if families is None else families_of(families.of(imei)),
            time.monotonic,
        )
        self._listeners = listeners
        self._list_in_file = file_list(settings)
        self.allow_list: AllowListPort | None = list_in_redis or self._list_in_file
        self._asked = asyncio.Event()
        self._done: Callable[[], None] = lambda: None

    def tls_ends(self) -> float | None:
        """Epoch seconds when the first of certificate, CA and revocation lists expires; None without TLS."""
        until = self._listeners.tls_until
        return until.timestamp() if until else None

    def reload(self, done: Callable[[], None] = lambda: None) -> None:
        """Read everything again, in the background; `done` is called when that is over."""
        self._done = done
        self._asked.set()

    async def run(self) -> None:
        """Check and reload, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_INTERVAL if self._list_in_file else None):
                    await self._asked.wait()
            if self._asked.is_set():
                self._asked.clear()
                try:
                    await self._reload()
                finally:
                    self._done()
            elif self._list_in_file:
                await self._list_in_file.reload_if_changed()

    async def _reload(self) -> None:
        tls = await self._part("tls", self._tls)
        allow_list = await self._part("allow_list", self._devices)
        names = await self._part("avl_ids", self._names)
        policy = await self._part("policy", self._rules)
        found = [facts for facts in (tls, allow_list, names, policy) if facts is not None]
        if found:
            log.info("reloaded", **{name: fact for facts in found for name, fact in facts.items()})

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

    async def _names(self) -> Facts:
        if self.io_names is None or self._settings.avl_ids is None:
            return {}
        self.io_names.use(await self._own_ids.read(self._read_ids))
        return {"avl_ids": str(self._settings.avl_ids)}

    async def _rules(self) -> Facts:
        if self._settings.policy is None:
            return {}
        policy = await self._policy_file.read(self._read_policy)
        self.policy.use(policy)
        return {"policy": str(self._settings.policy), "rules": len(policy.rules)}

    def _read_policy(self) -> Policy:
        """The policy in its file; runs in a thread."""
        assert self._settings.policy is not None
        with open(self._settings.policy, encoding="utf-8-sig", opener=regular) as file:
            return read_policy(file.read(), self._settings.policy.name)

    def _read_ids(self) -> AvlDictionary:
        """The dictionary of AVL ids; runs in a thread."""
        path = self._settings.avl_ids
        if path is None:
            return dictionary()
        with open(path, encoding="utf-8-sig", opener=regular) as file:
            return dictionary(file.read(), path.name)
