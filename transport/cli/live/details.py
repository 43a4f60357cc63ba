"""One device, or one command with its path through the states, over the tables of ``telgw top``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar

from rich.console import Group, RenderableType
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from store.fleet.devices import Device
from store.streams.producer import LogEntry

from .. import path_drawing, render
from ..devices import facts
from ..history import command_events
from ..times import Times, duration
from .dialogs import CLOSES

Draw = Callable[[], Awaitable[RenderableType]]
REFRESH = 2.0
"""Seconds between two readings."""


class Details(ModalScreen[None]):
    """Shows what `draw` returns, and asks it again every `REFRESH` seconds.

    Args:
        title: what it is about.
        draw: reads and draws; what it raises is shown in its place by `complain`.
    """

    BINDINGS: ClassVar[list[BindingType]] = [("escape,enter,q", "dismiss", "Close")]

    def __init__(self, title: str, draw: Draw, complain: Callable[[Exception], str | None]) -> None:
        super().__init__()
        self._title = title
        self._draw = draw
        self._complain = complain
        self._reading = False

    def compose(self) -> ComposeResult:
        """A title and a text that scrolls."""
        with VerticalScroll(classes="dialog wide", id="details") as box:
            box.border_subtitle = CLOSES
            yield Static(Text(self._title, "bold"))
            yield Static("", id="body")

    def on_mount(self) -> None:
        """Begin to read."""
        self._read()
        self.set_interval(REFRESH, self._read)

    @work
    async def _read(self) -> None:
        """Read and show, unless that is being done already."""
        if not self._reading:
            self._reading = True
            try:
                await self._read_once()
            finally:
                self._reading = False

    async def _read_once(self) -> None:
        try:
            drawn = await self._draw()
        except Exception as error:
            sentence = self._complain(error)
            if sentence is None:
                raise
            drawn = Text(sentence, "red")
        for body in self.query("#body").results(Static):  # there is none if it was left meanwhile
            body.update(drawn)


def device_body(device: Device | None, events: list[LogEntry], times: Times, now_ms: int) -> RenderableType:
    """All that is known of a device, and its latest events."""
    if device is None:
        return Text("Nothing is known of this device.")
    lines = [
        Text.assemble((f"{name:<12}", "bold"), text) for name, text in facts(device, times, now_ms) if text
    ]
    for one in device.commands:
        age = duration(now_ms - one.accepted_at)
        lines.append(
            Text.assemble(
                (f"{'command':<12}", "bold"),
                render.printable(one.command_id, 64),
                "  ",
                render.styled(one.state),
                f"  for {age}",
            )
        )
    lines.append(Text())
    lines += [render.line(fields, times) for _, fields in events[-20:]]
    return Group(*lines)


def command_body(entries: list[LogEntry], times: Times) -> RenderableType:
    """The events of a command, and its path through the states."""
    if not entries:
        return Text("No gateway has accepted this command, or its events are no longer kept.")
    lines = [render.line(fields, times) for _, fields in entries]
    return Group(*lines, Text(), path_drawing.drawing(command_events(entries)))
