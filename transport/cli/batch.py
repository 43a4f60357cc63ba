"""One command for many devices: handed over a few at a time, followed, and counted.

The id of a command is the name of its batch and the IMEI. A gateway takes an id once, so a batch can be run
again after any interruption: what is known is followed or counted, and only the rest is handed over.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from fsm.command import COMMAND, DELIVERED, FAILED, RESPONDED, TIMEOUT
from fsm.reasons import PARKED
from store.api import DeviceNotConnected, Gateways, NoGateway, NotPublished
from store.streams.messages import CommandEvent
from store.streams.producer import Producer, StoreUnreachable

from . import render
from .event_loop import cancel
from .listing import Column, Row, print_listing
from .parameters import Kind

HANDED_OVER, UNSENT, UNKNOWN = "handed over", "unsent", "unknown"
"""What became of a command that has no terminal event here."""
STATUS = {UNKNOWN: 3, TIMEOUT: 3, FAILED: 1, UNSENT: 4, PARKED: 5}
"""The exit status for a state, the most important first; 0 for others."""
GOOD = {RESPONDED, DELIVERED, HANDED_OVER}
TABLE_LIMIT = 50
COLUMNS = (
    Column("IMEI"),
    Column("state"),
    Column("reason"),
    Column("delivery"),
    Column("command", extra=True),
)
PATIENCE = 10.0
"""Seconds for which a failed call is repeated."""
CALLS = 8
"""Commands that are handed over at the same time: a client has 16 connections."""
LONGEST_NAME = 48
"""With a colon and an IMEI it is an id of 64."""


class BatchName(Kind):
    """1 to 48 of ``A-Za-z0-9._-``."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(rf"[A-Za-z0-9._-]{{1,{LONGEST_NAME}}}", str(value)):
            self.fail(f"{value!r} is not 1 to {LONGEST_NAME} of A-Z a-z 0-9 . _ -", param, ctx)
        return str(value)

    @staticmethod
    def new() -> str:
        """A name from the local time, to the second."""
        return f"{datetime.now():%Y%m%d-%H%M%S}"


class Outcome(NamedTuple):
    """What became of the command for one device."""

    imei: str
    command_id: str
    state: str
    reason: str = ""
    delivery: str = ""
    said: str = ""

    @classmethod
    def of(cls, imei: str, command_id: str, fields: dict[str, str]) -> Outcome:
        """Of an event, or of the note that it is parked."""
        message = render.read(fields)
        if not isinstance(message, CommandEvent):
            return cls(imei, command_id, fields.get("note") or fields.get("state", ""))
        said = render.answer_text(message) or message.detail
        return cls(imei, command_id, message.state, message.reason, message.delivery, said)


