"""``telgw cancel``: cancel a command that is not sent yet."""

from __future__ import annotations

import asyncio

import click

from fsm.reasons import CANCEL_REJECTED, CANCELLED
from store.api import Gateways, NoGateway, NotPublished, UnknownCommand

from . import render, stderr
from .ending import awaiting
from .event_loop import complete
from .ids import CommandId
from .parameters import Duration
from .stream_options import Where, with_streams
from .streams import gateways
from .times import Times

DONE, TOO_LATE, NO_VERDICT, UNKNOWN = 0, 1, 3, 4


@click.command(short_help="Cancel a command that is not sent yet.")
@click.argument("command_id", type=CommandId())
@click.option(
    "--patience", type=Duration(0.1), default=30.0, show_default=True, help="Time to wait for the outcome."
)
@click.option("--utc", is_flag=True, help="Show times in UTC instead of local time.")
@click.option("--json", "raw", is_flag=True, help="One JSON object per event.")
@with_streams
def command(where: Where, command_id: str, patience: float, utc: bool, raw: bool) -> int:
    """Cancel the command COMMAND_ID if no byte of it was sent.

    Exit status: 0 cancelled; 1 too late, it is sent or ended; 2 no cancel was requested: wrong use, or Redis
    cannot be used; 3 the outcome is unknown: no event came in time, Redis was away for ten seconds, the
    output could not be written, or Ctrl-C; 4 the command is unknown, or it is
    parked and no gateway is alive.
    """
    return complete(_cancel(where, command_id, patience, Times(utc), raw))


async def _cancel(where: Where, command_id: str, patience: float, times: Times, raw: bool) -> int:
    async with gateways(where, "cancel") as found:
        after = await found.position()
        with awaiting(f"the command {command_id} (telgw history {command_id})", unless=NotPublished):
            try:
                await found.cancel(command_id, patience=0)
            except (UnknownCommand, NoGateway) as error:
                stderr.fault(str(error))
                return UNKNOWN
            try:
                async with asyncio.timeout(patience):
                    return await _verdict(found, command_id, after, times, raw)
            except TimeoutError:
                stderr.fault(f"No verdict on {command_id} after {patience:.0f} s.")
                return NO_VERDICT


async def _verdict(found: Gateways, command_id: str, after: str, times: Times, raw: bool) -> int:
    console = render.Output()
    async for (entry_id, fields), _ in found.entries(command_id, after=after):
        render.show(console, entry_id, fields, raw=raw, times=times)
        if fields.get("note") == CANCEL_REJECTED:
            return TOO_LATE
        if fields.get("terminal") == "1":
            return DONE if fields.get("reason") == CANCELLED else TOO_LATE
    return TOO_LATE
