"""``telgw dead-letters``: entries that were no commands, why, and from whom."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click
from rich.text import Text

from store.keys import Keys
from store.streams.producer import LogEntry, Producer
from store.streams.search import newest

from . import render, stderr
from .ending import complete
from .listing import Column, Row, print_listing
from .parameters import ENTRY_ID, Moment
from .stream_options import Where, with_streams
from .streams import server
from .times import Times, duration

FOUND, NONE = 0, 4
COLUMNS = (
    *(Column("age", right=True), Column("id"), Column("IMEI"), Column("requested by")),
    *(Column("command", extra=True), Column("at", extra=True)),
)


@click.command(name="dead-letters", short_help="Show entries that were no commands, and why.")
@click.option("--show", metavar="ID", help="Show all that is kept of this one.")
@click.option(
    "--drop", "dropped", metavar="ID", multiple=True, help="Delete this one; may be given more than once."
)
@click.option("--since", type=Moment(), default=0, show_default="all", help="Only what came since: 1h.")
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="The most; newest first."
)
@click.option("--utc", is_flag=True, help="Show times in UTC instead of local time.")
@click.option("--json", "raw", is_flag=True, help="One JSON object per dead letter.")
@with_streams
def command(
    where: Where, show: str | None, dropped: tuple[str, ...], since: int, limit: int, utc: bool, raw: bool
) -> int:
    """Show the entries of outbound streams that gateways could not read or process as commands.

    None of them can be queued again, because the text of a command is never kept: correct the producer, and
    let it publish the command again. Dead letters are deleted after --retention.

    Exit status: 0 found, or deleted; 2 wrong use, or Redis cannot be used; 4 there is none.
    """
    if show is not None and dropped:
        raise click.UsageError("Give --show or --drop, not both.")
    for entry_id in (*dropped, *([show] if show else ())):
        if not ENTRY_ID.fullmatch(entry_id):
            raise click.UsageError(f"{entry_id!r} is not an entry id such as 1700000000000-0.")
    if dropped:
        return complete(_drop(where, dropped))
    return complete(_letters(where, show, since, limit, Times(utc), raw))


async def _letters(where: Where, show: str | None, since: int, limit: int, times: Times, raw: bool) -> int:
    keys = Keys(where.key_prefix)
    found: list[LogEntry] = []
    span = {"start": show, "until": show} if show else {"start": f"{since}-0"}
    async with server(where, "dead-letters") as client:
        now_ms = await Producer(client, keys).now_ms()
        async for entry in newest(client, keys.deadletter, {}, **span):
            found.append(entry)
            if len(found) == limit:
                break
    if not found:
        stderr.fault("There is no such dead letter.")
        return NONE
    _print(found, show is not None, times, raw, now_ms)
    return FOUND


def _print(found: Sequence[LogEntry], whole: bool, times: Times, raw: bool, now_ms: int) -> None:
    console = render.Output()
    if raw:
        for entry_id, fields in found:
            click.echo(json.dumps({"id": entry_id, **fields}))
    elif whole:
        [(entry_id, fields)] = found
        for name, text in (("id", entry_id), ("at", times.show(_at_ms(entry_id))), *fields.items()):
            head = f"{render.printable(name, 64):<20}"
            console.print(Text.assemble((head, "bold"), render.printable(text, render.WHOLE)), soft_wrap=True)
    else:
        print_listing(console, COLUMNS, [_row(entry, times, now_ms) for entry in found], "error")


def _row(entry: LogEntry, times: Times, now_ms: int) -> Row:
    entry_id, fields = entry
    at_ms = _at_ms(entry_id)
    texts = (
        *(duration(now_ms - at_ms), entry_id, fields.get("imei", ""), fields.get("requested_by", "")),
        *(fields.get("command_id", ""), times.show(at_ms)),
    )
    cells = [Text(render.printable(text, 64)) for text in texts]
    return Row(cells, Text(render.printable(fields.get("error", ""), render.WHOLE)))


def _at_ms(entry_id: str) -> int:
    return int(entry_id.partition("-")[0])


async def _drop(where: Where, dropped: Sequence[str]) -> int:
    async with server(where, "dead-letters") as client:
        call: Any = client
        gone = [one for one in dropped if await call.xdel(Keys(where.key_prefix).deadletter, one)]
    for entry_id in dropped:
        if entry_id in gone:
            click.echo(f"Deleted {entry_id}.")
        else:
            stderr.fault(f"There is no dead letter {entry_id}.")
    return FOUND if len(gone) == len(dropped) else NONE
