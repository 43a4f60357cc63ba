"""``telgw watch``: print the event log, or messages of serial ports, live."""

from __future__ import annotations

import asyncio
import re

import click
from rich.console import Console

from store.streams.producer import LogEntry, Producer, StoreUnreachable

from . import render
from .ending import complete
from .stream_options import Where, with_streams
from .streams import producer

RETRY = 1.0
"""Seconds between two attempts to reach Redis."""

_ENTRY_ID = re.compile(r"\$|\d{1,20}(-\d{1,20})?")


@click.command(short_help="Print the events of commands and sessions as they arrive.")
@click.option(
    "--from",
    "start",
    default="$",
    show_default=True,
    metavar="ID",
    help="Start after this entry; 0: at the oldest; $: with the next one.",
)
@click.option("--imei", help="Only events of this device.")
@click.option("--command", "command_id", metavar="COMMAND_ID", help="Only events of this command.")
@click.option("--messages", is_flag=True, help="Print messages of serial ports instead of events.")
@click.option("--json", "raw", is_flag=True, help="One JSON object per event.")
@with_streams
def command(
    where: Where, start: str, imei: str | None, command_id: str | None, messages: bool, raw: bool
) -> int:
    """Print the events and notes of all commands and sessions as they arrive, until Ctrl-C.

    It uses no consumer group, so other readers still get every entry.
    """
    if not _ENTRY_ID.fullmatch(start):
        raise click.UsageError(f"--from {start!r} is not an entry id such as 1700000000000-0, nor $.")
    if messages and command_id:
        raise click.UsageError(
            "--messages and --command exclude each other: a message belongs to no command."
        )
    wanted = {name: value for name, value in (("imei", imei), ("command_id", command_id)) if value}
    return complete(_watch(where, start, wanted, messages, raw))


async def _watch(where: Where, start: str, wanted: dict[str, str], messages: bool, raw: bool) -> int:
    console = render.Output()
    async with producer(where, "watch") as streams:
        stream = streams.messages if messages else ""
        if start == "$":
            start = await streams.tail(stream)
        while True:
            try:
                async for entry in streams.follow(start, stream=stream):
                    start = entry[0]
                    _show(console, entry, wanted, raw)
            except StoreUnreachable as error:
                await _pause(streams, error)


def _show(console: Console, entry: LogEntry, wanted: dict[str, str], raw: bool) -> None:
    if all(entry[1].get(name) == value for name, value in wanted.items()):
        render.show(console, *entry, raw=raw)


async def _pause(streams: Producer, error: StoreUnreachable) -> None:
    """Wait until Redis answers again, so that a watch survives a restart of Redis."""
    click.echo(f"telgw: {error}; waiting until it answers", err=True)
    while True:
        await asyncio.sleep(RETRY)
        try:
            await streams.now_ms()
        except StoreUnreachable:
            continue
        return
