"""Ends parked commands whose time is over. Every janitor does; each move is a compare-and-set.

The sorted set of the devices that are waited for has, for each, a time before which none of its parked
commands expires: it may be too early after one of them was taken up or cancelled, and is then corrected here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from redis.asyncio import Redis

from fsm.command import CommandRequest
from fsm.errors import InvalidCommand
from fsm.events import CommandEvent
from fsm.moves import Discard, MoveResult, Step
from fsm.parked import expire, left_over, read_parked, unreadable
from store.client.errors import StoreError
from store.client.script import Script
from store.keys import Keys
from store.ledger.ledger import BATCH, Ledger

PAGE = 100
"""Devices that are handled together."""
ROUND = 10_000
"""Commands that are ended, about, before other work of the janitor has its turn."""


def _nothing(result: MoveResult) -> None:
    """Results are returned, not called back."""


class ParkedExpiry:
    """Ends the parked commands that are due, in the whole fleet.

    Attributes:
        devices: for how many devices commands were parked when that was looked at last.

    Args:
        now_ms: epoch ms by the clock of Redis.
        on_ended: called with the terminal event of each command that was ended.
    """

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        ledger: Ledger,
        *,
        now_ms: Callable[[], int],
        on_ended: Callable[[CommandEvent], None],
    ) -> None:
        self._client = cast(Any, client)
        self._keys = keys
        self._ledger = ledger
        self._now_ms = now_ms
        self._on_ended = on_ended
        self._set_times = Script("parked.lua")
        self.devices = 0

    async def end_due(self) -> bool:
        """End what is due now, about `ROUND` commands at most; safe to repeat, and beside other gateways.

        Returns:
            Whether there may be more that is due.

        Raises:
            StoreError: a call failed.
        """
        seen: set[str] = set()
        stuck: set[str] = set()
        ended = 0
        while ended < ROUND and (page := await self._due(len(stuck))):
            imeis = [imei for imei in page if imei not in seen]
            if not imeis and stuck.issuperset(page):
                break
            stuck.update(seen.intersection(page))
            seen.update(imeis)
            ended += await self._end(imeis) if imeis else 0
        self.devices = int(await self._client.zcard(self._keys.parked_devices))
        return ended >= ROUND

    async def _due(self, start: int) -> list[str]:
        """A page of devices with commands that may be due, behind `start` that cannot be handled."""
        found: Any = await self._client.zrangebyscore(
            self._keys.parked_devices, "-inf", self._now_ms(), start=start, num=PAGE
        )
        return [imei.decode(errors="replace") for imei in found]

    async def _end(self, imeis: list[str]) -> int:
        """End what is due for these devices; how many commands."""
        streams = [self._keys.parked(imei) for imei in imeis]
        replies = await self._client.batch([("XRANGE", stream, "-", "+") for stream in streams])
        readable = [
            (imei, stream, reply)
            for imei, stream, reply in zip(imeis, streams, replies, strict=True)
            if not isinstance(reply, StoreError)
        ]
        letters: list[Discard] = []
        due: list[CommandRequest] = []
        for imei, _, entries in readable:
            for entry_id, fields in entries:
                self._judge(imei, entry_id.decode(), fields, due, letters)
        ended = 0
        for letter in letters:
            (result,) = await self._ledger.execute(letter)
            ended += result.applied
        for start in range(0, len(due), BATCH):
            ended += await self._expire(due[start : start + BATCH])
        names = [self._keys.parked_devices, *(stream for _, stream, _ in readable)]
        await self._set_times(self._client, names, [imei for imei, _, _ in readable])
        return ended

    def _judge(
        self,
        imei: str,
        entry_id: str,
        fields: dict[bytes, bytes],
        due: list[CommandRequest],
        letters: list[Discard],
    ) -> None:
        """Sort an entry: it is due, or no command, or has time left."""
        now_ms = self._now_ms()
        try:
            request = read_parked(imei, entry_id, fields, now_ms)
        except InvalidCommand as error:
            letters.append(unreadable(imei, entry_id, fields, error))
            return
        if now_ms >= request.expires_at:
            due.append(request)

    async def _expire(self, due: list[CommandRequest]) -> int:
        """End these commands; how many there are no longer."""
        ended = 0
        steps = [expire(request, _nothing) for request in due]
        for request, step, result in zip(due, steps, await self._ledger.execute(*steps), strict=True):
            if result.applied:
                self._on_ended(step.event)
                ended += 1
                continue
            rest = left_over(request, step, result, _nothing)
            if rest is None:
                continue
            (after,) = await self._ledger.execute(rest)
            ended += after.applied
            if after.applied and isinstance(rest, Step):
                self._on_ended(rest.event)
        return ended
