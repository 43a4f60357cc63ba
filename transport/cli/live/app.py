"""The application of ``telgw top``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar

from rich.console import RenderableType
from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Footer, Input, Static, TabbedContent

from fsm.errors import GatewayError
from store.client.errors import StoreError

from .. import render
from ..times import Times
from .details import Details, command_body, device_body
from .dialogs import CancelDialog, Help, SendDialog
from .feed import Feed
from .panes import CommandsPane, DevicesPane, EventsPane, OverviewPane, Pane
from .tables import Listing

REFRESH = 2.0
"""Seconds between two readings."""
OVERVIEW, DEVICES, COMMANDS, EVENTS = TABS = ("overview", "devices", "commands", "events")
MIB = 1024 * 1024


class Top(App[None]):
    """Shows a fleet until it is left.

    Args:
        prefix: of the keys, which is left out where streams are named.
        tab: the one that is shown at first.
    """

    CSS_PATH = "top.tcss"
    TITLE = "telgw top"
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(number), f"tab('{name}')", name, show=False) for number, name in enumerate(TABS, 1)),
        # Before any widget sees the key: what is typed next may wait already while devices are read.
        Binding("slash", "filter", "filter", priority=True),
        Binding("s", "send", "send"),
        Binding("c", "cancel", "cancel"),
        Binding("y", "copy", "copy"),
        Binding("p", "pause", "pause"),
        Binding("t", "light", "light or dark"),
        Binding("question_mark", "help", "help"),
        Binding("escape", "end_filter", show=False),
        Binding("q", "quit", "quit"),
    ]

    def __init__(self, feed: Feed, prefix: str, times: Times, tab: str = OVERVIEW) -> None:
        super().__init__()
        self._feed = feed
        self._prefix = prefix
        self._times = times
        self._first = tab
        self._paused = False
        self._reading = self._wanted = False
        self._readings = 0

    # What is on the screen

    def compose(self) -> ComposeResult:
        """A line with the state of the fleet, the tabs, the filter, and the keys."""
        yield Static("", id="summary")
        with TabbedContent(initial=self._first, id="tabs"):
            yield OverviewPane(OVERVIEW, self._prefix)
            yield DevicesPane(DEVICES)
            yield CommandsPane(COMMANDS)
            yield EventsPane(EVENTS, self._times)
        yield Input(placeholder="filter", id="filter")
        yield Footer(show_command_palette=False)

    async def on_mount(self) -> None:
        """Read for the first time, and begin to refresh."""
        self.query_one("#filter").display = False
        self._refresh()
        self.set_interval(REFRESH, self._refresh)

    @work
    async def _refresh(self) -> None:
        """Read what is visible and show it; without Redis say so and leave the rest.

        A reading is never cancelled: what is asked for meanwhile is read after it.
        """
        self._wanted = True
        if self._reading:
            return
        self._reading = True
        try:
            while self._wanted and not self._paused and self.is_running:
                self._wanted = False
                await self._read()
        except (StoreError, GatewayError) as error:
            self._summary(Text(f"{error}  (last known below)", "bold white on red"))
        finally:
            self._reading = False

    async def _read(self) -> None:
        pane = self._pane
        if not self._readings:
            await self._feed.read_failed()
        await self._feed.read_overview()
        await pane.read(self._feed)
        self._readings += 1
        if self.is_running:  # it may have been left meanwhile
            self._show()

    def _show(self) -> None:
        self._summary(self._state())
        self._pane.show(self._feed)

    @property
    def _pane(self) -> Pane:
        """The tab that is shown."""
        return self.query_one(f"#{self.query_one('#tabs', TabbedContent).active}", Pane)

    def _summary(self, text: RenderableType) -> None:
        self.query_one("#summary", Static).update(text)

    def _state(self) -> Text:
        """The state of the fleet in one line."""
        found = self._feed.overview
        assert found is not None
        alive = sum(one.heartbeat_age_ms is not None for one in found.instances)
        dead = len(found.instances) - alive
        server = found.server
        memory = "" if server.memory is None else f"  memory {server.memory / MIB:,.0f} MiB"
        limit = f" of {server.memory_limit / MIB:,.0f}" if server.memory_limit else ""
        calls = "" if server.calls is None else f"  {server.calls:,} calls/s"
        return Text.assemble(
            (" telgw top ", "bold reverse"),
            ("  paused" if self._paused else "", "bold yellow"),
            f"  {alive} gateway{'s' * (alive != 1)}",
            (f", {dead} without a heartbeat" if dead else "", "bold red"),
            f"  {found.devices:,} device{'s' * (found.devices != 1)}",
            f"  Redis {server.version or ''}{memory}{limit}{calls}",
        )

    @property
    def up_to_date(self) -> bool:
        """Whether what is visible was read and is shown."""
        return self._readings > 0 and not self._reading

    # Keys

    def action_tab(self, name: str) -> None:
        """Show a tab."""
        self.set_focus(None)  # a table that keeps the focus would bring its tab back
        self.query_one("#tabs", TabbedContent).active = name

    def on_tabbed_content_tab_activated(self) -> None:
        """Read what is shown now, and give its table the keys."""
        self.set_focus(self._pane.target)
        self._refresh()

    def action_filter(self) -> None:
        """Ask for a filter."""
        line = self.query_one("#filter", Input)
        line.display = True
        self.set_focus(line)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool:
        """Whether a key has its meaning now: a slash may also be a character of a text."""
        return action != "filter" or not (self._is_covered or isinstance(self.focused, Input))

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while it is typed."""
        if event.input.id == "filter":
            self._set_filter(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Give the keys back to the table; the filter stays."""
        if event.input.id == "filter":
            event.input.display = bool(event.value)
            self.on_tabbed_content_tab_activated()

    def action_end_filter(self) -> None:
        """Show everything again."""
        line = self.query_one("#filter", Input)
        line.value, line.display = "", False
        self.on_tabbed_content_tab_activated()

    def _set_filter(self, text: str) -> None:
        for pane in self.query(Pane):
            pane.wanted = text.lower()
        if self._feed.overview is not None:
            self._show()

    def action_pause(self) -> None:
        """Stop refreshing, or go on."""
        self._paused = not self._paused
        if self._feed.overview is not None:
            self._summary(self._state())

    def action_light(self) -> None:
        """Change between light and dark."""
        self.theme = "textual-dark" if self.theme == "textual-light" else "textual-light"

    def action_help(self) -> None:
        """Explain the keys."""
        self.push_screen(Help())

    def action_copy(self) -> None:
        """Copy the IMEI or id under the cursor."""
        if name := self._current():
            self.copy_to_clipboard(name)
            self.notify(f"{name} is copied, if the terminal allows it.", markup=False)

    def _current(self) -> str | None:
        """The name of what is under the cursor."""
        return self.focused.current if isinstance(self.focused, Listing) else None

    # One device, one command

    def on_data_table_row_selected(self, event: Listing.RowSelected) -> None:
        """Open the device or the command under the cursor."""
        table = event.data_table
        if not isinstance(table, Listing) or not (name := table.current):
            return
        if table.id == "devices-table":
            self._open(f"Device {name}", lambda: self._device(name))
        elif table.id in ("flight", "failed"):
            self._open(f"Command {name}", lambda: self._command(name))

    def _open(self, title: str, draw: Callable[[], Awaitable[RenderableType]]) -> None:
        self.push_screen(Details(render.printable(title, 96), draw, _sentence))

    async def _device(self, imei: str) -> RenderableType:
        found = await self._feed.device(imei)
        events = [entry for entry in self._feed.events if entry[1].get("imei") == imei]
        return device_body(found, events, self._times, self._feed.now_ms)

    async def _command(self, command_id: str) -> RenderableType:
        return command_body(list(await self._feed.history(command_id)), self._times)

    @work
    async def action_send(self) -> None:
        """Send a command to the device under the cursor, after a confirmation."""
        imei = self._vehicle()
        if not imei or isinstance(self.screen, Details):
            self.notify("Put the cursor on a device or a command first.")
            return
        if text := await self.push_screen_wait(SendDialog(imei)):
            try:
                sent = await self._feed.send(imei, text)
            except (StoreError, GatewayError) as error:
                self.notify(str(error), severity="error", markup=False)
            else:
                self.notify(f"{sent.command_id} is handed over.", markup=False)
                self._open(f"Command {sent.command_id}", lambda: self._command(sent.command_id))

    @work
    async def action_cancel(self) -> None:
        """Cancel the command under the cursor, after a confirmation."""
        table = self.focused
        if not isinstance(table, Listing) or table.id != "flight" or not (name := table.current):
            self.notify("Put the cursor on a command in flight first.")
            return
        if await self.push_screen_wait(CancelDialog(name, self._vehicle())):
            try:
                await self._feed.cancel(name)
            except (StoreError, GatewayError) as error:
                self.notify(str(error), severity="error", markup=False)
            else:
                self._open(f"Command {name}", lambda: self._command(name))

    @property
    def _is_covered(self) -> bool:
        """Whether something lies on the tabs: details, a dialog, the help."""
        return len(self.screen_stack) > 1

    def _vehicle(self) -> str:
        """The IMEI of the device or the command under the cursor; empty if there is none."""
        name = self._current()
        if name is None or not isinstance(self.focused, Listing):
            return ""
        if self.focused.id == "devices-table":
            return name
        known = {one.command.command_id: one.command.imei for one in self._feed.in_flight}
        known |= {one.event.command_id: one.event.imei or "" for one in self._feed.failed}
        return known.get(name, "")


def _sentence(error: Exception) -> str | None:
    """What an error of Redis says; None for an error that is a bug."""
    return str(error) if isinstance(error, StoreError | GatewayError) else None
