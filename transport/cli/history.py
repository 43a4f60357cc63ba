"""``telgw history``: the events of a command and its path through the states; or all that a device did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import click
from rich.console import Console
from rich.text import Text

from fsm import events
from fsm.command import COMMAND
from fsm.diagram import command_diagram, path
from store.keys import Keys
from store.streams.event_reader import event_of
from store.streams.messages import CommandEvent, Message, Note
from store.streams.producer import LogEntry
from store.streams.search import newest

from . import path_drawing, pictures, render, stderr
from .event_loop import complete
from .ids import CommandId, Imei
from .listing import Column, Row, print_listing
from .options import setting
from .parameters import Moment, StreamName
from .sequence import LONGEST, SHORT, sequence
from .stream_options import Where, with_streams
from .streams import producer, server
from .times import Times

FOUND, UNKNOWN = 0, 4
WIDE = 110
"""Columns that a sequence diagram with longer texts needs."""
COLUMNS = (
    *(Column("#", right=True), Column("at"), Column("event"), Column("reason"), Column("delivery")),
    Column("after", right=True, extra=True),
)
PICTURE = click.Path(dir_okay=False, writable=True, path_type=Path)


class Form(NamedTuple):
    """How a history is shown."""

    times: Times
    raw: bool
    mermaid: bool
    sequence: bool
    svg: Path | None
    png: Path | None


@click.command(short_help="Show the events of a command and its path, or all events of a device.")
@click.argument("command_id", required=False, type=CommandId())
@click.option(
    "--imei", type=Imei(), help="Show the sessions and commands of this device on one time line instead."
)
@click.option("--since", type=Moment(), default="1d", show_default=True, help="With --imei: what came since.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="With --imei: the most events, the newest.",
)
@click.option("--sequence", "journey", is_flag=True, help="Show who told whom what, as a sequence diagram.")
@click.option("--mermaid", is_flag=True, help="The diagram as Mermaid text.")
@click.option("--svg", type=PICTURE, metavar="FILE", help="Draw the diagram into this file.")
@click.option("--png", type=PICTURE, metavar="FILE", help="Draw the diagram into this file.")
@click.option("--utc", is_flag=True, help="Show times in UTC instead of local time.")
@click.option("--json", "raw", is_flag=True, help="One JSON object per event.")
@setting("Redis", "--session-events", StreamName(), "As set for the gateways.")
@with_streams
def command(
    where: Where,
    command_id: str | None,
    imei: str | None,
    since: int,
    limit: int,
    journey: bool,
    mermaid: bool,
    svg: Path | None,
    png: Path | None,
    utc: bool,
    raw: bool,
    session_events: str,
) -> int:
    """Show the events and notes of the command COMMAND_ID, and the state diagram with its path.

    --svg and --png draw the diagram of the states with the path, numbered and timed; with --sequence the way
    of the command between producer, gateway and device.

    Exit status: 0 found; 2 wrong use, or Redis cannot be used; 4 the command is unknown or no longer kept, or
    there is no event of the device in that time.
    """
    form = Form(Times(utc), raw, mermaid, journey, svg, png)
    if (command_id is None) == (imei is None):
        raise click.UsageError("Give a COMMAND_ID or --imei.")
    if command_id is not None:
        return complete(_history(where, command_id, form))
    if form.mermaid or form.sequence or form.svg or form.png:
        raise click.UsageError("Diagrams are of one command: give a COMMAND_ID.")
    assert imei is not None
    return complete(_time_line(where, imei, since, limit, session_events, form))


async def _history(where: Where, command_id: str, form: Form) -> int:
    async with producer(where, "history") as streams:
        entries = await streams.history(command_id)
    if not entries:
        stderr.fault(f"The command {render.printable(command_id)} is unknown.")
        return UNKNOWN
    if form.raw:
        return _print_raw(entries)
    if form.mermaid or form.sequence or form.svg or form.png:
        return _print_diagram(entries, form)
    console = render.Output()
    print_events(console, entries, form.times)
    console.print()
    console.print(path_drawing.drawing(command_events(entries)))
    return FOUND


def print_events(console: Console, entries: list[LogEntry], times: Times) -> None:
    """Print the events and notes of a command, one in each row."""
    first = entries[0][1]
    title = "  ".join(render.printable(first.get(name, ""), 64) for name in ("command_id", "imei"))
    console.print(Text(title, "bold"), soft_wrap=True)
    for name in ("requested_by", "confirmed_by"):
        if first.get(name):
            console.print(Text(f"{name.replace('_', ' ')} {render.printable(first[name])}"))
    print_listing(console, COLUMNS, [row(fields, times) for _, fields in entries], "answer or detail")


async def _time_line(where: Where, imei: str, since: int, limit: int, session_events: str, form: Form) -> int:
    """Print the newest events of a device, the oldest of them first."""
    keys = Keys(where.key_prefix)
    streams = {keys.responses}
    if session_events != "off":
        streams.add(f"{where.key_prefix}{session_events}")
    found: list[LogEntry] = []
    async with server(where, "history") as client:
        for stream in streams:
            count = 0
            async for entry in newest(client, stream, {"imei": [imei]}, start=f"{since}-0"):
                found.append(entry)
                count += 1
                if count == limit:
                    break
    found = sorted(found, key=_place)[-limit:]
    if not found:
        stderr.fault(f"There is no event of {render.printable(imei, 32)} in that time.")
        return UNKNOWN
    console = render.Output()
    for entry in found:
        render.show(console, *entry, raw=form.raw, times=form.times)
    return FOUND


def _place(entry: LogEntry) -> tuple[int, int]:
    milliseconds, _, serial = entry[0].partition("-")
    return int(milliseconds), int(serial)


def _print_raw(entries: list[LogEntry]) -> int:
    console = render.Output()
    for entry in entries:
        render.show(console, *entry, raw=True)
    return FOUND


def _print_diagram(entries: list[LogEntry], form: Form) -> int:
    in_terminal = not (form.mermaid or form.svg or form.png)
    longest = SHORT if in_terminal and render.Output().width < WIDE else LONGEST
    source = sequence(messages(entries), longest) if form.sequence else chart(entries)
    draws: tuple[tuple[Path | None, Callable[[str], str | bytes | None]], ...] = (
        (form.svg, pictures.svg),
        (form.png, pictures.png),
    )
    for target, draw in draws:
        if target is not None:
            pictures.write(target, source, draw)
    if form.mermaid:
        click.echo(source)
    if in_terminal:
        click.echo(pictures.drawn(source) or source)
    return FOUND


def messages(entries: list[LogEntry]) -> list[Message]:
    """The messages of the log; entries that are none are left out."""
    found = (render.read(fields) for _, fields in entries)
    return [message for message in found if isinstance(message, Message)]


def command_events(entries: list[LogEntry]) -> list[CommandEvent]:
    """The events of the command. Notes, and entries that are no message, are left out."""
    return [message for message in messages(entries) if isinstance(message, CommandEvent)]


def row(fields: render.Fields, times: Times) -> Row:
    """The row of one entry."""
    message = render.read(fields)
    if isinstance(message, Note):
        return Row(_cells("", message, message.note, "", "", times), _said(message))
    if isinstance(message, CommandEvent):
        texts = (message.state, message.reason, message.delivery)
        after = "" if message.age_ms is None else f"{message.age_ms} ms"
        return Row(_cells(str(message.seq), message, *texts, times, after), _said(message))
    return Row([Text("?"), *(Text() for _ in COLUMNS[1:])], render.unread(fields))


def _cells(
    number: str,
    message: CommandEvent | Note,
    name: str,
    reason: str,
    delivery: str,
    times: Times,
    after: str = "",
) -> Sequence[Text]:
    at = Text(render.time_of(message.at, times))
    rest = (Text(render.printable(text, 32)) for text in (reason, delivery, after))
    return (Text(number), at, render.styled(name), *rest)


def _said(message: CommandEvent | Note) -> Text:
    return Text(render.answer_text(message) or render.printable(message.detail, render.WHOLE))


def chart(entries: list[LogEntry]) -> str:
    """The state diagram as Mermaid text, with the path. Entries that are not events are left out."""
    told = command_events(entries)
    safe = (replace(one, reason=render.printable(one.reason, 32)) for one in told)
    found = [event for one in safe if isinstance(event := event_of(one), events.CommandEvent)]
    ages = ["" if one.age_ms is None else f"+{one.age_ms} ms" for one in told]
    visits = [replace(visit, when=age) for visit, age in zip(path(COMMAND, found), ages, strict=True)]
    return command_diagram(visits)
