"""The producer's side of the streams: publish a command, follow its events, read its history.

This is what the business plane does, in a few lines, and what the command line uses. It only ever reads with
``XREAD``, never with a consumer group, so other readers still get every event.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from redis.asyncio import Redis

from fsm.errors import GatewayFault
from store.client.errors import CallFailed, Outcome, StoreError, plainly
from store.keys import Keys
from store.streams.search import Wanted, newest

PAGE = 500
"""Entries read at a time."""

LogEntry = tuple[str, dict[str, str]]
"""An entry of the log: its id and its fields."""


class StoreUnreachable(GatewayFault):
    """Redis did not answer, or refused."""


class NotPublished(StoreUnreachable):
    """An entry is known not to have been appended."""


class Producer:
    """A client of the streams.

    Every method raises `StoreUnreachable` when Redis does not answer or refuses.

    Args:
        client: its ``socket_timeout`` has to be longer than the `block` of ``follow``.
    """

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client: Any = client  # the driver types every reply as a union of all protocols
        self._keys = keys

    async def now_ms(self) -> int:
        """Epoch ms by the clock of Redis, which judges when a command expires."""
        with reaching():
            seconds, micros = await self._client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    async def holder(self, imei: str) -> str | None:
        """The instance that holds the device; None if there is none."""
        with reaching():
            value = await self._client.hget(self._keys.registry, imei)
        return None if value is None else _text(value)

    async def live_instance(self) -> str | None:
        """A gateway that is alive, any of them; None if there is none."""
        with reaching():
            known = [_text(name) for name in await self._client.hkeys(self._keys.instances)]
        for name in random.sample(known, len(known)):
            if await self.is_alive(name):
                return name
        return None

    async def is_alive(self, instance_id: str) -> bool:
        """Whether a gateway has a heartbeat."""
        with reaching():
            return bool(await self._client.exists(self._keys.heartbeat(instance_id)))

    async def publish(self, instance_id: str, fields: Mapping[str, str]) -> str:
        """Append an entry to the stream of `instance_id`; its id. What it says is judged by the gateway.

        Raises:
            NotPublished: it was not appended.
            StoreUnreachable: it may have been appended, or not.
        """
        with reaching(appending=True):
            return _text(await self._client.xadd(self._keys.outbound(instance_id), dict(fields)))

    @property
    def telemetry(self) -> str:
        """The stream of records, for `newest` and `follow`."""
        return self._keys.telemetry

    @property
    def messages(self) -> str:
        """The stream of what devices say by themselves, for `tail` and `follow`."""
        return self._keys.messages

    async def tail(self, stream: str = "") -> str:
        """The id of the last event in the log, or entry of another `stream`; ``0-0`` when there is none."""
        with reaching():
            entries = await self._client.xrevrange(stream or self._keys.responses, count=1)
        return _text(entries[0][0]) if entries else "0-0"

    async def follow(
        self, from_id: str, block: float = 1.0, stream: str = "", errors: str = "replace"
    ) -> AsyncIterator[LogEntry]:
        """Every entry of the log, or of another `stream`, after `from_id`, for ever, as they come.

        Args:
            block: seconds to wait in Redis for the next entry before asking again; 0 asks without waiting.
            errors: what becomes of bytes that are not UTF-8; ``surrogateescape`` keeps them, for `as_bytes`.
        """
        while True:
            with reaching():
                reply = await self._client.xread(
                    {stream or self._keys.responses: from_id}, count=PAGE, block=round(block * 1000) or None
                )
            for _, entries in reply or ():
                for entry_id, fields in entries:
                    from_id = _text(entry_id)
                    yield from_id, _flat(fields, errors)

    async def after(self, from_id: str, stream: str = "") -> list[LogEntry]:
        """The next `PAGE` entries of the log, or of another `stream`, behind `from_id`, without waiting."""
        with reaching():
            entries = await self._client.xrange(
                stream or self._keys.responses, f"({from_id}", "+", count=PAGE
            )
        return [(_text(entry_id), _flat(fields)) for entry_id, fields in entries]

    async def newest(
        self, stream: str, since_ms: int = 0, wanted: Wanted | None = None, *, until_ms: int | None = None
    ) -> AsyncIterator[LogEntry]:
        """The entries of a stream that came at `since_ms` (epoch ms, by Redis) or later, the newest first.

        Bytes that are not UTF-8 are kept as `as_bytes` says.

        Args:
            wanted: only entries with these values.
            until_ms: only entries that came in this millisecond or earlier.
        """
        start, until = f"{since_ms}-0", "+" if until_ms is None else str(until_ms)
        with reaching():
            async for entry in newest(self._client, stream, wanted or {}, start=start, until=until):
                yield entry

    async def ledger(self, command_id: str) -> dict[str, str]:
        """The ledger of a command; empty when there is none (any more)."""
        with reaching():
            fields = await self._client.hgetall(self._keys.ledger(command_id))
        return _flat(fields)

    async def ledger_field(self, command_id: str, field: str) -> str | None:
        """One field of the ledger of a command; None when there is none (any more)."""
        with reaching():
            value = await self._client.hget(self._keys.ledger(command_id), field)
        return None if value is None else _text(value)

    async def states(self, command_ids: Sequence[str]) -> dict[str, str]:
        """The states of those of the commands that have a ledger."""
        found: dict[str, str] = {}
        for start in range(0, len(command_ids), PAGE):
            names = command_ids[start : start + PAGE]
            with reaching():
                values = await self._client.batch(
                    [["HGET", self._keys.ledger(name), "state"] for name in names]
                )
                for name, value in zip(names, values, strict=True):
                    if isinstance(value, StoreError):
                        raise value
                    if value is not None:
                        found[name] = _text(value)
        return found

    async def history(self, command_id: str) -> list[LogEntry]:
        """The events and notes of a command, oldest first; empty when it has no ledger (any more)."""
        ledger = await self.ledger(command_id)
        first, last = ledger.get("first"), ledger.get("last")
        if not first or not last:
            return []
        return [
            (entry_id, fields)
            async for entry_id, fields in self._range(first, last)
            if fields.get("command_id") == command_id
        ]

    async def outcome(self, command_id: str, from_id: str, block: float = 1.0) -> AsyncIterator[LogEntry]:
        """The entries of one command after `from_id`, as they come; ends after its terminal event."""
        async for entry_id, fields in self.follow(from_id, block):
            if fields.get("command_id") != command_id:
                continue
            yield entry_id, fields
            if fields.get("terminal") == "1" and fields.get("kind") == "command":
                return

    async def _range(self, first: str, last: str) -> AsyncIterator[LogEntry]:
        while True:
            with reaching():
                entries = await self._client.xrange(self._keys.responses, first, last, count=PAGE)
            for entry_id, fields in entries:
                yield _text(entry_id), _flat(fields)
            if len(entries) < PAGE:
                return
            first = f"({_text(entries[-1][0])}"


@contextmanager
def reaching(*, appending: bool = False) -> Iterator[None]:
    """An error of a call leaves the block as a `StoreUnreachable`, a sentence for people.

    Args:
        appending: if the call is known not to have been carried out, as `NotPublished`.
    """
    try:
        yield
    except StoreError as error:
        unknown = isinstance(error, CallFailed) and error.outcome is Outcome.UNKNOWN
        kind = NotPublished if appending and not unknown else StoreUnreachable
        raise kind(f"Redis cannot be used: {plainly(error)}") from error


def as_bytes(text: str) -> bytes:
    """The bytes of a field that was read with ``surrogateescape``."""
    return text.encode(errors="surrogateescape")


def _text(value: bytes | str, errors: str = "replace") -> str:
    """Text from Redis; it is never an error."""
    return value.decode(errors=errors) if isinstance(value, bytes) else value


def _flat(fields: Mapping[Any, Any], errors: str = "replace") -> dict[str, str]:
    return {_text(name): _text(value, errors) for name, value in fields.items()}
