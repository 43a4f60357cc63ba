"""The tables of ``telgw top``: a row for each gateway, consumer, device and command."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.text import Text
from textual.widgets import DataTable

from store.fleet.commands import CommandEnded, CommandInFlight
from store.fleet.devices import Device
from store.fleet.overview import Consumer, Instance

from .. import render
from ..devices import STYLES, since
from ..times import duration
from ..wait_texts import WAITS

ROWS = 500
"""Rows that a table shows at most: a filter finds the others."""
LATE_MS = 45_000
"""Age of a heartbeat that is suspicious: by default there is one every 30 s."""


class Line(NamedTuple):
    """A row: what it is about, and its cells."""

    key: str
    cells: Sequence[Text | str]


class Listing(DataTable[Text | str]):
    """A table whose rows are replaced as a whole. The cursor stays on what it was on."""

    def __init__(self, *headings: str, id: str) -> None:
        super().__init__(id=id, cursor_type="row", zebra_stripes=True)
        self._headings = headings
        self._keys: list[str] = []

    def on_mount(self) -> None:
        """Add the columns."""
        self.add_columns(*self._headings)

    @property
    def current(self) -> str | None:
        """What the row under the cursor is about; None if there is no row."""
        return self._keys[self.cursor_row] if 0 <= self.cursor_row < len(self._keys) else None

    def replace(self, lines: Iterable[Line]) -> None:
        """Show these rows."""
        before = self.current
        left, top = self.scroll_offset
        self.clear()
        self._keys = []
        for line in lines:
            self.add_row(*line.cells)
            self._keys.append(line.key)
        if before in self._keys:
            self.move_cursor(row=self._keys.index(before), scroll=False)
        self.scroll_to(left, top, animate=False)


INSTANCES = ("gateway", "heartbeat", "in flight")
CONSUMERS = ("stream", "group", "not read", "not acknowledged")
DEVICES = ("IMEI", "state", "for", "heard", "cmds", "gateway", "position", "km/h", "address")
IN_FLIGHT = ("age", "state", "IMEI", "command", "waits for", "gateway")
FAILED = ("ago", "state", "IMEI", "command", "reason", "delivery", "detail")


def instance(one: Instance) -> Line:
    """A gateway as a row."""
    age = one.heartbeat_age_ms
    beat = Text("none: dead", "bold red") if age is None else Text(f"{duration(age)} ago")
    if age is not None and age > LATE_MS:
        beat.stylize("yellow")
    return Line(one.instance_id, (render.printable(one.instance_id, 64), beat, str(one.waiting)))


def consumer(one: Consumer, prefix: str) -> Line:
    """A consumer group as a row."""
    stream = one.stream.removeprefix(prefix)
    lag = "unknown" if one.lag is None else f"{one.lag:,}"
    cells = (render.printable(stream, 64), render.printable(one.group, 64), lag, f"{one.pending:,}")
    return Line(f"{one.stream} {one.group}", cells)


def device(one: Device, now_ms: int) -> Line:
    """A device as a row."""
    status, last = one.status, one.status.last if one.status else None
    cells = (
        render.printable(one.imei, 64),
        Text(render.printable(one.state, 32), STYLES.get(one.state, "")),
        since(one.since_ms, now_ms),
        since(one.last_seen_ms, now_ms),
        str(len(one.commands) or ""),
        render.printable(one.instance_id, 64),
        f"{last.latitude:.5f} {last.longitude:.5f}" if last else "",
        str(last.speed) if last else "",
        render.printable(status.peer, 64) if status else "",
    )
    return Line(one.imei, cells)


def in_flight(one: CommandInFlight, now_ms: int) -> Line:
    """A command that has not ended as a row."""
    command = one.command
    cells = (
        duration(now_ms - command.accepted_at),
        render.styled(command.state),
        render.printable(command.imei, 64),
        render.printable(command.command_id, 64),
        WAITS[one.wait],
        render.printable(command.instance_id, 64),
    )
    return Line(command.command_id, cells)


def failed(one: CommandEnded, now_ms: int) -> Line:
    """A command that failed as a row."""
    event = one.event
    cells = (
        duration(now_ms - one.at_ms),
        render.styled(event.state),
        render.printable(event.imei or "", 64),
        render.printable(event.command_id, 64),
        render.printable(event.reason, 64),
        render.printable(event.delivery, 32),
        render.printable(event.detail or "", render.LONGEST),
    )
    return Line(event.command_id, cells)
