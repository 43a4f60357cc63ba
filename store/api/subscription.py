"""Reading a stream with a consumer group, by the rules for consumers of ``docs/contract.md``.

An entry is acknowledged after it was handled, so it is handled at least once:

* What this consumer had read and not acknowledged is read again at the start, and after every failed call,
  because a lost reply leaves entries pending that no other read returns.
* What any consumer of the group, this one included, has kept for `claim_after` seconds is taken over: the
  consumer has died, or its handler has failed.
* An entry whose handler fails stays pending and is tried again by the rule above; the entries behind it are
  handled meanwhile. After `attempts` failures it is acknowledged, and reported as given up.
* An entry that is no message is acknowledged and reported; an unknown kind is acknowledged.

Entries are read and claimed only between two batches, so what is in hand is never claimed from ourselves. An
outage of Redis delays and ends nothing; only an error that waiting does not cure, such as a missing right, is
raised.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypedDict, TypeVar, Unpack

from redis.asyncio import Redis

from fsm.errors import GatewayFault
from store.client.errors import NotLetIn, StoreError, StoreRefused, is_transient
from store.streams.messages import RawEntry

from .deliveries import Deliveries, Delivery
from .seen import Seen

M = TypeVar("M")

BLOCK = 1.0
"""Seconds that one read waits in Redis for the next entry."""
ACKNOWLEDGE = 1.0
"""Seconds for which a handled entry waits at most to be acknowledged while its batch is handled."""
RETRY = 0.5
"""Seconds between two attempts to reach Redis."""

RawEntries = Sequence[tuple[bytes, dict[bytes, bytes] | None]]


class EntryNotHandled(GatewayFault):
    """A handler has failed; the cause is its error."""

    def __init__(self, stream: str, entry_id: str, attempts: int, *, given_up: bool) -> None:
        what = "was given up" if given_up else "will be tried again"
        super().__init__(f"The entry {entry_id} of {stream} was not handled (attempt {attempts}) and {what}.")
        self.stream = stream
        self.entry_id = entry_id
        self.attempts = attempts
        self.given_up = given_up


class EntryUnreadable(GatewayFault):
    """An entry is no message of a gateway; it was acknowledged."""

    def __init__(self, stream: str, entry_id: str, problem: str) -> None:
        super().__init__(f"The entry {entry_id} of {stream} is no message: {problem}")
        self.stream = stream
        self.entry_id = entry_id
        self.problem = problem


class SubscriptionOptions(TypedDict, total=False):
    """How a stream is read.

    ``start`` is where a new group begins: ``0``, the oldest entry, by default, or ``$`` for the next one.
    ``batch`` entries are read at a time (100). An entry that was not acknowledged for ``claim_after`` seconds
    (60) is taken over; a batch has to be handled in less time. After ``attempts`` failures (10) of its
    handler an entry is given up; with 0 it never is.
    """

    start: str
    batch: int
    claim_after: float
    attempts: int


class Subscription(Deliveries[M]):
    """The messages of a stream for one consumer of a group; made by `Gateways.events` and its like.

    Args:
        stream, group, consumer: names in Redis.
        read: the message of an entry; None for one to pass over. It raises ValueError for no message.
        on_error: called with each error that is not raised.
        options: see `SubscriptionOptions`.
    """

    def __init__(
        self,
        client: Redis,
        stream: str,
        group: str,
        consumer: str,
        read: Callable[[RawEntry], M | None],
        on_error: Callable[[Exception], None],
        **options: Unpack[SubscriptionOptions],
    ) -> None:
        super().__init__()
        self._client: Any = client
        self._stream = stream
        self._group = group
        self._consumer = consumer
        self._read_message = read
        self._start = options.get("start", "0")
        self._batch = options.get("batch", 100)
        self._claim_after = options.get("claim_after", 60.0)
        self._attempts = options.get("attempts", 10)
        self._on_error = on_error
        self._seen = Seen()
        self._failures: dict[bytes, int] = {}
        self._handled: list[bytes] = []
        self._pending_after: bytes | None = b"0-0"
        self._has_group = False
        self._claim_from = b"0-0"
        self._claim_at = 0.0
        self._acknowledge_at = 0.0

    async def deliveries(self) -> AsyncIterator[Delivery[M]]:
        """The messages one by one; call `done` or `failed` for each before the next one is asked for."""
        while not self._stopped:
            async for delivery in self.judged(await self.page()):
                yield delivery
        await self.finish()

    async def page(self) -> RawEntries:
        """The next entries; none if there are none for a while, or Redis is away.

        Raises:
            StoreError: Redis refuses to be read, and waiting would not help.
        """
        return await self._surviving(self._next)

    async def judged(self, page: RawEntries) -> AsyncIterator[Delivery[M]]:
        """The messages of a page, as `deliveries` gives them."""
        for entry_id, fields in page:
            if (delivery := self._judge(entry_id, fields or {})) is not None:
                yield delivery
            if asyncio.get_running_loop().time() >= self._acknowledge_at:
                await self.finish()

    async def finish(self) -> None:
        """Acknowledge what was handled, unless Redis is away."""
        await self._surviving(self.acknowledge)

    def done(self, delivery: Delivery[M]) -> None:
        """The message is handled: its entry is acknowledged with others."""
        self._seen.add(delivery.message)
        self._failures.pop(delivery.entry_id, None)
        self._handled.append(delivery.entry_id)

    def failed(self, delivery: Delivery[M], error: Exception) -> None:
        """The message is not handled because of `error`: it is tried again, or given up."""
        count = self._failures.get(delivery.entry_id, 0) + 1
        given_up = 0 < self._attempts <= count
        self._failures[delivery.entry_id] = count
        if given_up:
            del self._failures[delivery.entry_id]
            self._handled.append(delivery.entry_id)
        told = EntryNotHandled(self._stream, delivery.entry_id.decode(), count, given_up=given_up)
        told.__cause__ = error
        self._on_error(told)

    def _judge(self, entry_id: bytes, fields: dict[bytes, bytes]) -> Delivery[M] | None:
        """The message of an entry, if it has to be handled."""
        try:
            message = self._read_message(fields) if fields else None  # an entry without fields was trimmed
        except ValueError as error:
            self._on_error(EntryUnreadable(self._stream, entry_id.decode(), str(error)))
            message = None
        if message is None or self._seen.is_known(message):
            self._handled.append(entry_id)
            return None
        return Delivery(entry_id, message)

    async def _surviving(self, call: Callable[[], Awaitable[RawEntries]]) -> RawEntries:
        """The reply of `call`, or none if it failed in a way that may pass."""
        try:
            return await call()
        except StoreError as error:
            if not may_pass(error) and not _is_without_group(error):
                raise
            self._on_error(error)
        self._has_group, self._pending_after = False, b"0-0"
        await asyncio.sleep(RETRY)
        return ()

    async def _next(self) -> RawEntries:
        """The entries to handle next; it may be none."""
        await self.acknowledge()
        if not self._has_group:
            await self._create_group()
        if self._pending_after is not None:
            found = await self._read(self._pending_after)
            self._pending_after = found[-1][0] if found else None
            return found
        if (now := asyncio.get_running_loop().time()) >= self._claim_at:
            found = await self._claim(now)
            if found:
                return found
        return await self._read(b">", BLOCK)

    async def acknowledge(self) -> RawEntries:
        """Acknowledge what was handled and is not acknowledged yet.

        Raises:
            StoreError: the call failed; it may be repeated.
        """
        self._acknowledge_at = asyncio.get_running_loop().time() + ACKNOWLEDGE
        if self._handled:
            await self._client.xack(self._stream, self._group, *self._handled)
            self._handled.clear()
        return ()

    async def _create_group(self) -> None:
        try:
            await self._client.xgroup_create(self._stream, self._group, self._start, mkstream=True)
        except StoreRefused as error:
            if error.code != "BUSYGROUP":
                raise
        self._has_group = True

    async def _read(self, after: bytes, block: float = 0.0) -> RawEntries:
        reply = await self._client.xreadgroup(
            self._group,
            self._consumer,
            {self._stream: after},
            count=self._batch,
            block=round(block * 1000) or None,
        )
        return reply[0][1] if reply else ()

    async def _claim(self, now: float) -> RawEntries:
        """Entries that were pending for too long, in pages; after the last page there is a pause."""
        reply = await self._client.xautoclaim(
            self._stream,
            self._group,
            self._consumer,
            round(self._claim_after * 1000),
            self._claim_from,
            count=self._batch,
        )
        self._claim_from = reply[0]
        if self._claim_from == b"0-0":
            self._claim_at = now + self._claim_after / 2
        found: RawEntries = reply[1]
        return found


def may_pass(error: BaseException | None) -> bool:
    """Whether a call that failed may succeed later, without a change by an operator."""
    return isinstance(error, Exception) and is_transient(error) and not isinstance(error, NotLetIn)


def _is_without_group(error: StoreError) -> bool:
    """Whether Redis has lost the group, or the stream."""
    return isinstance(error, StoreRefused) and error.code == "NOGROUP"
