"""Messages that are given one by one, each of which is then done or failed."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

M = TypeVar("M")
Handler = Callable[[M], Awaitable[None] | None]


@dataclass(slots=True, frozen=True)
class Delivery(Generic[M]):
    """A message, and the entry that holds it."""

    entry_id: bytes
    message: M


class Deliveries(ABC, Generic[M]):
    """What gives messages one by one, each of which is then done or failed.

    Either iterate over it: a message is done when the next one is asked for. Or give `run` a handler.
    """

    def __init__(self) -> None:
        self._stopped = False

    def stop(self) -> None:
        """Let the reading end after the entries in hand."""
        self._stopped = True

    async def __aiter__(self) -> AsyncIterator[M]:
        async for delivery in self.deliveries():
            yield delivery.message
            self.done(delivery)

    async def run(self, handle: Handler[M]) -> None:
        """Give each message to `handle`, a function or a coroutine function, until `stop`.

        Raises:
            StoreError: Redis refuses to be read, and waiting would not help.
        """
        async for delivery in self.deliveries():
            try:
                result = handle(delivery.message)
                if inspect.isawaitable(result):
                    await result
            except Exception as error:
                self.failed(delivery, error)
            else:
                self.done(delivery)

    @abstractmethod
    def deliveries(self) -> AsyncIterator[Delivery[M]]:
        """The messages one by one; call `done` or `failed` for each before the next one is asked for."""

    @abstractmethod
    def done(self, delivery: Delivery[M]) -> None:
        """The message is handled: its entry is acknowledged with others."""

    @abstractmethod
    def failed(self, delivery: Delivery[M], error: Exception) -> None:
        """The message is not handled because of `error`: it is tried again, or given up."""
