"""The entries of a stream that have certain values, found without decoding the others.

A log has a hundred thousand entries a day, and an operator waits for the answer. So entries are compared as
bytes, page by page, and only those that are wanted become text.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from typing import Any

from redis.asyncio import Redis

from store.client.script import KeptConnection

PAGES = (100, 500, 2000)
"""Entries of the first pages, and of all others: what is asked for is often at the end."""

Wanted = Mapping[str, Collection[str]]
"""By field: the values of which an entry must have one; without values, any. Rare values come first."""

Found = tuple[str, dict[str, str]]
"""The id of an entry, and its fields. Bytes that are not UTF-8 are surrogates."""

_Raw = tuple[bytes, list[bytes]]
_Ask = Callable[[bytes | None, int], tuple[str | bytes | int, ...]]


async def newest(
    client: Redis, stream: str, wanted: Wanted, *, start: str = "-", until: str = "+"
) -> AsyncIterator[Found]:
    """The wanted entries from `start` to `until`, the newest first.

    Args:
        start, until: ids of entries, which are included. The first part of an id is epoch ms of Redis.

    Raises:
        StoreError: a call failed.
    """

    def ask(last: bytes | None, count: int) -> tuple[str | bytes | int, ...]:
        end = until if last is None else b"(" + last
        return ("XREVRANGE", stream, end, start, "COUNT", count)

    async for found in _search(client, wanted, ask):
        yield found


async def oldest(
    client: Redis, stream: str, wanted: Wanted, *, start: str = "-", until: str = "+"
) -> AsyncIterator[Found]:
    """The wanted entries from `start` to `until`, the oldest first; ``(ID`` leaves an entry itself out.

    Raises:
        StoreError: a call failed.
    """

    def ask(last: bytes | None, count: int) -> tuple[str | bytes | int, ...]:
        return ("XRANGE", stream, start if last is None else b"(" + last, until, "COUNT", count)

    async for found in _search(client, wanted, ask):
        yield found


def matches(fields: Mapping[str, str], wanted: Wanted) -> bool:
    """Whether an entry is wanted."""
    return all(fields.get(name) in values for name, values in wanted.items() if values)


async def _search(client: Redis, wanted: Wanted, ask: _Ask) -> AsyncIterator[Found]:
    conditions = {
        name.encode(): frozenset(value.encode(errors="surrogateescape") for value in values)
        for name, values in wanted.items()
        if values
    }
    kept = KeptConnection(client)
    try:
        async for entry_id, flat in _entries(kept, ask):
            # Most entries do not even have the value in any field.
            if any(values.isdisjoint(flat) for values in conditions.values()):
                continue
            fields = dict(zip(flat[::2], flat[1::2], strict=True))
            if all(fields.get(name) in values for name, values in conditions.items()):
                yield entry_id.decode(), {_text(name): _text(value) for name, value in fields.items()}
    finally:
        await kept.release()


async def _entries(kept: KeptConnection, ask: _Ask) -> AsyncIterator[_Raw]:
    last: bytes | None = None
    for count in _page_sizes():
        page = await kept.ask(*ask(last, count), read=_read)
        for entry in page:
            yield entry
        if len(page) < count:
            return
        last = page[-1][0]


def _page_sizes() -> Iterator[int]:
    yield from PAGES
    while True:
        yield PAGES[-1]


def _read(reply: Any) -> list[_Raw]:
    found = [(entry_id, flat) for entry_id, flat in reply]
    if any(len(flat) % 2 for _, flat in found):
        raise ValueError("not names and values in turn")
    return found


def _text(value: bytes) -> str:
    return value.decode(errors="surrogateescape")
