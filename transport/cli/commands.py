"""``telgw commands``: what is in flight and what it waits for, and what has ended and why."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import asdict
from typing import Any, NamedTuple, Protocol

import click
from rich.text import Text

from fsm.command import COMMAND, FAILED, TIMEOUT
from fsm.reasons import REASONS
from store.fleet.commands import CommandEnded, CommandInFlight, CommandReader
from store.fleet.waits import Wait
from store.keys import Keys
from store.ledger.open_commands import UNREAD, OpenCommand
from store.streams.producer import Producer

from . import render, stderr
from .event_loop import complete
from .ids import Imei, InstanceId
from .listing import Column, Row, print_listing
from .parameters import Moment
from .stream_options import Where, with_streams
from .streams import server
from .times import Times, duration
from .wait_texts import WAITS

FOUND, NONE = 0, 4
TABLE_LIMIT = 50
"""Commands that a table shows without --limit."""

STATES = tuple(state for state in COMMAND.states if state != COMMAND.initial)
OPEN_STATES = (UNREAD, *(state for state in STATES if state not in COMMAND.terminal))
COLUMNS = (
    *(Column("age", right=True), Column("state"), Column("IMEI"), Column("command")),
    *(Column("delivery", extra=True), Column("gateway", extra=True), Column("at", extra=True)),
)
ENDED_COLUMNS = tuple(column for column in COLUMNS if column.heading != "delivery")
"""Without the delivery: the tail of a command that has ended has it, beside the reason."""


class Wanted(NamedTuple):
    """Which commands are shown. Empty means any."""

    states: tuple[str, ...]
    reasons: tuple[str, ...]
    imei: str
    instance_id: str
    since_ms: int
    limit: int | None

    def takes(self, one: OpenCommand) -> bool:
        """Whether a command that has not ended is shown."""
        return (
            (not self.states or one.state in self.states)
            and self.imei in ("", one.imei)
            and self.instance_id in ("", one.instance_id)
            and one.accepted_at >= self.since_ms
        )


@click.command(short_help="Show the commands in flight and what they wait for, or those that have ended.")
@click.option("--in-flight", is_flag=True, help="Those that have not ended, the oldest first.  [the default]")
@click.option("--parked", is_flag=True, help="Those that wait for a device that sleeps, by device.")
@click.option("--ended", is_flag=True, help="Those that have ended, the newest first.")
@click.option("--failed", is_flag=True, help="Those that ended as failed or timeout.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([UNREAD, *STATES]),
    help="Only those in this state; may be given more than once.",
)
@click.option(
    "--reason",
    "reasons",
    multiple=True,
    type=click.Choice(sorted(REASONS)),
    help="Only those that ended for this reason; may be given more than once.",
)
@click.option("--imei", type=Imei(), help="Only commands for this device.")
@click.option("--instance", type=InstanceId(), help="Only commands of this gateway.")
@click.option(
    "--since",
    type=Moment(),
    help="Only what was accepted, or ended, since: 1h, 2026-11-29T10:00.  [default: 1d for ended ones]",
)
@click.option(
    "--limit", type=click.IntRange(1), help=f"The most commands.  [default: {TABLE_LIMIT}; with --json all]"
)
@click.option("--utc", is_flag=True, help="Show times in UTC instead of local time.")
@click.option("--json", "raw", is_flag=True, help="One JSON object per command.")
@with_streams
def command(
    where: Where,
    in_flight: bool,
    parked: bool,
    ended: bool,
    failed: bool,
    states: tuple[str, ...],
    reasons: tuple[str, ...],
    imei: str | None,
    instance: str | None,
    since: int | None,
    limit: int | None,
    utc: bool,
    raw: bool,
) -> int:
    """Show the commands that have not ended, with what each waits for; or those that have, and why.

    The text of a command is never shown. `telgw history COMMAND_ID` shows all events of one.

    Exit status: 0 found; 2 wrong use, or Redis cannot be used; 4 there is no such command.
    """
    states = tuple(dict.fromkeys((*states, *((FAILED, TIMEOUT) if failed else ()))))
    ended = ended or bool(reasons) or any(state in COMMAND.terminal for state in states)
    if ended and (in_flight or parked or any(state in OPEN_STATES for state in states)):
        raise click.UsageError("Ask for commands that have ended or for those in flight, not for both.")
    if since is None:
        since = Moment().convert("1d", None, None) if ended else 0
    limit = TABLE_LIMIT if limit is None and not raw else limit
    wanted = Wanted(states, reasons, imei or "", instance or "", since, limit)
    kind = Ended if ended else Parked if parked else InFlight
    return complete(_commands(where, kind(wanted, Times(utc)), limit, raw))


async def _commands(where: Where, shown: Shown, limit: int | None, raw: bool) -> int:
    async with server(where, "commands") as client:
        keys = Keys(where.key_prefix)
        found = shown.read(CommandReader(client, keys), await Producer(client, keys).now_ms())
        async with aclosing(found):
            count = await (_print_lines if raw else _print_table)(found, shown, limit)
    if not count:
        stderr.fault(shown.nothing)
    return FOUND if count else NONE


async def _print_lines(found: AsyncIterator[Any], shown: Shown, limit: int | None) -> int:
    """Print each as it is read; how many."""
    count = 0
    async for one in found:
        click.echo(json.dumps(shown.as_dict(one)))
        count += 1
        if count == limit:
            break
    return count


async def _print_table(found: AsyncIterator[Any], shown: Shown, limit: int | None) -> int:
    """Print the first `limit` in a table; how many."""
    rows: list[Row] = []
    async for one in found:
        rows.append(shown.row(one))
        if len(rows) == limit:
            break
    if rows:
        print_listing(render.Output(), shown.columns, rows, shown.tail)
        click.echo(shown.summary(len(rows)))
    return len(rows)


class Shown(Protocol):
    """Commands of one kind, and how they are shown."""

    tail: str
    nothing: str

    @property
    def columns(self) -> Sequence[Column]:
        """Those of the table."""

    def read(self, reader: CommandReader, now_ms: int) -> AsyncGenerator[Any]:
        """The commands; `now_ms` is the time of Redis."""

    def row(self, one: Any) -> Row:
        """One in the table."""

    def as_dict(self, one: Any) -> dict[str, Any]:
        """One as JSON."""

    def summary(self, count: int) -> str:
        """How many there are, `count` of them in the table."""


class InFlight:
    """The commands that have not ended, the oldest first: those on the streams of gateways."""

    columns = COLUMNS
    tail = "waits for"
    nothing = "No such command is in flight."

    def __init__(self, wanted: Wanted, times: Times) -> None:
        self._wanted = wanted
        self._times = times
        self._total = 0
        self._now_ms = 0

    async def read(self, reader: CommandReader, now_ms: int) -> AsyncGenerator[CommandInFlight]:
        """See `Shown`."""
        self._now_ms = now_ms
        chosen = [one for one in await reader.in_flight() if self._wanted.takes(one.command)]
        self._total = len(chosen)
        for one in chosen:
            yield one

    def summary(self, count: int) -> str:
        """See `Shown`."""
        left = self._total - count
        return f"{self._total} in flight{f'; {left} more: --limit' if left else ''}"

    def row(self, one: CommandInFlight) -> Row:
        """See `Shown`."""
        command = one.command
        cells = (
            Text(duration(self._now_ms - command.accepted_at)),
            render.styled(command.state),
            Text(render.printable(command.imei, 64)),
            Text(render.printable(command.command_id, 64)),
            Text(command.delivery),
            Text(render.printable(command.instance_id, 64)),
            Text(self._times.show(command.accepted_at)),
        )
        return Row(cells, Text(WAITS[one.wait], "yellow" if one.wait is Wait.LATE_ANSWER else ""))

    def as_dict(self, one: CommandInFlight) -> dict[str, Any]:
        """See `Shown`."""
        age_ms = max(0, self._now_ms - one.command.accepted_at)
        more = {"delivery": one.command.delivery, "age_ms": age_ms, "waits_for": one.wait.value}
        return asdict(one.command) | more


class Parked(InFlight):
    """The commands that are parked, by device. There may be a million: no more are read than are shown."""

    nothing = "No such command is parked."

    async def read(self, reader: CommandReader, now_ms: int) -> AsyncGenerator[CommandInFlight]:
        """See `Shown`."""
        self._now_ms = now_ms
        self._total = await reader.devices_that_sleep()
        async for one in reader.parked(self._wanted.imei):
            if self._wanted.takes(one):
                yield CommandInFlight(one, Wait.PARKED)

    def summary(self, count: int) -> str:
        """See `Shown`."""
        more = "; there may be more: --limit" if count == self._wanted.limit else ""
        devices = f"{self._total} device{'' if self._total == 1 else 's'}"
        return f"{count} parked{more}; commands are parked for {devices}"


class Ended:
    """The commands that have ended, the newest first."""

    columns = ENDED_COLUMNS
    tail = "reason, delivery, answer or detail"
    nothing = "No such command has ended in that time."

    def __init__(self, wanted: Wanted, times: Times) -> None:
        self._wanted = wanted
        self._times = times
        self._now_ms = 0

    async def read(self, reader: CommandReader, now_ms: int) -> AsyncGenerator[CommandEnded]:
        """See `Shown`."""
        self._now_ms, wanted = now_ms, self._wanted
        chosen = {
            name: getattr(wanted, name) for name in ("states", "reasons", "imei", "instance_id", "since_ms")
        }
        async for one in reader.ended(**chosen):
            yield one

    def summary(self, count: int) -> str:
        """See `Shown`."""
        more = "; there may be more: --limit" if count == self._wanted.limit else ""
        return f"{count} ended{more}"

    def row(self, one: CommandEnded) -> Row:
        """See `Shown`."""
        event = one.event
        cells = (
            Text(duration(self._now_ms - one.at_ms)),
            render.styled(event.state),
            *(Text(render.printable(text, 64)) for text in (event.imei, event.command_id)),
            Text(render.printable(event.instance_id, 64)),
            Text(self._times.show(one.at_ms)),
        )
        return Row(cells, render.outcome(event))

    def as_dict(self, one: CommandEnded) -> dict[str, Any]:
        """See `Shown`. Its terminal event, with its id in the log."""
        return {"id": one.entry_id, **one.fields}
