"""``telgw watch``: print the event log, or messages of serial ports, as they were and as they arrive."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import click

from fsm.command import COMMAND
from fsm.reasons import CLOSE_REASONS, REASONS
from fsm.session import SESSION
from store.fleet.devices import DeviceReader
from store.keys import Keys
from store.streams.producer import Producer, StoreUnreachable
from store.streams.search import Wanted, matches, newest, oldest

from . import render, stderr
from .event_loop import complete
from .ids import CommandId, Imei
from .parameters import ENTRY_ID, Moment
from .stream_options import Where, with_streams
from .streams import server
from .times import Times

FOUND, NONE = 0, 4
RETRY = 1.0
"""Seconds between two attempts to reach Redis."""
NOW = "$"
STATES = list(dict.fromkeys((*COMMAND.states[1:], *SESSION.states[2:])))
"""Those of commands and sessions that are published."""


class Choice(NamedTuple):
    """What is printed.

    Attributes:
        start: where a range of the stream begins, or `NOW`.
        limit: the most entries of those that are there already.
        follow: whether entries are printed as they arrive.
    """

    wanted: Wanted
    messages: bool
    start: str
    limit: int | None
    follow: bool


@click.command(short_help="Print the events of commands and sessions, from some time on and as they arrive.")
@click.option("--since", type=Moment(), help="Begin with what came since: 1h, 2026-11-29T10:00.")
@click.option(
    "--from",
    "start",
    default=NOW,
    show_default=True,
    metavar="ID",
    help="Begin after this entry; 0: with the oldest; $: with the next one.",
)
@click.option("--follow/--no-follow", default=True, show_default=True, help="Go on with what arrives.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    help="Of what is there already only so many, the newest.  [default: all]",
)
@click.option("--imei", type=Imei(), help="Only events of this device.")
@click.option(
    "--command", "command_id", type=CommandId(), metavar="COMMAND_ID", help="Only events of this command."
)
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(STATES),
    help="Only events to this state, of a command or a session; may be given more than once.",
)
@click.option(
    "--reason",
    "reasons",
    multiple=True,
    type=click.Choice(sorted(REASONS | CLOSE_REASONS)),
    help="Only events with this reason; may be given more than once.",
)
@click.option("--messages", is_flag=True, help="Print messages of serial ports instead of events.")
@click.option("--utc", is_flag=True, help="Show times in UTC instead of local time.")
@click.option("--json", "raw", is_flag=True, help="One JSON object per event.")
@with_streams
def command(
    where: Where,
    since: int | None,
    start: str,
    follow: bool,
    limit: int | None,
    imei: str | None,
    command_id: str | None,
    states: tuple[str, ...],
    reasons: tuple[str, ...],
    messages: bool,
    utc: bool,
    raw: bool,
) -> int:
    """Print the events and notes of all commands and sessions as they arrive, until Ctrl-C.

    With --since or --from it begins in the past; with --no-follow it ends there, and begins a day ago unless
    it is told where. It uses no consumer group, so other readers still get every entry.

    Exit status: 0 printed; 2 wrong use, or Redis cannot be used; 4 with --no-follow, nothing was found.
    """
    if start != NOW and not ENTRY_ID.fullmatch(start):
        raise click.UsageError(f"--from {start!r} is not an entry id such as 1700000000000-0, nor $.")
    if messages and (command_id or states or reasons):
        raise click.UsageError(
            "--messages excludes --command, --state and --reason: messages have none of them."
        )
    if start != NOW and since is not None:
        raise click.UsageError("Give --since or --from, not both.")
    wanted = {
        **{"command_id": [command_id] if command_id else (), "imei": [imei] if imei else ()},
        **{"reason": reasons, "state": states},
    }
    choice = Choice(wanted, messages, _first(start, since, follow), limit, follow)
    return complete(_Watch(where, choice, Times(utc), raw).run())


def _first(start: str, since: int | None, follow: bool) -> str:
    """Where the range begins that is printed first."""
    if start != NOW:
        return f"({start}" if "-" in start else f"({start}-0"
    if since is None and follow:
        return NOW
    return f"{Moment().convert('1d', None, None) if since is None else since}-0"


class _Watch:
    """One run of the verb."""

    def __init__(self, where: Where, choice: Choice, times: Times, raw: bool) -> None:
        self._where = where
        self._choice = choice
        self._times = times
        self._raw = raw
        self._console = render.Output()
        self._printed = 0

    async def run(self) -> int:
        """Print until the end; the exit status."""
        async with server(self._where, "watch") as client:
            keys = Keys(self._where.key_prefix)
            streams = Producer(client, keys)
            stream = streams.messages if self._choice.messages else keys.responses
            tail = await streams.tail(stream)
            if self._choice.start != NOW:
                await self._past(client, stream, tail)
            if not self._choice.follow:
                return FOUND if self._printed else self._nothing()
            await self._hint(client, keys)
            return await self._future(streams, stream, tail)

    async def _past(self, client: Any, stream: str, tail: str) -> None:
        """Print what is there already."""
        choice = self._choice
        if choice.limit is None:
            async for entry in oldest(client, stream, choice.wanted, start=choice.start, until=tail):
                self._print(*entry)
            return
        last = []
        async for entry in newest(client, stream, choice.wanted, start=choice.start, until=tail):
            last.append(entry)
            if len(last) == choice.limit:
                break
        for entry in reversed(last):
            self._print(*entry)

    async def _future(self, streams: Producer, stream: str, start: str) -> int:
        """Print what arrives, for ever; a restart of Redis is waited for."""
        while True:
            try:
                async for entry in streams.follow(start, stream=stream):
                    start = entry[0]
                    if matches(entry[1], self._choice.wanted):
                        self._print(*entry)
            except StoreUnreachable as error:
                await _pause(streams, error)

    def _print(self, entry_id: str, fields: dict[str, str]) -> None:
        self._printed += 1
        render.show(self._console, entry_id, fields, raw=self._raw, times=self._times)

    def _nothing(self) -> int:
        stderr.fault("There is no such event in that time.")
        return NONE

    async def _hint(self, client: Any, keys: Keys) -> None:
        """Say so when nothing is known of the device that is waited for: its IMEI may be mistyped."""
        for imei in self._choice.wanted["imei"]:
            if not self._printed and not await DeviceReader(client, keys).read([imei]):
                shown = render.printable(imei, 32)
                stderr.remark(f"Nothing is known of the device {shown} yet; waiting for it.")


async def _pause(streams: Producer, error: StoreUnreachable) -> None:
    """Wait until Redis answers again, so that a watch survives a restart of Redis."""
    stderr.remark(f"{error}; waiting until it answers")
    while True:
        await asyncio.sleep(RETRY)
        try:
            await streams.now_ms()
        except StoreUnreachable:
            continue
        return
