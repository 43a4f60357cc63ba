"""``telgw top``: a live view of a fleet."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from fsm.errors import GatewayFault
from store.keys import Keys

from . import render
from .event_loop import complete
from .listing import Column, Row, print_listing
from .stream_options import Where, with_streams
from .streams import servers
from .times import Times

DONE = 0
TABS = ("overview", "devices", "commands", "events")
PICTURE = (110, 30)
"""Columns and lines of a drawn screen."""
DRAWN_AFTER = 20.0
"""Seconds after which it is drawn: its rates have a past then."""


class TextualMissing(GatewayFault):
    """The library of the live view is not installed."""

    def __init__(self) -> None:
        super().__init__("The live view needs the extra `top`: pip install 'teltonika-gateway[top]'.")


@click.command(short_help="Show a live view of gateways, devices, commands and events.")
@click.option("--utc", is_flag=True, help="Show times in UTC instead of local time.")
@click.option(
    "--tab", type=click.Choice(TABS), default=TABS[0], show_default=True, help="What is shown at first."
)
@click.option(
    "--svg",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Draw the screen into this file, as it is after a few seconds, and end.",
)
@with_streams
def command(where: Where, utc: bool, tab: str, svg: Path | None) -> int:
    """Show gateways, devices, commands in flight and lately failed, and events, live. ? explains the keys.

    It reads from Redis what is on the screen, every two seconds, and needs no right to write, except to send
    and to cancel. Output that is no terminal gets the present state as text, once.

    Exit status: 0 left; 2 wrong use, or Redis cannot be used; 130 interrupted.
    """
    try:
        import textual  # noqa: F401
    except ImportError:
        raise TextualMissing from None
    if svg is not None or (sys.stdout.isatty() and sys.stdin.isatty()):
        return complete(_live(where, Times(utc), tab, svg))
    return complete(_once(where))


async def _live(where: Where, times: Times, tab: str, svg: Path | None) -> int:
    from .live.app import Top
    from .live.feed import Feed

    async with servers(where, "top") as (client, client_of):
        feed = Feed(client, Keys(where.key_prefix), client_of)
        await feed.read_overview()  # a Redis that cannot be used is an error before the screen is taken
        top = Top(feed, where.key_prefix, times, tab)
        if svg is None:
            await top.run_async()
        else:
            async with top.run_test(size=PICTURE) as pilot:
                await pilot.pause(DRAWN_AFTER)
                drawn = top.export_screenshot()
            await asyncio.to_thread(svg.write_text, drawn, encoding="utf-8")
    return DONE


async def _once(where: Where) -> int:
    from .live import tables
    from .live.feed import Feed

    async with servers(where, "top") as (client, client_of):
        feed = Feed(client, Keys(where.key_prefix), client_of)
        await feed.read_overview()
        await feed.read_commands()
        await feed.read_failed()
    found = feed.overview
    assert found is not None
    output = render.Output()
    click.echo(f"{found.devices} devices")
    parts: tuple[tuple[tuple[str, ...], list[tables.Line]], ...] = (
        (tables.INSTANCES, [tables.instance(one) for one in found.instances]),
        (tables.CONSUMERS, [tables.consumer(one, where.key_prefix) for one in found.consumers]),
        (tables.IN_FLIGHT, [tables.in_flight(one, found.now_ms) for one in feed.in_flight]),
        (tables.FAILED, [tables.failed(one, found.now_ms) for one in feed.failed]),
    )
    for headings, lines in parts:
        if lines:
            click.echo()
            print_listing(output, [Column(name) for name in headings], [_row(line.cells) for line in lines])
    return DONE


def _row(cells: Any) -> Row:
    return Row([Text(str(cell)) for cell in cells], Text())
