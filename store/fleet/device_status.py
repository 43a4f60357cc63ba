"""``devices:status``: what gateways tell of every device, for people.

It is best effort. Nothing waits for a write: the newest status of each device waits in a queue and is written
when Redis has time. A session that ends does not overwrite a newer one elsewhere: the script compares when
they began. The hash is bounded: devices that have never reported are not remembered after they leave, others
until a janitor removes them, and no more than `LIMIT` at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import fields, replace
from functools import partial
from typing import Any, cast

import msgspec
from redis.asyncio import Redis

from fsm.device_status import DeviceStatus
from fsm.session import CLOSED
from store.client.batch_queue import BatchQueue
from store.client.latest import Latest
from store.client.replies import one_each, understood
from store.client.script import Script
from store.fleet.status_going_on import APART, kept_while_it_goes_on
from store.keys import Keys

LIMIT = 1_000_000
"""Devices in the hash, at most."""
BATCH = 200
QUEUED = 100_000
"""Devices whose status may wait for Redis; beyond that the oldest are dropped."""
DELAY = 60
"""Seconds by which the word of a gateway may be late."""
PAGE = 1000
"""Devices that a janitor checks in one round, and that one call reads."""

_FIELDS = tuple(field.name for field in fields(DeviceStatus))
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(DeviceStatus).decode

Item = tuple[str, DeviceStatus]
"""An IMEI and the status of that device."""


def status_json(status: DeviceStatus) -> str:
    """A status as the hash holds it: without what is empty or not known."""
    return _encoded(status).decode()


def _encoded(status: DeviceStatus) -> bytes:
    return _encode({name: value for name in _FIELDS if (value := getattr(status, name))})


def read_status(text: bytes | str) -> DeviceStatus:
    """The status that the hash holds.

    Raises:
        ValueError: it is none.
    """
    return _decode(text)


def _merged(older: DeviceStatus, newer: DeviceStatus) -> DeviceStatus:
    """The newer status, with the last record that only the older one tells."""
    return replace(newer, last=older.last) if newer.last is None else newer


class DeviceStatusWriter:
    """Writes the status of devices.

    Args:
        on_error: called with the error of every failed call.
        interval: seconds between two words of a gateway about a device that reports.
    """

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        *,
        on_error: Callable[[Exception], None],
        limit: int = LIMIT,
        interval: float = 30.0,
    ) -> None:
        self._client = client
        self._untold = round(2 * interval) + DELAY
        self._names = [keys.status]
        self._limit = limit
        self._script = Script("device_status.lua")
        buffer: Latest[DeviceStatus] = Latest(BATCH, QUEUED, _merged)
        self._queue: BatchQueue[Item] = BatchQueue(buffer, self._send, on_error=on_error)

    def put(self, imei: str, status: DeviceStatus) -> None:
        """Queue the status of a device; returns at once."""
        self._queue.put((imei, status))

    async def run(self) -> None:
        """Write until `stop`."""
        await self._queue.run()

    def stop(self) -> None:
        """Let `run` end after the call in flight."""
        self._queue.stop()

    async def flush(self, within: float) -> int:
        """Wait until everything is written, `within` seconds at most; how many devices are not."""
        return await self._queue.flush(within)

    async def _send(self, batch: deque[Item]) -> Exception | None:
        """Write what was put.

        For a session that goes on, the most frequent case by far, a plain write costs Redis a tenth of the
        script. Between the read before it and the write another gateway may have told a newer session; then
        that is told again when it is heard, or changes. A device for which there is no room costs a read.
        """
        client: Any = self._client
        (key,) = self._names
        found = await client.hmget(key, [imei for imei, _ in batch])
        known = await understood(self._client, found, partial(one_each, batch))
        full = None in known and await client.hlen(key) >= self._limit
        going_on: dict[str, bytes] = {}
        changed: list[tuple[str, str, int, str, str]] = []
        for (imei, status), old in zip(batch, known, strict=True):
            if kept := old and kept_while_it_goes_on(old, status):
                going_on[imei] = kept + _encoded(status)[1:]
            elif old is not None or not full:
                changed.append(_row(imei, status))
        if going_on:
            await client.hset(key, mapping=going_on)
        if changed:
            given = {"limit": self._limit, "untold": self._untold, "apart": APART, "devices": changed}
            await self._script(client, self._names, [_encode(given)])
        batch.clear()
        return None


def _row(imei: str, status: DeviceStatus) -> tuple[str, str, int, str, str]:
    """One device as the script takes it."""
    keep = "no" if status.state == CLOSED and not status.records else "yes"
    return imei, status.session_id, status.connected_at, keep, status_json(status)


async def reporting(client: Redis, keys: Keys, span: float) -> AsyncIterator[list[str]]:
    """The devices that have reported over a time of `span` seconds or more, in pages.

    Raises:
        StoreError: a call failed.
    """
    cursor = 0
    while True:
        cursor, found = await cast(Any, client).hscan(keys.status, cursor, count=PAGE)
        yield [imei.decode(errors="replace") for imei, text in found.items() if _spans(text, span * 1000)]
        if not cursor:
            return


def _spans(text: bytes, span_ms: float) -> bool:
    try:
        status = read_status(text)
    except ValueError:
        return False
    first = status.first_reported_at
    return first is not None and status.last_seen_at - first >= span_ms


class DeviceStatusExpiry:
    """Removes devices that were last heard too long ago, one page of the hash at each call."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._names = [keys.status, keys.registry]
        self._script = Script("expire_device_status.lua")
        self._cursor = 0

    async def expire(self, oldest_ms: int) -> None:
        """Check the next page; remove what nobody holds and was last heard before `oldest_ms`.

        Raises:
            StoreError: the call failed.
        """
        reply = await self._script(self._client, self._names, [self._cursor, PAGE, oldest_ms])
        self._cursor = await understood(self._client, reply, _read_cursor)


def _read_cursor(reply: Any) -> int:
    return int(reply)
