"""``telgw history``: the events of a command, and its path through the states."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import click
from rich.table import Table
from rich.text import Text

from fsm import events
from fsm.command import COMMAND
from fsm.diagram import command_diagram, path
from store.streams.events import event_of
from store.streams.messages import CommandEvent, Note
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
    console.print(path_drawing.drawing(command_events(entries)))
    return FOUND


def command_events(entries: list[LogEntry]) -> list[CommandEvent]:
    """The events of the command. Notes, and entries that are no message, are left out."""
    messages = (render.read(fields) for _, fields in entries)
    return [message for message in messages if isinstance(message, CommandEvent)]


def table(entries: list[LogEntry]) -> Table:
    """The events and notes, one in each row."""
    first = entries[0][1]
    title = "  ".join(render.printable(first.get(name, ""), 64) for name in ("command_id", "imei", "at"))
    shown = Table(title=Text(title), title_justify="left")
    for heading in ("#", "at (UTC)", "event", "reason", "delivery", "after"):
        shown.add_column(heading, no_wrap=True)
    shown.add_column("answer or detail", overflow="fold", min_width=12)
    for _, fields in entries:
        shown.add_row(*_row(fields))
    return shown


def _row(fields: render.Fields) -> Iterable[Text]:
    """The cells of one entry: `Text`, because rich would read brackets in an answer as markup."""
    message = render.read(fields)
    if isinstance(message, Note):
        said = render.answer_text(message) or render.printable(message.detail)
        return _cells("note", message.at, message.note, "", "", "", said)
    if not isinstance(message, CommandEvent):
        return (Text("?"), *(Text() for _ in range(5)), render.unread(fields))
    said = render.answer_text(message) or render.printable(message.detail)
    after = "" if message.age_ms is None else f"{message.age_ms} ms"
    texts = (render.printable(message.reason, 32), render.printable(message.delivery, 32), after, said)
    return _cells(str(message.seq), message.at, message.state, *texts)


def _cells(number: str, at: str, name: str, *texts: str) -> Iterable[Text]:
    return (Text(number), Text(render.time_of(at)), render.styled(name), *map(Text, texts))


def chart(entries: list[LogEntry]) -> str:
    """The state diagram as Mermaid text, with the path. Entries that are not events are left out."""
    safe = (replace(one, reason=render.printable(one.reason, 32)) for one in command_events(entries))
    found = [event for one in safe if isinstance(event := event_of(one), events.CommandEvent)]
    return command_diagram(path(COMMAND, found))
