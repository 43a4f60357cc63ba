"""The cost of a command: from its entry on the outbound stream to its verdict in the log."""

from __future__ import annotations

import asyncio
import time
from itertools import count
from typing import Any, cast

from fsm.errors import GatewayFault
from store.client.client import connect
from store.keys import Keys

from .measuring import WARM, Cost, Server, each, spent, trackers
from .trackers import Trackers, frames_of

OUTSTANDING = 1000
"""Commands that wait for their verdict at any time."""
PAGE = 2000
GIVE_UP = 10.0
"""Seconds without a verdict after which the measurement has failed."""


def measure_commands(server: Server, url: str, instance_id: str, seconds: float) -> Cost:
    """The cost of a command, and how many a second had a verdict."""
    with trackers(server, OUTSTANDING) as fleet:
        fleet.load(frames_of(1), WARM)  # a device gets commands once its records are acknowledged
        return asyncio.run(_Commands(fleet, url, instance_id).measured(server, seconds))


class _Commands:
    """Commands to trackers, as many outstanding as there are trackers."""

    def __init__(self, fleet: Trackers, url: str, instance_id: str) -> None:
        self._fleet = fleet
        self._client: Any = connect(url, purpose="bench", block=1.0)
        self._keys = Keys()
        self._instance_id = instance_id
        self._number = count()
        self._after = "0"

    async def measured(self, server: Server, seconds: float) -> Cost:
        """The cost of a command in so many seconds."""
        try:
            self._after = await self._end_of_log()
            await self._send(len(self._fleet.imeis))
            await self._until(time.monotonic() + WARM)
            before, begun = spent(server), time.monotonic()
            verdicts = await self._until(begun + seconds)
            took = time.monotonic() - begun
            gateway, redis = each(verdicts, before, spent(server))
            return Cost(gateway, redis, verdicts / took)
        finally:
            await self._client.aclose()

    async def _end_of_log(self) -> str:
        newest = await self._client.xrevrange(self._keys.responses, count=1)
        return cast(str, newest[0][0].decode()) if newest else "0"

    async def _send(self, number: int) -> None:
        stream, imeis = self._keys.outbound(self._instance_id), self._fleet.imeis
        numbers = [next(self._number) for _ in range(number)]
        head = ("XADD", stream, "*", "payload", "getinfo")
        await self._client.batch(
            [(*head, "command_id", f"{imeis[0]}-{one}", "imei", imeis[one % len(imeis)]) for one in numbers]
        )

    async def _until(self, end: float) -> int:
        """Answer commands, and send one for each verdict, until then; how many verdicts there were."""
        verdicts, heard = 0, time.monotonic()
        while (now := time.monotonic()) < end:
            self._fleet.answer()
            if more := await self._verdicts():
                verdicts, heard = verdicts + more, now
                await self._send(more)
            elif now - heard > GIVE_UP:
                raise GatewayFault("The gateway gives no verdicts on commands.")
        return verdicts

    async def _verdicts(self) -> int:
        found = await self._client.xread({self._keys.responses: self._after}, count=PAGE)
        entries = found[0][1] if found else []
        if entries:
            self._after = entries[-1][0].decode()
        return sum(fields.get(b"terminal") == b"1" and b"command_id" in fields for _, fields in entries)
