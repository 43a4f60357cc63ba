"""Whoever reads the event log: the lines of `telgw watch`, `telgw history`, the fold of `check --replay`.

Others may write to the log too, and a device decides what its answers say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Coroutine
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
from transport.cli import check, history, path_drawing, render

WIDE = 2500
"""Columns in which no cell is folded."""
KINDS = ("gaps", "repeated events", "several terminal events")
Met = set[str]


def log(text: bytes) -> Met:
    """Every entry can be shown, whatever is in it, and the whole can be folded."""
    server = _Server(read_log(text))
    entries = _done(_followed(Producer(server, Keys(""))))  # type: ignore[arg-type]
    assert len(entries) == len(server.entries)
    met: Met = set()
    for entry_id, fields in entries:
        met |= _shown(entry_id, fields)
    for command_id in {fields["command_id"] for _, fields in entries if fields.get("command_id")}:
        _page([entry for entry in entries if entry[1].get("command_id") == command_id])
    return met | _folded(server, [fields for _, fields in entries])


def _shown(entry_id: str, fields: dict[str, str]) -> Met:
    text = _printed(render.line(fields))
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
    text = _printed(history.table(entries))
    for event in history.command_events(entries):
        cell = render.answer_text(event) or render.printable(event.detail)
        assert " ".join(cell.split()) in " ".join(text.split()), f"{cell!r} is not shown"
    _printed(path_drawing.drawing(history.command_events(entries)))
    plain = [
        (at, {name: "" if name == "reason" else fields[name] for name in fields}) for at, fields in entries
    ]
    chart, bare = history.chart(entries), history.chart(plain)
    assert chart.startswith("%%{init")
    assert len(chart.splitlines()) == len(bare.splitlines()), "a reason is taken for Mermaid"


def _printed(shown: RenderableType) -> str:
    """`shown` as a terminal gets it: nothing in it steers one."""
    console = Console(file=StringIO(), width=WIDE, highlight=False, color_system=None)
    console.print(shown, soft_wrap=not isinstance(shown, Console))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert not [char for char in text if category(char)[0] == "C" and char != "\n"]
    return text


def _folded(server: _Server, entries: list[dict[str, str]]) -> Met:
    findings = _done(diagnose_log(server, Keys("")))  # type: ignore[arg-type]
    assert {finding.level for finding in findings} <= set(LEVELS)
    _printed(check.table(findings))
    found = {finding.subject.removeprefix("replay: ") for finding in findings[1:]}
    events, flaws = _folded_apart(entries)
    assert findings[0].found.startswith(f"{events} events of ")
    assert found & set(KINDS) == flaws
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
    """As much of Redis as the readers of a log ask for: a log, and ledgers (entries of the kind `ledger`)."""

    def __init__(self, entries: list[Fields]) -> None:
        log = [fields for fields in entries if fields.get(b"kind") != b"ledger"]
        self.entries = [(b"%d-0" % number, fields) for number, fields in enumerate(log, 1)]
        self._ledgers = {
            Keys("").ledger(fields.get(b"command_id", b"").decode(errors="replace")): fields
            for fields in entries
            if fields.get(b"kind") == b"ledger"
        }
        self._asked: list[str] = []
        self._read = False

    async def xrange(self, name: str, start: str = "-", end: str = "+", count: int | None = None) -> Any:
        after = int(start[1:].partition("-")[0]) if start.startswith("(") else 0
        return self.entries[after:][:count]

    async def xread(self, streams: dict[str, str], count: int, block: int | None) -> Any:
        if self._read:
            raise _Enough
        self._read = True
        return [(b"log", self.entries)]

    async def batch(self, commands: list[list[str]]) -> list[Fields]:
        return [self._ledgers.get(name, {}) for _, name in commands]


class _Enough(Exception):
    """There is nothing more to read."""


async def _followed(producer: Producer) -> list[LogEntry]:
    entries = []
    try:
        async for entry in producer.follow("0-0"):
            entries.append(entry)  # noqa: PERF401 (what was read before the end counts)
    except _Enough:
        pass
    return entries


def _done(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of work that never waits."""
    try:
        work.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")
