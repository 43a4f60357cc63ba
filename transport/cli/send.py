"""``telgw send``: send a command to one device or to many, in the same way as the business plane."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import click

from fsm.command import COMMAND, DELIVERED, RESPONDED, TIMEOUT
from fsm.reasons import PARKED
from store.api import DeviceNotConnected, Gateways, NoGateway, NotPublished, Sent
from store.keys import Keys
from store.streams.producer import Producer, StoreUnreachable

from . import render, stderr
from .batch import Batch, BatchName
from .command_options import STDIN, entry, given, read_line, time_limit, with_command_options
from .ending import awaiting
from .event_loop import complete
from .ids import complete_words
from .imei_file import read_imeis
from .stream_options import Where, with_streams
from .streams import Outage, server
from .times import Times
from .waiting import saying_why

DONE, FAILED, TIMED_OUT, NOBODY, WAITS = 0, 1, 3, 4, 5


class Form(NamedTuple):
    """How events are shown."""

    raw: bool
    times: Times


@click.command(short_help="Send a command to a device and follow it to its end.")
@click.argument("words", metavar="IMEI TEXT", nargs=-1, shell_complete=complete_words)
@click.option(
    "--imei-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Send it to each device in this file, an IMEI on each line, instead of IMEI.",
)
@click.option(
    "--batch",
    type=BatchName(),
    help="With --imei-file: a name, from which the ids of the commands are made. With the name of an earlier "
    "run only those devices get the command that have not got it yet.  [default: the time]",
)
@click.option(
    "--at-once",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="With --imei-file: the most commands in flight.",
)
@with_command_options
@click.option("--command-id", help="Its id; one id is never sent twice.  [default: a new UUID]")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Follow it to its end.")
@click.option("--utc", is_flag=True, help="Show times in UTC instead of local time.")
@click.option("--json", "raw", is_flag=True, help="One JSON object per event; with --imei-file, per device.")
@with_streams
def command(
    where: Where,
    words: Sequence[str],
    imei_file: Path | None,
    batch: str | None,
    at_once: int,
    wait: bool,
    utc: bool,
    raw: bool,
    **options: Any,
) -> int:
    """Send the command TEXT to the device IMEI and print each of its events as it comes.

    TEXT is sent byte for byte; quote it. If TEXT is -, it is read from standard input: then no process list
    shows a password in it. While nothing happens it is said what the command waits for.

    With --imei-file FILE no IMEI is given, and the table at the end says what became of each command. After
    an interruption the same line with --batch goes on where it stopped.

    Exit status: 0 responded or delivered (with --no-wait: handed over); 1 failed; 2 nothing was handed over:
    wrong use, or Redis cannot be used; 3 timeout, or the outcome is unknown: no event came in time, Redis
    was away for ten seconds, the output could not be written, or Ctrl-C; 4 no gateway holds the device, or
    none is alive; 5 with --offline wait: it is parked until the device connects. Only after 2 and 4 is it
    safe to send the command again without checking `telgw history`. With --imei-file it is the first of 3, 1,
    4 and 5 that holds for one of the devices.
    """
    imeis = _imeis(words, imei_file, batch, options["command_id"])
    options["text"] = words[-1]
    if options["confirmed_by"] and not options["requested_by"]:
        raise click.UsageError("--confirmed-by needs --requested-by: two persons have to be named.")
    if options["text"] == STDIN:
        options["text"] = read_line(sys.stdin.buffer if sys.stdin else BytesIO())
    entry(0, **options, imei=imeis[0])  # to report what is wrong before Redis is needed
    if imei_file is None:
        return complete(_send(where, imeis[0], wait, Form(raw, Times(utc)), options))
    return complete(_send_all(where, imeis, batch or BatchName.new(), at_once, wait, raw, options))


def _imeis(words: Sequence[str], file: Path | None, batch: str | None, command_id: str | None) -> list[str]:
    """The devices. Raises click.UsageError: the words or options do not fit each other."""
    expected = 1 if file else 2
    if len(words) > expected:
        raise click.UsageError(
            f"TEXT is one argument: quote it, as in telgw send {'IMEI ' * (not file)}'get x'."
        )
    if len(words) < expected:
        raise click.UsageError("Give TEXT." if file else "Give an IMEI and TEXT.")
    if file is None:
        if batch:
            raise click.UsageError("--batch is for --imei-file.")
        return [words[0]]
    if command_id:
        raise click.UsageError("--command-id is for one device: with --imei-file the ids come from --batch.")
    return read_imeis(file)


async def _send(where: Where, imei: str, wait: bool, form: Form, options: dict[str, Any]) -> int:
    async with server(where, "send") as client:
        sending = _Sending(client, Keys(where.key_prefix), imei, form, options)
        return await sending.run(wait)


class _Sending:
    """The sending of one command."""

    def __init__(self, client: Any, keys: Keys, imei: str, form: Form, options: dict[str, Any]) -> None:
        self._client = client
        self._keys = keys
        self._gateways = Gateways(client, keys, on_error=Outage())
        self._streams = Producer(client, keys)
        self._imei = imei
        self._form = form
        self._has_own_id = options["command_id"] is not None
        self._id: str = options["command_id"] or str(uuid.uuid4())
        self._given = given(**{**options, "command_id": self._id, "imei": imei})
        self._limit = time_limit(options)
        self._console = render.Output()

    async def run(self, wait: bool) -> int:
        """Send it, and with `wait` follow it to its end; the exit status."""
        known = self._has_own_id and await self._is_known()
        before = await self._gateways.position() if wait else ""
        what = f"the command {self._id} (telgw history {self._id})"
        advice = f"It goes on by itself; telgw cancel {self._id} cancels it as long as it is not sent."
        with awaiting(what, unless=NotPublished, advice=advice):
            try:
                sent = None if known else await self._hand_over()
            except (DeviceNotConnected, NoGateway) as error:
                stderr.fault(str(error))
                return NOBODY
            if not wait:
                self._print_id(sent)
                return DONE
            return await self._past() if known and await self._has_ended() else await self._follow(before)

    async def _is_known(self) -> bool:
        """Whether the id has been used. Raises click.UsageError: for another device."""
        holder = await self._streams.ledger_field(self._id, "imei")
        if holder is None:
            return False
        if holder != self._imei:
            raise click.UsageError(f"The id {self._id} was used for another device.")
        stderr.remark(f"The command {self._id} was handed over before, and is not sent again.")
        return True

    async def _hand_over(self) -> Sent:
        """Hand it over, and say so if its gateway seems dead, because then nothing happens at first."""
        sent = await self._gateways.send(**self._given, patience=0)
        with suppress(StoreUnreachable):  # an outage is told, and waited for, while the command is followed
            if not await self._streams.is_alive(sent.instance_id):
                any_alive = await self._streams.live_instance()
                more = "Another one takes over within minutes" if any_alive else "No other one is alive"
                stderr.remark(
                    f"The gateway {sent.instance_id}, which holds the device, has no heartbeat. {more}."
                )
        return sent

    def _print_id(self, sent: Sent | None) -> None:
        place = {"instance_id": sent.instance_id, "outbound_id": sent.outbound_id} if sent else {}
        click.echo(json.dumps({"command_id": self._id, **place}) if self._form.raw else self._id)

    def _show(self, entry_id: str, fields: dict[str, str]) -> None:
        render.show(self._console, entry_id, fields, raw=self._form.raw, times=self._form.times)

    async def _has_ended(self) -> bool:
        return await self._streams.ledger_field(self._id, "state") in COMMAND.terminal

    async def _past(self) -> int:
        """Print what became of a command that has ended. Its events may be gone from the log."""
        for entry_id, fields in await self._streams.history(self._id):
            self._show(entry_id, fields)
        state = await self._streams.ledger_field(self._id, "state") or ""
        stderr.remark(f"The command {self._id} has ended as {state}. A new one needs another --command-id.")
        return status({"state": state})

    async def _follow(self, before: str) -> int:
        """Print its events as they come."""
        last: dict[str, str] = {}
        try:
            async with (
                saying_why(self._client, self._keys, self._imei, self._id),
                asyncio.timeout(self._limit),
            ):
                async for (entry_id, last), _ in self._gateways.entries(self._id, sent_after=before):
                    self._show(entry_id, last)
                    if last.get("note") == PARKED:
                        return WAITS
        except TimeoutError:
            stderr.fault(f"No verdict on {self._id} after {self._limit:.0f} s: telgw history {self._id}")
            return TIMED_OUT
        return status(last)


async def _send_all(
    where: Where,
    imeis: Sequence[str],
    name: str,
    at_once: int,
    wait: bool,
    raw: bool,
    options: dict[str, Any],
) -> int:
    async with server(where, "send") as client:
        keys = Keys(where.key_prefix)
        found, streams = Gateways(client, keys, on_error=Outage()), Producer(client, keys)
        stderr.remark(
            f"The batch {name} has {len(imeis)} devices; --batch {name} goes on after an interruption."
        )
        shared = given(**options, imei="")
        del shared["imei"], shared["command_id"]  # each command has its own
        batch = Batch(found, streams, name, shared, time_limit(options) if wait else None)
        advice = f"The same line with --batch {name} goes on where it stopped."
        with awaiting(f"commands of the batch {name}", unless=NotPublished, advice=advice):
            return await batch.run(imeis, at_once, raw=raw)


def status(event: dict[str, str]) -> int:
    """The exit status for a terminal event."""
    if event.get("state") in (RESPONDED, DELIVERED):
        return DONE
    return TIMED_OUT if event.get("state") == TIMEOUT else FAILED
