"""A producer that looks a device up, appends commands, and repeats what Redis did not confirm."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from store.client.client import connect
from store.client.errors import StoreError
from store.keys import Keys
from tests.history import Fields, History, Produced


class Producer:
    """Asks by the contract: the same ``command_id`` again is the same command, so repeating is safe.

    Args:
        otherwise: the instance asked when nobody holds the device.

    Attributes:
        again: share of the commands that `begin` asks for twice.
    """

    def __init__(
        self, url: str, history: History, random: Random, *, otherwise: str = "gw-1", keys: Keys | None = None
    ) -> None:
        self._keys = keys or Keys()
        self._history = history
        self._random = random
        self._otherwise = otherwise
        self._count = 0
        self.again = 0.05
        self.client: Any = connect(url, purpose="producer", key_prefix=self._keys.prefix)
        self._asking: asyncio.Task[None] | None = None
        self._enough = False
        self._closed = False

    async def aclose(self) -> None:
        """Let go of the connections."""
        self._closed = True
        await self.stop()
        await self.client.aclose()

    async def ask(self, imei: str, **more: str) -> str:
        """Ask for a command; its id."""
        self._count += 1
        fields = {
            "command_id": f"c{self._count}",
            "imei": imei,
            "payload": f"setdigout {self._count:06d}",
            "codec": self._random.choice(("12", "14")),
        } | more
        await self._append(imei, fields)
        return fields["command_id"]

    def begin(self, imeis: list[str], per_second: float) -> None:
        """Ask on and on, with duplicates and cancels among it, until `stop`."""
        self._enough = False
        self._asking = asyncio.create_task(self._ask_among(imeis, per_second))

    async def stop(self) -> None:
        """Ask no more. By a flag: redis-py swallows cancellations on Python 3.11."""
        self._enough = True
        if self._asking is not None:
            await self._asking

    async def _ask_among(self, imeis: list[str], per_second: float) -> None:
        while not self._enough:
            imei = self._random.choice(imeis)
            command_id = await self.ask(
                imei, **({"expect_response": "0"} if self._random.random() < 0.1 else {})
            )
            if self._random.random() < self.again:
                await self._append(imei, self._history.produced[-1].fields)
            if self._random.random() < 0.05:
                await self._append(imei, {"type": "cancel", "command_id": command_id})
            await asyncio.sleep(self._random.uniform(0.0, 2.0 / per_second))

    async def _append(self, imei: str, fields: Fields) -> None:
        while True:
            try:
                holder = await self.client.hget(self._keys.registry, imei)
                instance = holder.decode() if holder else self._otherwise
                entry = await self.client.xadd(self._keys.outbound(instance), fields)
            except StoreError:
                if self._closed:
                    return
                await asyncio.sleep(0.1)
                continue
            self._history.produced.append(Produced(instance, entry.decode(), dict(fields)))
            return