class Batch:
    """One run of a batch.

    Args:
        name: the first part of the ids.
        given: the options of `Gateways.send`, without IMEI and id of the command.
        limit: seconds within which a gateway ends a command; None to await no end.
    """

    def __init__(
        self, found: Gateways, streams: Producer, name: str, given: dict[str, Any], limit: float | None
    ) -> None:
        self._gateways = found
        self._streams = streams
        self._name = name
        self._given = given
        self._limit = limit
        self._room = asyncio.Semaphore(CALLS)
        self._left: deque[str] = deque()
        self._known: dict[str, str] = {}
        self._awaited: dict[str, asyncio.Future[dict[str, str]]] = {}
        self._outcomes: list[Outcome] = []

    async def run(self, imeis: Sequence[str], at_once: int, *, raw: bool) -> int:
        """Send to all devices and print what became of each; the exit status.

        Raises:
            StoreUnreachable: Redis is away for too long.
        """
        begin = await self._streams.tail()
        self._known = await self._streams.states([self._id(imei) for imei in imeis])
        self._left.extend(imeis)
        try:
            with _progress(len(imeis)) as advance:
                await self._work(begin, at_once, lambda outcome: self._ended(outcome, raw, advance))
        finally:
            if not raw:
                self._print(len(imeis))
        return next((status for state, status in STATUS.items() if self._counts()[state]), 0)

    async def _work(self, begin: str, at_once: int, ended: Any) -> None:
        """Let `at_once` workers send, while the log is followed."""
        following = asyncio.create_task(self._follow(begin), name="the log")
        workers = [asyncio.create_task(self._send_all(ended), name="sending") for _ in range(at_once)]
        tasks = {following, *workers}
        try:
            while pending := {task for task in tasks if not task.done()} - {following}:
                done, _ = await asyncio.wait({following, *pending}, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            await asyncio.gather(*map(cancel, tasks))

    async def _send_all(self, ended: Any) -> None:
        while self._left:
            imei = self._left.popleft()
            ended(await self._outcome(imei, self._id(imei)))

    async def _outcome(self, imei: str, command_id: str) -> Outcome:
        state = self._known.get(command_id)
        if state in COMMAND.terminal:
            return Outcome(imei, command_id, state, said="ended before this run")
        self._awaited[command_id] = asyncio.get_running_loop().create_future()
        try:
            if state is None:
                await self._hand_over(imei, command_id)
            if self._limit is None:
                return Outcome(imei, command_id, HANDED_OVER)
            return Outcome.of(
                imei, command_id, await asyncio.wait_for(self._awaited[command_id], self._limit)
            )
        except (DeviceNotConnected, NoGateway) as error:
            return Outcome(imei, command_id, UNSENT, said=str(error))
        except TimeoutError:
            return Outcome(imei, command_id, UNKNOWN, said="no event came in time")
        finally:
            del self._awaited[command_id]

    async def _hand_over(self, imei: str, command_id: str) -> None:
        try:
            async with self._room:
                await self._gateways.send(imei, command_id=command_id, patience=PATIENCE, **self._given)
        except NotPublished as error:  # others of the batch may have been
            raise StoreUnreachable(str(error)) from error

    async def _follow(self, position: str) -> None:
        """Tell whoever waits for a command of its end, for ever."""
        async for _, fields in self._gateways.log(position):
            awaited = self._awaited.get(fields.get("command_id", ""))
            is_end = fields.get("kind") == "command" and fields.get("terminal") == "1"
            if awaited is not None and not awaited.done() and (is_end or fields.get("note") == PARKED):
                awaited.set_result(fields)

    def _id(self, imei: str) -> str:
        return f"{self._name}:{imei}"

    def _ended(self, outcome: Outcome, raw: bool, advance: Any) -> None:
        self._outcomes.append(outcome)
        if raw:
            click.echo(json.dumps({name: value for name, value in outcome._asdict().items() if value}))
        advance(self._summary())

    def _counts(self) -> Counter[str]:
        return Counter(outcome.state for outcome in self._outcomes)

    def _summary(self) -> str:
        return ", ".join(f"{count} {state}" for state, count in self._counts().most_common())

    def _print(self, total: int) -> None:
        """The table, what went wrong first, and the counts."""
        rows = sorted(self._outcomes, key=lambda outcome: (outcome.state in GOOD, outcome.imei))
        if shown := rows[:TABLE_LIMIT]:
            print_listing(render.Output(), COLUMNS, [_row(outcome) for outcome in shown], "answer or detail")
        more = f"; {len(rows) - len(shown)} more are not shown: --json" if len(rows) > len(shown) else ""
        left = f"; {total - len(rows)} not ended" if len(rows) < total else ""
        click.echo(f"{self._summary() or 'none ended'}{more}{left}")


def _row(outcome: Outcome) -> Row:
    texts = (outcome.imei, outcome.state, outcome.reason, outcome.delivery, outcome.command_id)
    cells = [Text(render.printable(text, 64)) for text in texts]
    cells[1] = render.styled(outcome.state)
    return Row(cells, Text(render.printable(outcome.said, render.WHOLE)))


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    """A bar on standard error, if that is a terminal; it gets the counts as they change."""
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda summary: bar.update(task, advance=1, description=summary)
