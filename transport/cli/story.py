"""What ``telgw demo`` prints: what happens as it happens, the outcomes, and what to try next."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from fsm.command import QUEUED
from store.streams.messages import CommandEvent, Note
from transport.simulator.fleet import IMEI_BASE

from . import render
from .listing import Column, Row, print_listing
from .scenes import Act

WHO = 14
"""Columns for who something happens to."""
COLUMNS = (
    *(Column(""), Column("command"), Column("text"), Column("tracker")),
    *(Column("ended as"), Column("delivery")),
)
STYLES = {"responded": "green", "delivered": "green", "failed": "yellow", "timeout": "yellow", "sent": "blue"}
"""Not red: here a failure is what should happen."""
INTRODUCTION = "A gateway, five simulated trackers and eight commands, in about ten seconds."
NEXT = (
    ("run --listen 127.0.0.1:5027", "a gateway that stays, and keeps its data"),
    ("simulate --trackers 3", "trackers for it, in another terminal"),
    (f"send {IMEI_BASE} getinfo", "a command, in a third one"),
    ("top", "all of it, live"),
)
"""What to type next, and what it does."""


class Story:
    """Prints the demonstration. At a terminal lines are folded to its width, elsewhere they are whole."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()

    def begin(self) -> None:
        """Say what will be seen."""
        self._console.print(INTRODUCTION, soft_wrap=True)
        self._console.print()

    def tell(self, who: str, what: str | Text) -> None:
        """Something has happened, now."""
        since = time.monotonic() - self._began
        head = Text.assemble((f"{since:5.1f} s  ", "dim"), (f"{who:<{WHO}}", "bold"), "  ")
        text = Text(what) if isinstance(what, str) else what
        room = max(20, self._console.width - head.cell_len)
        lines = text.wrap(self._console, room) if text.cell_len > room else [text]
        for number, line in enumerate(lines):
            line.rstrip()
            before = head if number == 0 else Text(" " * head.cell_len)
            self._console.print(before + line, soft_wrap=True)

    def event(self, act: Act, fields: render.Fields) -> None:
        """Tell of an event or note of a command. That it is queued needs no words."""
        message = render.read(fields)
        if isinstance(message, Note):
            said = render.answer_text(message)
            self.tell(act.scene.name, Text.assemble(message.note.replace("_", " "), "  ", (said, "italic")))
        elif isinstance(message, CommandEvent) and message.state != QUEUED:
            self.tell(act.scene.name, _event(act, message))

    def end(self, acts: Sequence[Act]) -> None:
        """The outcomes, the verdict, and what to type next."""
        console = self._console
        console.print()
        print_listing(console, COLUMNS, [_row(act) for act in acts], "what it means")
        console.print()
        right = sum(act.right for act in acts)
        console.print(
            Text(
                f"{right} of {len(acts)} commands ended as they should.",
                "bold green" if right == len(acts) else "bold red",
            )
        )
        console.print()
        following = [Row([Text(f"{_program()} {line}")], Text(what, "dim")) for line, what in NEXT]
        print_listing(console, [Column("What to type next")], following)


def _program() -> str:
    """How the reader can call this program."""
    called = sys.argv[0]
    return called if Path(called).name == "telgw" and shutil.which("telgw") is None else "telgw"


def _event(act: Act, event: CommandEvent) -> Text:
    if event.state == "sent":
        return Text.assemble(("sent", STYLES["sent"]), f"  {act.scene.text}  to …{act.scene.imei[-4:]}")
    took = "" if event.rtt_ms is None else f"after {event.rtt_ms} ms"
    facts = (event.reason, event.delivery if event.reason else "", took)
    parts = [Text(event.state, STYLES.get(event.state, "")), *(Text(fact) for fact in facts if fact)]
    if said := render.answer_text(event):
        parts.append(Text(said, "italic"))
    return Text("  ").join(parts)


def _row(act: Act) -> Row:
    scene, end = act.scene, act.ending
    if act.right:
        mark, style, means = "ok", "green", scene.means
    else:
        mark, style, means = "NO", "bold red", f"It should end as {_outcome(scene.state, scene.reason)}."
    cells = (
        Text(mark, style),
        Text(scene.name, "bold"),
        Text(scene.text),
        Text(f"…{scene.imei[-4:]}"),
        Text(_outcome(end.get("state", "not ended"), end.get("reason", "")), "" if act.right else style),
        Text(end.get("delivery", "")),
    )
    return Row(cells, Text(means, "" if act.right else style))


def _outcome(state: str, reason: str) -> str:
    return f"{state}: {reason}" if reason else state
