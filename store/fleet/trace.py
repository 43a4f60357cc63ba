"""Tracing: gateways publish the bytes of a device while somebody watches it.

Whoever watches writes the device and a time into the hash ``devices:traced``, and renews it. Gateways read
that hash every few seconds and publish the bytes of these devices on ``devices:trace:{imei}``. Both keys
expire, so that nothing is left when the watcher is gone. All of it has a limit, and nothing waits for it:
what Redis does not take in time is left out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, cast

from redis.asyncio import Redis

from fsm.trace import Chunk
from store.client.batch_queue import BatchQueue
from store.client.client import Calls
from store.client.fifo import Fifo
from store.client.numbers import whole
from store.keys import Keys

LEASE = 15.0
"""Seconds for which a device is traced after its watcher has last asked."""
DEVICES = 10
"""Devices that are traced at once."""
MAXLEN = 1000
KEPT_MS = 60_000
"""Time to live of the stream after its last entry."""
QUEUED = 500
"""Chunks that wait for Redis; beyond that the oldest are left out."""
BATCH = 50


class TraceLog:
    """Publishes the bytes of traced devices, for one gateway.

    Args:
        on_error: called with the error of every failed call.
    """

    def __init__(
        self, client: Calls, keys: Keys, instance_id: str, *, on_error: Callable[[Exception], None]
    ) -> None:
        self._client = client
        self._keys = keys
        self._instance_id = instance_id
        self._queue: BatchQueue[Chunk] = BatchQueue(
            Fifo(BATCH, capacity=QUEUED), self._send, on_error=on_error
        )

    async def traced(self, now_ms: int) -> list[str]:
        """The devices that somebody watches now, `DEVICES` at most.

        Raises:
            StoreError: the call failed.
        """
        found: Any = await cast(Any, self._client).hgetall(self._keys.traced)
        until = {imei.decode(errors="replace"): whole(value, 0) for imei, value in found.items()}
        return [imei for imei, end in until.items() if end > now_ms][:DEVICES]

    def put(self, chunk: Chunk) -> None:
        """Queue a chunk; returns at once."""
        self._queue.put(chunk)

    async def run(self) -> None:
        """Publish until `stop`."""
        await self._queue.run()

    def stop(self) -> None:
        """Let `run` end after the call in flight."""
        self._queue.stop()

    async def _send(self, batch: deque[Chunk]) -> Exception | None:
        streams = {self._keys.trace(chunk.imei) for chunk in batch}
        calls = [self._entry(chunk) for chunk in batch]
        calls += [["PEXPIRE", stream, KEPT_MS] for stream in streams]
        for reply in await self._client.batch(calls):
            if isinstance(reply, Exception):
                batch.clear()  # what is refused is not worth a second attempt
                return reply
        batch.clear()
        return None

    def _entry(self, chunk: Chunk) -> list[Any]:
        fields = {
            **{"instance_id": self._instance_id, "session_id": chunk.session_id, "n": chunk.number},
            **{"at": chunk.at, "dir": chunk.direction, "hex": chunk.data.hex()},
            **({"masked": "1"} if chunk.masked else {}),
        }
        texts = [text for pair in fields.items() for text in pair]
        return ["XADD", self._keys.trace(chunk.imei), "MAXLEN", "~", MAXLEN, "*", *texts]


async def ask(client: Redis, keys: Keys, imei: str, now_ms: int) -> None:
    """Ask gateways to trace a device for `LEASE` seconds from `now_ms`, the time of Redis.

    Raises:
        StoreError: a call failed.
    """
    caller: Any = client
    await caller.hset(keys.traced, imei, now_ms + round(LEASE * 1000))
    await caller.pexpire(keys.traced, round(LEASE * 1000))


async def leave(client: Redis, keys: Keys, imei: str) -> None:
    """Ask no more.

    Raises:
        StoreError: the call failed.
    """
    await cast(Any, client).hdel(keys.traced, imei)
