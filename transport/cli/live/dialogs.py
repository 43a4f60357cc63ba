"""Dialogs of ``telgw top``: sending and cancelling, each confirmed, and the help."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

HELP = """\
[b]Tabs[/b]      1 overview, 2 devices, 3 commands, 4 events; Tab and arrow keys move inside a tab
[b]/[/b]         filter the tables and events by any text; Esc ends the filter
[b]Enter[/b]     open the device or the command under the cursor
[b]s[/b]         send a command to the device under the cursor
[b]c[/b]         cancel the command under the cursor, if no byte of it was sent
[b]y[/b]         copy the IMEI or the id under the cursor
[b]p[/b]         pause; again: go on
[b]t[/b]         light or dark
[b]q[/b]         quit; nothing that was sent is affected

A device is online while a gateway with a heartbeat holds it. The text of a command is never shown here.
[b]not_sent[/b] is the only delivery after which a command may be repeated without asking.
"""


CLOSES = "Esc closes"


class Help(ModalScreen[None]):
    """What the keys do."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,q,question_mark", "dismiss", "Close")]

    def compose(self) -> ComposeResult:
        """One text."""
        with VerticalScroll(classes="dialog wide") as box:
            box.border_subtitle = CLOSES
            yield Static(HELP)


class SendDialog(ModalScreen[str | None]):
    """Asks for the text of a command, then for a confirmation that names the vehicle.

    Returns the text; None if nothing is to be sent.
    """

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss(None)", "Close")]

    def __init__(self, imei: str) -> None:
        super().__init__()
        self._imei = imei
        self._text = ""

    def compose(self) -> ComposeResult:
        """A line for the text, and two buttons that are shown when there is one."""
        with Vertical(classes="dialog"):
            yield Static(Text.assemble("Send a command to the vehicle ", (self._imei, "bold")))
            yield Input(placeholder="text of the command, for example getinfo", id="text")
            yield Static("", id="question")
            with Horizontal(id="buttons"):
                yield Button("Send", id="yes", variant="error")
                yield Button("Do not send", id="no", variant="primary")

    def on_mount(self) -> None:
        """Hide the buttons until there is a text."""
        self.query_one("#buttons").display = False

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Ask for the confirmation."""
        if not event.value:
            return
        self._text = event.value
        event.input.display = False
        self.query_one("#question", Static).update(
            Text(
                f"The text has {len(self._text)} characters and goes to the vehicle {self._imei} as it is.\n"
                "Send it?"
            )
        )
        self.query_one("#buttons").display = True
        self.query_one("#no", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Return the text, or nothing."""
        self.dismiss(self._text if event.button.id == "yes" else None)


class CancelDialog(ModalScreen[bool]):
    """Asks for a confirmation that names the command and the vehicle; whether it was given."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss(False)", "Close")]

    def __init__(self, command_id: str, imei: str) -> None:
        super().__init__()
        self._command_id = command_id
        self._imei = imei

    def compose(self) -> ComposeResult:
        """The question and two buttons."""
        with Vertical(classes="dialog"):
            yield Static(
                Text.assemble(
                    *("Cancel the command ", (self._command_id, "bold"), " to the vehicle "),
                    *((self._imei, "bold"), "?"),
                )
            )
            yield Static("It is cancelled only if no byte of it was sent.")
            with Horizontal(id="buttons"):
                yield Button("Cancel the command", id="yes", variant="error")
                yield Button("Leave it", id="no", variant="primary")

    def on_mount(self) -> None:
        """The harmless button has the focus."""
        self.query_one("#no", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Return the answer."""
        self.dismiss(event.button.id == "yes")
