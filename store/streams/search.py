"""The entries of a stream that have certain values, found without decoding the others.

A log has a hundred thousand entries a day, and an operator waits for the answer. So entries are compared as
bytes, page by page, and only those that are wanted become text. Redis collects the next page while one is
searched.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from redis.asyncio import Redis

from store.client.script import KeptConnection

PAGES = (100, 500, 2000)
"""Entries of the first pages, and of all others: what is asked for is often at the end."""

Wanted = Mapping[str, Collection[str]]
"""By field: the values of which an entry must have one; without values, any. Rare values come first."""

Found = tuple[str, dict[str, str]]
"""The id of an entry, and its fields. Bytes that are not UTF-8 are surrogates."""

_Raw = tuple[bytes, list[bytes]]
_Conditions = Mapping[bytes, frozenset[bytes]]
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
        async for page in _pages(kept, ask, partial(_read, conditions)):
            for entry_id, fields in page:
                yield entry_id.decode(), {_text(name): _text(value) for name, value in fields.items()}
    finally:
        await kept.release()


class _Page(NamedTuple):
    """How many entries a page has, the id of the last, and those that are wanted."""

    length: int
    last: bytes
    found: list[tuple[bytes, dict[bytes, bytes]]]


async def _pages(
    kept: KeptConnection, ask: _Ask, read: Callable[[Any], _Page]
) -> AsyncIterator[list[tuple[bytes, dict[bytes, bytes]]]]:
    sizes = _page_sizes()
    count = next(sizes)
    await kept.post(*ask(None, count))
    while True:
        page = await kept.answer(read)
        if page.length < count:
            yield page.found
            return
        count = next(sizes)
        await kept.post(*ask(page.last, count))
        yield page.found


def _page_sizes() -> Iterator[int]:
    yield from PAGES
    while True:
        yield PAGES[-1]


def _read(conditions: _Conditions, reply: Any) -> _Page:
    """Raises any error for what is no page."""
    found = []
    for entry_id, flat in _likely(conditions, reply):
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        if all(fields.get(name) in values for name, values in conditions.items()):
            found.append((entry_id, fields))
    return _Page(len(reply), reply[-1][0] if reply else b"", found)


def _likely(conditions: _Conditions, reply: list[_Raw]) -> Iterable[_Raw]:
    """The entries that have a value of the first condition in any field: few, and cheaply found."""
    for values in conditions.values():
        if len(values) == 1:
            [value] = values
            return [entry for entry in reply if value in entry[1]]
        return [entry for entry in reply if not values.isdisjoint(entry[1])]
    return reply


def _text(value: bytes) -> str:
    return value.decode(errors="surrogateescape")
