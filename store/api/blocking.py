"""`BlockingGateways`: the client for programs without asyncio. An event loop runs in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from threading import Thread
from types import TracebackType
from typing import Any, Generic, TypeVar, Unpack

from store.streams.messages import CommandEvent, DeviceMessage, Message, Note, TelemetryRecord

from .command_entry import CommandOptions
from .gateways import Gateways, log_error
from .hand_over import Sent
from .sharded import ShardedSubscription
from .subscription import Subscription, SubscriptionOptions

T = TypeVar("T")
M = TypeVar("M")

_END: Any = object()


class _Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="store.api", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`; an interrupt of the caller cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """The items one by one; the caller's thread is blocked while the next one is waited for."""
        try:
            while (item := self.call(_next(items))) is not _END:
                yield item
        finally:
            self.call(_close(items))

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _next(items: AsyncIterator[T]) -> T:
    return await anext(items, _END)


async def _close(items: Any) -> None:
    await items.aclose()


class BlockingSubscription(Generic[M]):
    """A `Subscription` for a thread: iterate over it, or give `run` a function."""

    def __init__(self, loop: _Loop, subscription: Subscription[M] | ShardedSubscription[M]) -> None:
        self._loop = loop
        self._subscription = subscription

    def stop(self) -> None:
        """Let the reading end after the entries in hand; any thread may call it."""
        self._subscription.stop()

    def __iter__(self) -> Iterator[M]:
        return self._loop.iterate(aiter(self._subscription))

    def run(self, handle: Callable[[M], None]) -> None:
        """As `Subscription.run`; `handle` is called in the caller's thread."""
        for delivery in self._loop.iterate(self._subscription.deliveries()):
            try:
                handle(delivery.message)
            except Exception as error:
                self._subscription.failed(delivery, error)
            else:
                self._subscription.done(delivery)


class BlockingGateways:
    """`Gateways` for programs without asyncio, as a context manager. One thread may use it at a time.

    Args:
        url, key_prefix, on_error: as of `Gateways.connect`.

    Raises:
        BadRedisUrl: the URL cannot be used.
    """

    def __init__(
        self, url: str, *, key_prefix: str = "", on_error: Callable[[Exception], None] = log_error
    ) -> None:
        self._gateways = Gateways.connect(url, key_prefix=key_prefix, on_error=on_error)
        self._loop = _Loop()

    def __enter__(self) -> BlockingGateways:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the thread."""
        self._loop.call(self._gateways.aclose())
        self._loop.close()

    def send(
        self, imei: str, payload: str, *, patience: float = 10.0, **options: Unpack[CommandOptions]
    ) -> Sent:
        """As `Gateways.send`."""
        return self._loop.call(self._gateways.send(imei, payload, patience=patience, **options))

    def cancel(self, command_id: str, *, patience: float = 10.0) -> Sent:
        """As `Gateways.cancel`."""
        return self._loop.call(self._gateways.cancel(command_id, patience=patience))

    def follow(self, command_id: str) -> Iterator[CommandEvent | Note]:
        """As `Gateways.follow`."""
        return self._loop.iterate(self._gateways.follow(command_id))

    def outcome(self, command_id: str, within: float | None = None) -> CommandEvent:
        """As `Gateways.outcome`.

        Raises:
            TimeoutError: there was none `within` seconds.
        """
        return self._loop.call(asyncio.wait_for(self._gateways.outcome(command_id), within))

    def events(
        self, *, group: str, consumer: str = "", **options: Unpack[SubscriptionOptions]
    ) -> BlockingSubscription[Message]:
        """As `Gateways.events`."""
        found = self._gateways.events(group=group, consumer=consumer, **options)
        return BlockingSubscription(self._loop, found)

    def records(
        self, *, group: str, consumer: str = "", **options: Unpack[SubscriptionOptions]
    ) -> BlockingSubscription[TelemetryRecord]:
        """As `Gateways.records`."""
        found = self._gateways.records(group=group, consumer=consumer, **options)
        return BlockingSubscription(self._loop, found)

    def messages(
        self, *, group: str, consumer: str = "", **options: Unpack[SubscriptionOptions]
    ) -> BlockingSubscription[DeviceMessage]:
        """As `Gateways.messages`."""
        found = self._gateways.messages(group=group, consumer=consumer, **options)
        return BlockingSubscription(self._loop, found)
