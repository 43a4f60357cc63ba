"""Folds the whole log: is the history of each command consistent, and does its ledger agree?"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from redis.asyncio import Redis

from fsm.command import COMMAND, NEW, Command, evolve
from fsm.events import CommandEvent
from fsm.replay import audit_command
from store.client.numbers import whole
from store.diagnosis.overdue import read_ledgers
from store.diagnosis.server import CRITICAL, OK, WARNING, Finding, Level, Report, examples
from store.keys import Keys
from store.streams.entry_ids import after
from store.streams.event_reader import read_entry

PAGE = 1000

EntryId = tuple[int, int]

_ORIGIN: EntryId = (0, 0)
_MOVES = frozenset((edge["source"], edge["trigger"], edge["dest"]) for edge in COMMAND.edges)

GAP, REPEATED, SEVERAL_ENDS, BROKEN, STRANGE, DISAGREES, LOST, UNREADABLE = (
    "gaps",
    "repeated events",
    "several terminal events",
    "broken chains",
    "unknown moves",
    "ledgers",
    "lost ledgers",
    "unreadable events",
)
_KINDS: dict[str, tuple[Level, str]] = {
    GAP: (CRITICAL, "Events are missing in the log: find out who deletes entries."),
    REPEATED: (CRITICAL, "An event was stored twice: consumers ignore the second by its seq."),
    SEVERAL_ENDS: (CRITICAL, "Keep this log and report it: a command has one terminal event."),
    BROKEN: (CRITICAL, "Keep this log and report it: an event starts from a state that was not reached."),
    STRANGE: (WARNING, "Find out which version of the gateway, or which other program, wrote them."),
    DISAGREES: (CRITICAL, "Find out who else writes to the ledgers; the log is right."),
    LOST: (WARNING, "Check maxmemory-policy; their gateway ends them as ledger_lost."),
    UNREADABLE: (WARNING, "Find out who else writes to the log."),
}
"""What an audit can find: its level, and what to do about it."""


@dataclass(slots=True)
class _History:
    """A command, folded so far; ``last`` is the id of its last event."""

    command: Command
    last: EntryId


@dataclass(slots=True, frozen=True)
class _Flaw:
    """An error in a history; `after` is the id of the entry before it."""

    kind: str
    words: str
    after: EntryId


class Audit:
    """Folds the log entry by entry.

    If the first events of a command were trimmed, it is folded from the first that is left, and counted.
    """

    def __init__(self) -> None:
        self.events = 0
        self.trimmed: set[str] = set()
        self.histories: dict[str, _History] = {}
        self.flaws: list[tuple[str, _Flaw]] = []

    def add(self, entry_id: EntryId, event: CommandEvent) -> None:
        """Fold the next event."""
        self.events += 1
        history = self.histories.get(event.command_id)
        if history is None:
            history = self.histories[event.command_id] = self._begin(event)
        self.flaws += [(event.command_id, flaw) for flaw in _flaws(history, event)]
        if event.seq > history.command.seq:
            before = Command(event.command_id, history.command.state, event.seq - 1)
            history.command, history.last = _compact(evolve(before, event)), entry_id

    def _begin(self, event: CommandEvent) -> _History:
        if event.seq > 1:
            self.trimmed.add(event.command_id)
        return _History(Command(event.command_id, event.prev or NEW, max(0, event.seq - 1)), _ORIGIN)

    def unreadable(self, entry_id: str) -> None:
        """Note an entry that should be an event of a command but is not one."""
        self.flaws.append((f"entry {entry_id}", _Flaw(UNREADABLE, "", read_id(entry_id))))

    def ignore_gaps_before(self, head: EntryId) -> None:
        """The log was trimmed up to `head` during the read: gaps that begin before it are not errors."""
        gone = [command_id for command_id, flaw in self.flaws if flaw.kind == GAP and flaw.after < head]
        self.trimmed.update(gone)
        self.flaws = [(name, flaw) for name, flaw in self.flaws if flaw.kind != GAP or flaw.after >= head]


def _flaws(history: _History, event: CommandEvent) -> Iterator[_Flaw]:
    """What is wrong with `event` as the continuation of `history`."""
    command, after = history.command, history.last
    if event.seq <= command.seq:
        yield _Flaw(REPEATED, f"event {event.seq}", after)
    elif event.seq > command.seq + 1:
        missing = f"event {command.seq + 1}" + f" to {event.seq - 1}" * (event.seq > command.seq + 2)
        yield _Flaw(GAP, f"{missing} missing", after)
    elif (event.prev or NEW) != command.state:
        yield _Flaw(BROKEN, f"event {event.seq} is from {event.prev or NEW}, not {command.state}", after)
    if event.terminal and command.terminal:
        yield _Flaw(SEVERAL_ENDS, f"{command.state}, then {event.state}", after)
    if (event.prev or NEW, event.trigger, event.state) not in _MOVES:
        yield from (_Flaw(STRANGE, move, after) for move in audit_command([event]))


def _compact(command: Command) -> Command:
    """Only what is compared later, to save memory: there may be a million commands."""
    return Command(command.command_id, sys.intern(command.state), command.seq)


def read_id(entry_id: str) -> EntryId:
    """A comparable id of a stream entry; `_ORIGIN` if it is not a valid id."""
    milliseconds, _, sequence = entry_id.partition("-")
    found = whole(milliseconds, -1), whole(sequence, -1)
    return found if min(found) >= 0 else _ORIGIN


async def diagnose_log(client: Redis, keys: Keys) -> list[Finding]:
    """Fold the whole log in pages, and compare each command with its ledger.

    Raises:
        StoreError: the server cannot be reached, or refuses all calls now.
    """
    report = Report()
    audit = Audit()
    reader = _Reader(client, keys)
    await report.attempt(keys.responses, reader.fold(audit), None)
    moving = await report.attempt("ledgers", reader.compare(audit), 0)
    _summarise(report, audit, moving)
    return report.findings


class _Reader:
    """Reads the log and the ledgers for an audit."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client: Any = client
        self._keys = keys
        self._head = self._tail = _ORIGIN

    async def fold(self, audit: Audit) -> None:
        """Fold the log to its end."""
        start: str | None = "-"
        while start and (page := await self._client.xrange(self._keys.responses, start, count=PAGE)):
            for entry_id, fields in page:
                _take(audit, entry_id.decode(), fields)
            start = after(page[-1][0])
            self._tail = read_id(page[-1][0].decode())
        head = await self._client.xrange(self._keys.responses, count=1)
        self._head = read_id(head[0][0].decode()) if head else self._tail
        audit.ignore_gaps_before(self._head)

    async def compare(self, audit: Audit) -> int:
        """Note commands whose ledger disagrees; the number of commands that changed during the check."""
        names, moving = iter(audit.histories), 0
        while page := list(islice(names, PAGE)):
            ledgers = await read_ledgers(self._client, self._keys, page)
            for command_id, ledger in zip(page, ledgers, strict=True):
                flaw = _disagreement(audit.histories[command_id], ledger)
                last = read_id(ledger.get("last", ""))
                if flaw and last > _ORIGIN and not self._head <= last <= self._tail:
                    moving += 1
                elif flaw:
                    audit.flaws.append((command_id, flaw))
        return moving


