"""Messages that are given one by one, each of which is then done or failed."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

M = TypeVar("M")
Handler = Callable[[M], Awaitable[None] | None]


@dataclass(slots=True, frozen=True)
class Delivery(Generic[M]):
    """A message, and the entry that holds it."""

    entry_id: bytes
    message: M


class Deliveries(Protocol[M]):
    """What gives messages one by one, each of which is then done or failed."""

    def deliveries(self) -> AsyncIterator[Delivery[M]]:
        """The messages."""

    def done(self, delivery: Delivery[M]) -> None:
        """The message is handled."""

    def failed(self, delivery: Delivery[M], error: Exception) -> None:
        """The message is not handled because of `error`."""


async def messages_of(source: Deliveries[M]) -> AsyncIterator[M]:
    """The messages; each is done when the next one is asked for."""
    async for delivery in source.deliveries():
        yield delivery.message
        source.done(delivery)


async def handle_all(source: Deliveries[M], handle: Handler[M]) -> None:
    """Give each message to `handle`."""
    async for delivery in source.deliveries():
        try:
            result = handle(delivery.message)
            if inspect.isawaitable(result):
                await result
        except Exception as error:
            source.failed(delivery, error)
        else:
            source.done(delivery)
