"""Reads the log once, the oldest entry first, and what is true now. It needs no right to write."""

from __future__ import annotations

from typing import Any

from store.fleet.devices import DeviceReader
from store.fleet.overview import OverviewReader
from store.keys import Keys
from store.streams.entry_ids import read_id
from store.streams.messages import DeviceMessage, SessionEvent
from store.streams.search import oldest

from .. import render
from .facts import Facts
from .outages import Lives, Silences, longest_first
from .presence import Presence
from .span import Span
from .tally import Tally


class Reading:
    """Folds the streams of a fleet.

    Args:
        sessions: the stream of session events if it is not the log; else empty.
    """

    def __init__(self, client: Any, keys: Keys, sessions: str = "") -> None:
        self._client = client
        self._keys = keys
        self._streams = [keys.responses, *([sessions] if sessions else ())]
        self._entries = self._unreadable = 0

    async def read(self, since_ms: int) -> Facts:
        """What happened since `since_ms`, epoch ms, or since the log begins.

        Raises:
            StoreError: a call failed.
        """
        overview = await OverviewReader(self._client, self._keys).read()
        begins_at = await self._begin()
        span = Span(max(since_ms, begins_at or 0), overview.now_ms)
        tally, presence, lives = Tally(span), Presence(span), Lives()
        outages = []
        for stream in self._streams:
            silences = Silences()
            await self._fold(stream, span, tally, presence, lives, silences)
            outages += silences.outages()
        reader = DeviceReader(self._client, self._keys)
        devices = await reader.read()
        online = presence.online(devices, lives.last_sign) if presence.events else None
        outages += lives.outages(reader.alive, span.until_ms)
        return Facts(
            span=span,
            entries=self._entries,
            unreadable=self._unreadable,
            begins_at=begins_at,
            tally=tally,
            online=online,
            connected=sum(device.online for device in devices),
            outages=longest_first(outages, span),
            parked=await self._client.zcard(self._keys.parked_devices),
            dead_letters=await self._client.xlen(self._keys.deadletter),
            overview=overview,
        )

    async def _fold(
        self, stream: str, span: Span, tally: Tally, presence: Presence, lives: Lives, silences: Silences
    ) -> None:
        until = f"{span.until_ms}"
        async for entry_id, fields in oldest(self._client, stream, {}, start=f"{span.since_ms}", until=until):
            self._entries += 1
            at_ms = int(entry_id.partition("-")[0])
            message = render.read(fields)
            if message is None or isinstance(message, DeviceMessage):
                self._unreadable += 1
                silences.add(at_ms, None)
                continue
            tally.add(at_ms, message)
            lives.add(at_ms, message)
            silences.add(at_ms, message)
            if isinstance(message, SessionEvent):
                presence.add(at_ms, message)

    async def _begin(self) -> int | None:
        """When the oldest entry of these streams was appended; None if they are empty."""
        pages = [await self._client.xrange(stream, count=1) for stream in self._streams]
        return min((read_id(page[0][0])[0] for page in pages if page), default=None)
