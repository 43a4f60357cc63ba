"""The tabs of ``telgw top``. Each knows what it needs of the feed, and how it is shown."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from itertools import islice
from typing import ClassVar, TypeVar

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import RichLog, Sparkline, Static, TabPane

from store.streams.producer import LogEntry

from .. import render
from ..times import Times
from . import tables
from .feed import EVENTS, Feed
from .tables import Line, Listing

T = TypeVar("T")


class Pane(TabPane):
    """A tab.

    Attributes:
        wanted: lower-case text that a row or an event must contain to be shown; empty: all are shown.
    """

    TITLE: ClassVar[str]

    def __init__(self, id: str) -> None:
        super().__init__(self.TITLE, id=id)
        self.wanted = ""

    async def read(self, feed: Feed) -> None:
        """Read what this tab needs besides the overview."""

    def show(self, feed: Feed) -> None:
        """Show what was read."""
        raise NotImplementedError

    @property
    def target(self) -> Widget:
        """What gets the keys."""
        return next(iter(self.query("Listing, RichLog")))

    def passes(self, text: str) -> bool:
        """Whether the filter lets it through."""
        return self.wanted in text.lower()

    def fill(self, name: str, found: Collection[T], line: Callable[[T], Line]) -> int:
        """Show what passes the filter, `tables.ROWS` at most; how many pass."""
        if self.wanted:
            lines = [one for one in map(line, found) if self.passes(" ".join(map(str, one.cells)))]
        else:  # a row costs something, and there may be many that are not shown
            lines = [line(one) for one in islice(found, tables.ROWS)]
        self.query_one(f"#{name}", Listing).replace(lines[: tables.ROWS])
        return len(lines) if self.wanted else len(found)

    def count(self, name: str, text: str, passing: int) -> None:
        """Show how many there are, and how many of them are shown."""
        if self.wanted:
            text += f"; {passing:,} pass the filter"
        if passing > tables.ROWS:
            text += f"; the first {tables.ROWS} are shown: / filters"
        self.query_one(f"#{name}", Static).update(text)


class OverviewPane(Pane):
    """Rates, gateways and consumers."""

    TITLE = "1 Overview"

    def __init__(self, id: str, prefix: str) -> None:
        super().__init__(id)
        self._prefix = prefix

    def compose(self) -> ComposeResult:
        """Three rates, and two tables."""
        with Horizontal(id="rates"):
            for name in ("records", "answers", "latency"):
                with Vertical(classes="rate"):
                    yield Static("", id=f"{name}-text")
                    yield Sparkline([], id=f"{name}-line")
        yield Listing(*tables.INSTANCES, id="instances")
        yield Listing(*tables.CONSUMERS, id="consumers")

    def show(self, feed: Feed) -> None:
        """Show what was read."""
        last = feed.latency.last
        answer = "answer after: none yet" if last is None else f"answer after {last:,.0f} ms"
        self._rate("records", _amount("records/s", feed.records.now), feed.records.past)
        self._rate("answers", _amount("commands ended/s", feed.answers.now), feed.answers.past)
        self._rate("latency", answer, feed.latency.past)
        if found := feed.overview:
            self.fill("instances", found.instances, tables.instance)
            self.fill("consumers", found.consumers, lambda one: tables.consumer(one, self._prefix))

    def _rate(self, name: str, text: str, past: Iterable[float]) -> None:
        self.query_one(f"#{name}-text", Static).update(text)
        self.query_one(f"#{name}-line", Sparkline).data = list(past)


class DevicesPane(Pane):
    """All devices. They are read with one of `EVERY` readings: there may be many."""

    TITLE = "2 Devices"
    EVERY = 3

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self._turn = 0

    def compose(self) -> ComposeResult:
        """A count and a table."""
        yield Static("", id="devices-count", classes="count")
        yield Listing(*tables.DEVICES, id="devices-table")

    async def read(self, feed: Feed) -> None:
        """Read all devices, if it is time."""
        if self._turn % self.EVERY == 0 or not feed.devices:
            await feed.read_devices()
        self._turn += 1

    def show(self, feed: Feed) -> None:
        """Show what was read."""
        devices, online = feed.devices, sum(one.online for one in feed.devices)
        passing = self.fill("devices-table", devices, lambda one: tables.device(one, feed.now_ms))
        self.count("devices-count", f"{online:,} online, {len(devices) - online:,} offline", passing)


class CommandsPane(Pane):
    """Commands in flight, and those that failed lately."""

    TITLE = "3 Commands"

    def compose(self) -> ComposeResult:
        """Two counts and two tables."""
        yield Static("", id="flight-count", classes="count")
        yield Listing(*tables.IN_FLIGHT, id="flight")
        yield Static("", id="failed-count", classes="count")
        yield Listing(*tables.FAILED, id="failed")

    async def read(self, feed: Feed) -> None:
        """Read the commands in flight; failures come with the log."""
        await feed.read_commands()

    def show(self, feed: Feed) -> None:
        """Show what was read."""
        passing = self.fill("flight", feed.in_flight, lambda one: tables.in_flight(one, feed.now_ms))
        self.count("flight-count", f"{len(feed.in_flight):,} in flight", passing)
        passing = self.fill("failed", feed.failed, lambda one: tables.failed(one, feed.now_ms))
        self.count("failed-count", f"{len(feed.failed)} failed lately", passing)


class EventsPane(Pane):
    """The log as it grows."""

    TITLE = "4 Events"

    def __init__(self, id: str, times: Times) -> None:
        super().__init__(id)
        self._times = times
        self._shown: list[LogEntry] = []
        self._shown_for = ""

    def compose(self) -> ComposeResult:
        """Lines of text."""
        yield RichLog(id="feed", max_lines=EVENTS, wrap=True, min_width=20)

    def show(self, feed: Feed) -> None:
        """Add what is new; after a change of the filter begin again."""
        log = self.query_one(RichLog)
        if self._shown_for != self.wanted:
            self._shown, self._shown_for = [], self.wanted
            log.clear()
        passing = [entry for entry in feed.events if self.passes(" ".join(entry[1].values()))]
        known = {entry_id for entry_id, _ in self._shown}
        for _, fields in [entry for entry in passing if entry[0] not in known]:
            log.write(render.line(fields, self._times))
        self._shown = passing


def _amount(unit: str, amount: float | None) -> str:
    return f"{unit}: not known yet" if amount is None else f"{amount:,.1f} {unit}"
