"""What a shell completes from Redis: bounded in time and in what is read, because somebody waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import click

from store.keys import Keys

from . import redis_file
from .event_loop import complete
from .stream_options import Where
from .streams import server

MOST = 100
"""Names that are offered."""
WITHIN = 0.7
"""Seconds for the search. What is found until then is offered."""
PAGE = 1000
PAGES = 20
EVENTS = 1000
"""Events whose commands are offered."""


Find = Callable[[Any, Keys, str, list[str]], Awaitable[None]]
"""Reads names that begin with a text from a client, and appends them to a list as they come."""


def search(ctx: click.Context, incomplete: str, find: Find, found: list[str]) -> None:
    """Put what `find` finds on the Redis of the options in `ctx` into `found`, as far as time allows."""
    given = ctx.params
    url = redis_file.choose(ctx, given["redis"], given.get("redis_file"))
    where = Where(url, given.get("key_prefix") or "", given.get("state_dir"))

    async def work() -> int:
        async with asyncio.timeout(WITHIN), server(where, "completion") as client:
            await find(client, Keys(where.key_prefix), incomplete, found)
        return 0

    complete(work())


async def imeis(client: Any, keys: Keys, beginning: str, found: list[str]) -> None:
    """Devices: those that are connected first."""
    if not beginning.isdigit() and beginning:
        return
    for key in (keys.registry, keys.status):
        cursor = 0
        for _ in range(PAGES):
            cursor, page = await client.hscan(key, cursor, match=f"{beginning}*", count=PAGE)
            found += sorted({name.decode(errors="replace") for name in page} - set(found))
            if not cursor or len(found) >= MOST:
                break
        if len(found) >= MOST:
            return


async def command_ids(client: Any, keys: Keys, beginning: str, found: list[str]) -> None:
    """Commands, the one with the newest event first."""
    for _, fields in await client.xrevrange(keys.responses, count=EVENTS):
        name = fields.get(b"command_id", b"").decode(errors="replace")
        if name.startswith(beginning) and name and name not in found:
            found.append(name)


async def dead_letter_ids(client: Any, keys: Keys, beginning: str, found: list[str]) -> None:
    """Dead letters, the newest first."""
    names = [entry_id.decode() for entry_id, _ in await client.xrevrange(keys.deadletter, count=EVENTS)]
    found += [name for name in names if name.startswith(beginning)]


async def instance_ids(client: Any, keys: Keys, beginning: str, found: list[str]) -> None:
    """Gateways."""
    names = sorted(name.decode(errors="replace") for name in await client.hkeys(keys.instances))
    found += [name for name in names if name.startswith(beginning)]
