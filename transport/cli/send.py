"""``telgw send``: send one command to one device, in the same way as the business plane."""

from __future__ import annotations

import asyncio
import sys
import uuid
from io import BytesIO
from typing import Any, BinaryIO

import click

from fsm.command import DELIVERED, RESPONDED, TIMEOUT
from fsm.errors import InvalidCommand
from fsm.outbound import FAIL, FIELD_LIMIT, WAIT, Limits
from fsm.reasons import PARKED
from store.api import DeviceNotConnected, Gateways, NoGateway, NotPublished
from store.api.command_entry import command_entry

from . import render
from .ending import awaiting, complete
from .parameters import Duration
from .stream_options import Where, with_streams
from .streams import gateways

DONE, FAILED, TIMED_OUT, NOBODY, WAITS = 0, 1, 3, 4, 5
STDIN = "-"
SLACK = 60.0
"""Seconds that `send` waits for the terminal event beyond the time-outs of the command."""


@click.command(short_help="Send a command to a device and follow it to its end.")
@click.argument("imei")
@click.argument("text")
@click.option(
    "--codec",
    type=click.Choice(["12", "14"]),
    help="How it is sent.  [default: 12; 14 if the device sends serial-port data]",
)
@click.option(
    "--timeout",
    type=Duration(0.1, 3600),
    help="Time the device has to answer, from the write.  [default: --response-timeout of the gateway]",
)
@click.option(
    "--expires-in",
    "--expires",
    "expires_in",
    type=Duration(0.1, 30 * 86400),
    help="Not sent later than this from now.  [default: --command-ttl of the gateway]",
)
@click.option(
    "--offline",
    type=click.Choice([FAIL, WAIT]),
    default=FAIL,
    show_default=True,
    help="What to do if the device is connected nowhere: fail, or wait for it until the command expires.",
)
@click.option(
    "--no-answer", is_flag=True, help="Await no answer: delivered once the device's TCP has acknowledged it."
)
@click.option("--confirm", is_flag=True, help="Send it although a policy asks for a confirmation.")
@click.option(
    "--requested-by", help="Who asks for it; repeated in its events.  [default: telgw send]", metavar="NAME"
)
@click.option(
    "--confirmed-by",
    help="Another person, who has confirmed it: a policy may ask for one. Needs --requested-by.",
    metavar="NAME",
)
@click.option("--command-id", help="Its id; one id is never sent twice.  [default: a new UUID]")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Follow it to its end.")
@click.option("--json", "raw", is_flag=True, help="One JSON object per event.")
@with_streams
def command(where: Where, wait: bool, raw: bool, **options: Any) -> int:
    """Send the command TEXT to the device IMEI and print each of its events as it comes.

    TEXT is sent byte for byte; quote it. If TEXT is -, it is read from standard input: then no process list
    shows a password in it.

    Exit status: 0 responded or delivered (with --no-wait: handed over); 1 failed; 2 nothing was handed over:
    wrong use, or Redis cannot be used; 3 timeout, or the outcome is unknown: no event came in time, Redis
    was away for ten seconds, the output could not be written, or Ctrl-C; 4 no gateway holds the device, or
    none is alive; 5 with --offline wait: it is parked until the device connects. Only after 2 and 4 is it
    safe to send the command again without checking `telgw history`.
    """
    if options["text"] == STDIN:
        options["text"] = read_line(sys.stdin.buffer if sys.stdin else BytesIO())
    if options["confirmed_by"] and not options["requested_by"]:
        raise click.UsageError("--confirmed-by needs --requested-by: two persons have to be named.")
    entry(0, **options)  # to report what is wrong before Redis is needed
    return complete(_send(where, wait, raw, options))


def read_line(stream: BinaryIO) -> str:
    """The only line of `stream`, without its line break. It is validated later, like any other text.

    Raises:
        click.UsageError: there is no line, more than one, or a line too long for any gateway.
    """
    data = stream.read(FIELD_LIMIT + 3)
    line = data.removesuffix(b"\n").removesuffix(b"\r")
    if not line:
        raise click.UsageError("TEXT is empty: with - it is read from standard input.")
    if len(line) > FIELD_LIMIT:
        raise click.UsageError("TEXT is longer than 64 KiB.")
    if b"\n" in line:
        raise click.UsageError("TEXT has more than one line.")
    return line.decode(errors="surrogateescape")


async def _send(where: Where, wait: bool, raw: bool, options: dict[str, Any]) -> int:
    command_id = options["command_id"] = options["command_id"] or str(uuid.uuid4())
    limit = (options["expires_in"] or Limits().command_ttl) + (
        options["timeout"] or Limits().response_timeout
    )
    async with gateways(where, "send") as found:
        before = await found.position() if wait else ""
        with awaiting(f"the command {command_id} (telgw history {command_id})", unless=NotPublished):
            try:
                await found.send(**_given(**options), patience=0)
            except (DeviceNotConnected, NoGateway) as error:
                click.echo(f"telgw: {error}", err=True)
                return NOBODY
            if not wait:
                click.echo(command_id)
                return DONE
            return await _follow(found, command_id, before, limit + SLACK, raw)


async def _follow(found: Gateways, command_id: str, before: str, time_limit: float, raw: bool) -> int:
    console = render.Output()
    last: dict[str, str] = {}
    try:
        async with asyncio.timeout(time_limit):
            async for (entry_id, last), _ in found.entries(command_id, sent_after=before):
                render.show(console, entry_id, last, raw=raw)
                if last.get("note") == PARKED:
                    return WAITS
    except TimeoutError:
        click.echo(f"telgw: No verdict on {command_id} after {time_limit:.0f} s.", err=True)
        return TIMED_OUT
    return status(last)


def status(event: dict[str, str]) -> int:
    """The exit status for a terminal event."""
    if event.get("state") in (RESPONDED, DELIVERED):
        return DONE
    return TIMED_OUT if event.get("state") == TIMEOUT else FAILED


def entry(now_ms: int, **options: Any) -> dict[str, str]:
    """The outbound entry of a command, from the options of `command`. `now_ms` is the time of Redis.

    Raises:
        click.UsageError: a gateway would refuse it.
    """
    try:
        return command_entry(now_ms=now_ms, **_given(**options))
    except InvalidCommand as error:
        raise click.UsageError(f"{_NAMES.get(error.field, error.field)} {error.problem}.") from None


def _given(
    *,
    imei: str,
    text: str,
    codec: str | None = None,
    timeout: float | None = None,
    expires_in: float | None = None,
    no_answer: bool = False,
    confirm: bool = False,
    requested_by: str | None = None,
    confirmed_by: str | None = None,
    offline: str = FAIL,
    command_id: str | None = None,
) -> dict[str, Any]:
    """The options as those of `Gateways.send`."""
    return {
        "imei": imei,
        "payload": text,
        "requested_by": requested_by or "telgw send",
        "confirmed_by": confirmed_by,
        "codec": codec,
        "response_timeout": timeout,
        "expires_in": expires_in,
        "expect_response": not no_answer,
        "confirm": confirm,
        "offline": WAIT if offline == WAIT else None,
        "command_id": command_id,
    }


_NAMES = {
    "imei": "IMEI",
    "payload": "TEXT",
    "command_id": "--command-id",
    "expires_at": "--expires-in",
    "confirmed_by": "--confirmed-by",
}
