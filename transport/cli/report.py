"""``telgw report``: what happened in a fleet, as one page."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import click

from fsm.errors import GatewayFault
from store.keys import Keys

from .event_loop import complete
from .options import setting
from .parameters import Moment, StreamName
from .stream_options import Where, with_streams
from .streams import server
from .times import Times

DONE = 0


class MatplotlibMissing(GatewayFault):
    """The library that draws is not installed."""

    def __init__(self) -> None:
        super().__init__("Drawings need the extra `report`: pip install 'teltonika-gateway[report]'.")


@click.command(short_help="Write a page about commands, devices and outages of the last day or any time.")
@click.option("--since", type=Moment(), default="1d", show_default=True, help="Begin: 24h, 2026-11-29T10:00.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    default="report.html",
    show_default=True,
    help="The page.",
)
@click.option("--utc", is_flag=True, help="Show times in UTC instead of local time.")
@click.option("--json", "raw", is_flag=True, help="Print the numbers as one JSON object, and write no page.")
@setting("Redis", "--session-events", StreamName(), "As set for the gateways.")
@with_streams
def command(where: Where, since: int, out: Path, utc: bool, raw: bool, session_events: str) -> int:
    """Write one HTML page, which loads nothing from elsewhere: how commands ended and why, how long devices
    took to answer, how many were online, which had the most trouble, when Redis or gateways were away, and
    how far consumers are.

    It is made from the log, and begins with it if that is later. It needs no right to write.

    Exit status: 0 written; 2 wrong use, Redis cannot be used, or the file cannot be written.
    """
    if not raw:
        _need_matplotlib()
    return complete(_report(where, since, out, utc, raw, session_events))


def _need_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MatplotlibMissing from None


async def _report(where: Where, since: int, out: Path, utc: bool, raw: bool, session_events: str) -> int:
    from .reports.reading import Reading

    keys = Keys(where.key_prefix)
    sessions = "" if session_events == "off" else f"{where.key_prefix}{session_events}"
    async with server(where, "report") as client:
        facts = await Reading(client, keys, "" if sessions == keys.responses else sessions).read(since)
    if raw:
        click.echo(json.dumps(facts.as_dict()))
        return DONE
    from .reports.page import page, zone_of

    drawn = page(facts, Times(utc), zone_of(utc))
    await asyncio.to_thread(out.write_text, drawn, encoding="utf-8")
    counts = f"commands ended: {facts.tally.ended:,}, devices connected: {facts.connected:,}"
    click.echo(f"Written to {out}; {counts}.")
    return DONE
