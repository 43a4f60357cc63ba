"""Whoever reads the event log: the lines of `telgw watch`, `telgw history`, the fold of `check --replay`.

Others may write to the log too, and a device decides what its answers say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from io import StringIO
from typing import Any
from unicodedata import category

from rich.console import Console, RenderableType

from fsm.command import COMMAND
from store.diagnosis.log import diagnose_log
from store.diagnosis.server import CRITICAL, LEVELS
from store.keys import Keys
from store.streams import messages
from store.streams.messages import CommandEvent, Note
from store.streams.producer import LogEntry, Producer
from tests.fuzz.contract import Fields, read_log
from tests.in_memory.client import Client, DirectWire, at_once
from tests.in_memory.server import HostClock, Server
from transport.cli import check, history, path_drawing, render
from transport.cli.sequence import sequence
from transport.cli.times import Times

KEYS = Keys()
WIDE = 2500
"""Columns in which no cell is folded."""
STEP = r"  (participant [PGT]\d* as [^<>\"]+|(Note over )?[PGT]\d*(-?->>[PGT]\d*)?: [^<>\"]+)$"
"""A line of a sequence diagram."""
FLAWS = ("gaps", "repeated events", "several terminal events")
Met = set[str]


def log(text: bytes) -> Met:
    """Every entry can be shown, whatever is in it, and the whole can be folded."""
    server = _Server(read_log(text))
    entries = at_once(_followed(server))
    met: Met = set()
    for entry_id, fields in entries:
        met |= _shown(entry_id, fields)
    for command_id in {fields["command_id"] for _, fields in entries if fields.get("command_id")}:
        _page([entry for entry in entries if entry[1].get("command_id") == command_id])
    return met | _folded(server, [fields for _, fields in entries])


def _shown(entry_id: str, fields: dict[str, str]) -> Met:
    text = _printed(render.line(fields, Times(utc=True)))
    message = render.read(fields)
    answer = render.answer_text(message) if isinstance(message, CommandEvent | Note) else ""
    assert answer in text
    assert text.count("\n") == 1
    spelt = render.as_json(entry_id, fields)
    assert spelt.isascii()
    assert spelt.isprintable()
    assert json.loads(spelt) == {"id": entry_id} | fields
    if message is None:
        return {"unreadable" if fields.get("kind") in (None, *messages.KINDS) else "unknown kind"}
    return {type(message).__name__, *(["answer"] if answer else [])}


def _page(entries: list[LogEntry]) -> None:
    """What `telgw history` shows of a command."""
    text = _written(partial(history.print_events, entries=entries, times=Times(utc=True)))
    for event in history.command_events(entries):
        cell = render.answer_text(event) or render.printable(event.detail)
        assert " ".join(cell.split()) in " ".join(text.split()), f"{cell!r} is not shown"
    _printed(path_drawing.drawing(history.command_events(entries)))
    plain = [
        (at, {name: "" if name == "reason" else fields[name] for name in fields}) for at, fields in entries
    ]
    journey = sequence(history.messages(entries))
    assert journey.replace("\n", "").isprintable()
    assert all(re.match(STEP, line) for line in journey.splitlines()[1:]), "a text is taken for a step"
    chart, bare = history.chart(entries), history.chart(plain)
    assert chart.startswith("%%{init")
    assert len(chart.splitlines()) == len(bare.splitlines()), "a reason is taken for Mermaid"


def _printed(shown: RenderableType) -> str:
    """`shown` as a terminal gets it: nothing in it steers one."""
    return _written(lambda console: console.print(shown, soft_wrap=True))


def _written(write: Callable[[Console], None]) -> str:
    """What `write` writes to a terminal: nothing in it steers one."""
    console = Console(file=StringIO(), width=WIDE, highlight=False, color_system=None)
    write(console)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert not [char for char in text if category(char)[0] == "C" and char != "\n"]
    return text


def _folded(server: _Server, entries: list[dict[str, str]]) -> Met:
    findings = at_once(diagnose_log(server.client, KEYS))
    assert {finding.level for finding in findings} <= set(LEVELS)
    _printed(check.table(findings))
    found = {finding.subject.removeprefix("replay: ") for finding in findings[1:]}
    events, flaws = _folded_apart(entries)
    assert findings[0].found.startswith(f"{events} events of ")
    assert found & set(FLAWS) == flaws
    assert not flaws or any(finding.level == CRITICAL for finding in findings)
    return {f"found: {kind}" for kind in found} or {"sound"}


def _folded_apart(entries: list[dict[str, str]]) -> tuple[int, set[str]]:
    """How many events can be folded, and what is wrong with their order, told without the gateway's rules."""
    count, flaws = 0, set()
    last: dict[str, tuple[int, str, bool]] = {}
    for entry in entries:
        if entry.get("kind") != "command" or not _readable(entry):
            continue
        count += 1
        seq, name = int(entry["seq"]), entry["command_id"]
        before, state, folded = last.get(name, (max(0, seq - 1), entry.get("prev") or "new", False))
        if seq <= before:
            flaws.add("repeated events")
        elif seq > before + 1 and folded:  # a log may begin anywhere
            flaws.add("gaps")
        if entry["terminal"] == "1" and state in COMMAND.terminal:
            flaws.add("several terminal events")
        last[name] = (seq, entry["state"], True) if seq > before else (before, state, folded)
    return count, flaws


def _readable(entry: dict[str, str]) -> bool:
    numbers = {name: entry[name] for name in ("v", "seq", "rtt_ms", "age_ms") if name in entry}
    flags = {entry[name] for name in ("terminal", "recovered", "truncated") if name in entry}
    return (
        {"command_id", "seq", "state", "trigger", "terminal"} <= entry.keys()
        and all(re.fullmatch("0|[1-9][0-9]{0,19}", number) for number in numbers.values())
        and flags <= {"0", "1"}
    )


class _Server:
    """The in-memory server with a log, and ledgers (entries of the kind `ledger`)."""

    def __init__(self, entries: list[Fields]) -> None:
        server = Server(HostClock())
        self.client: Any = Client(DirectWire(server, yields=False))
        self.length = 0
        for fields in entries:
            pairs = [text for pair in fields.items() for text in pair]
            if fields.get(b"kind") == b"ledger":
                name = fields.get(b"command_id", b"").decode(errors="replace")
                server.execute("HSET", KEYS.ledger(name), *pairs)
            else:
                self.length += 1
                server.execute("XADD", KEYS.responses, f"{self.length}-0", *pairs)


async def _followed(server: _Server) -> list[LogEntry]:
    entries: list[LogEntry] = []
    following = Producer(server.client, KEYS).follow("0-0", block=0)
    while len(entries) < server.length:
        entries.append(await anext(following))
    return entries
