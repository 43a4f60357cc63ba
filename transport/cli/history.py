"""``telgw history``: the events of a command, and its path through the states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import click
from rich.table import Table
from rich.text import Text

from fsm.command import COMMAND
from fsm.diagram import command_diagram, path
from fsm.events import CommandEvent
from store.streams.events import read_entry
from store.streams.producer import LogEntry

from . import path_drawing, render
from .ending import complete
from .stream_options import Where, with_streams
from .streams import producer

FOUND, UNKNOWN = 0, 4


@click.command(short_help="Show the events of a command and its path through the states.")
@click.argument("command_id")
@click.option("--json", "raw", is_flag=True, help="One JSON object per event.")
@click.option("--mermaid", is_flag=True, help="The diagram as Mermaid text.")
@with_streams
def command(where: Where, command_id: str, raw: bool, mermaid: bool) -> int:
    """Show the events and notes of the command COMMAND_ID, and the state diagram with its path.

    Exit status: 0 found; 2 wrong use; 4 the command is unknown, or no longer kept.
    """
    return complete(_history(where, command_id, raw, mermaid))


async def _history(where: Where, command_id: str, raw: bool, mermaid: bool) -> int:
    async with producer(where, "history") as streams:
        entries = await streams.history(command_id)
    if not entries:
        click.echo(f"telgw: The command {render.printable(command_id)} is unknown.", err=True)
        return UNKNOWN
    console = render.Output()
    if mermaid:
        click.echo(chart(entries))
        return FOUND
    if raw:
        for entry in entries:
            render.show(console, *entry, raw=True)
        return FOUND
    console.print(table(entries))
    console.print(path_drawing.drawing([fields for _, fields in entries]))
    return FOUND


def table(entries: list[LogEntry]) -> Table:
    """The events and notes, one in each row."""
    first = entries[0][1]
    title = "  ".join(render.printable(first.get(name, ""), 64) for name in ("command_id", "imei", "at"))
    shown = Table(title=Text(title), title_justify="left")
    for heading in ("#", "at (UTC)", "event", "reason", "delivery", "after"):
        shown.add_column(heading, no_wrap=True)
    shown.add_column("answer or detail", overflow="fold", min_width=12)
    for _, fields in entries:
        cells = (
            render.printable(fields.get("reason", ""), 32),
            render.printable(fields.get("delivery", ""), 32),
            f"{render.printable(fields['age_ms'], 12)} ms" if fields.get("age_ms") else "",
            render.answer_text(fields) or render.printable(fields.get("detail", "")),
        )
        # `Text`, because rich would read brackets in an answer of a device as markup.
        shown.add_row(
            Text(render.printable(fields.get("seq", "note"), 8)),
            Text(render.time_of(fields)),
            render.styled(fields.get("note") or fields.get("state", "")),
            *map(Text, cells),
        )
    return shown


def chart(entries: list[LogEntry]) -> str:
    """The state diagram as Mermaid text, with the path. Entries that are not events are left out."""
    return command_diagram(path(COMMAND, filter(None, (_event(fields) for _, fields in entries))))


def _event(fields: Mapping[str, str]) -> CommandEvent | None:
    try:
        event = read_entry(fields)
    except (KeyError, ValueError):
        return None
    if not isinstance(event, CommandEvent):
        return None
    return replace(event, reason=render.printable(event.reason, 32))