def _take(audit: Audit, entry_id: str, raw: Mapping[bytes, bytes]) -> None:
    if raw.get(b"kind") != b"command":
        return
    fields = {name.decode(errors="replace"): value.decode(errors="replace") for name, value in raw.items()}
    try:
        event = read_entry(fields)
    except ValueError:
        audit.unreadable(entry_id)
        return
    assert isinstance(event, CommandEvent)
    audit.add(read_id(entry_id), event)


def _disagreement(history: _History, ledger: dict[str, str]) -> _Flaw | None:
    """How the ledger disagrees with the log. The ledger of an ended command expires after the retention."""
    command = history.command
    if not ledger:
        return None if command.state in COMMAND.terminal else _Flaw(LOST, command.state, history.last)
    state, seq = ledger.get("state", ""), ledger.get("seq", "")
    if (state, seq) == (command.state, str(command.seq)):
        return None
    words = f"{state} {seq} in the ledger, {command.state} {command.seq} in the log"
    return _Flaw(DISAGREES, words, history.last)


def _summarise(report: Report, audit: Audit, moving: int) -> None:
    """Add one finding about the whole log, and one for each kind of error."""
    found = f"{audit.events} events of {len(audit.histories)} commands folded"
    counts = {"events": audit.events, "commands": len(audit.histories)}
    counts |= {"trimmed": len(audit.trimmed), "changed": moving}
    if audit.trimmed:
        found += f"; the first events of {len(audit.trimmed)} were trimmed"
    if moving:
        found += f"; {moving} changed during the check"
    report.add(OK, "replay", found, counts=counts)
    for kind, (level, mend) in _KINDS.items():
        flaws = {
            f"{name} ({flaw.words})" if flaw.words else name
            for name, flaw in audit.flaws
            if flaw.kind == kind
        }
        if flaws:
            found = f"{len(flaws)}: {examples(sorted(flaws))}"
            report.add(level, f"replay: {kind}", found, mend, {"commands": len(flaws)})
