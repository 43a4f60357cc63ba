"""``telgw demo``: a gateway, five trackers and eight commands, in one process and a few seconds."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fsm.errors import GatewayFault
from fsm.session import READY
from store.embedded import EmbeddedServer
from store.streams.producer import NotPublished, Producer
from transport.clock import Clock
from transport.daemon import serve
from transport.logs import logging_to_stderr
from transport.settings import Settings
from transport.simulator import Tracker

from . import render, scenes
from .ending import awaiting, complete
from .render import STYLES
from .send import entry
from .stream_options import Where
from .streams import producer

INSTANCE = "demo"
READY_WITHIN = 10.0
"""Seconds until the gateway and its trackers have to be ready."""
PLAY_FOR = 15.0
"""Seconds after which a command that has not ended counts as failed."""

COLUMNS = (
    ("command", 14),
    ("text", 9),
    ("the device", 13),
    ("ended", 20),
    ("right", 5),
    ("expected", 24),
    ("events", 14),
)
"""Headings and their widths; a narrow terminal gets the first five."""
WIDE = 124
"""Columns that a terminal needs for all headings."""

INTERRUPTED = 130


@click.command(short_help="Run a gateway, five simulated trackers and eight commands for a few seconds.")
def command() -> int:
    """Start a gateway with its own Redis and five simulated trackers, and send the trackers eight commands.

    All data is deleted at the end. Exit status: 0 each command ended as it should; 1 one did not; 2 it could
    not start; 3 unknown, because the output could not be written; 130 interrupted.
    """
    console = render.Output()
    if not console.is_terminal:
        console.width = WIDE
    with (
        logging_to_stderr("error", "auto"),
        tempfile.TemporaryDirectory(prefix="telgw-demo-") as directory,
        EmbeddedServer.start(Path(directory)) as server,
    ):
        acts = [scenes.Act(scene) for scene in scenes.scenes()]
        try:
            status = complete(_demo(server.url, acts, console))
        except TimeoutError:
            raise GatewayFault(f"Gateway and trackers were not ready in {READY_WITHIN:.0f} s.") from None
    if status != INTERRUPTED:
        console.print(report(acts, console.width))
    return status


async def _demo(url: str, acts: list[scenes.Act], console: Console) -> int:
    async with _gateway(url) as (gateway, port), _trackers(port), producer(_where(url), "demo") as streams:
        await _all_ready(streams)
        with awaiting("the commands of the demonstration", unless=NotPublished):
            return await _outcome(streams, acts, console, gateway)


async def _outcome(
    streams: Producer, acts: list[scenes.Act], console: Console, gateway: asyncio.Task[int]
) -> int:
    """The exit status of the demonstration, or of its interruption."""
    playing = asyncio.ensure_future(_play(streams, acts, console))
    ends: list[asyncio.Future[Any]] = [playing, gateway, _interruption()]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    if not playing.done():
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
        return INTERRUPTED
    playing.result()
    return 0 if all(act.right for act in acts) else 1


def _interruption() -> asyncio.Future[None]:
    """Done at Ctrl-C, which this handler takes from the gateway."""
    loop = asyncio.get_running_loop()
    interruption: asyncio.Future[None] = loop.create_future()
    with suppress(NotImplementedError, RuntimeError, ValueError):  # in a thread, or on Windows
        loop.add_signal_handler(signal.SIGINT, interruption.cancel)
    return interruption


@asynccontextmanager
async def _gateway(url: str) -> AsyncIterator[tuple[asyncio.Task[int], int]]:
    """A gateway in this process: its task and its port."""
    settings = Settings(
        instance_id=INSTANCE,
        listen=(("127.0.0.1", 0),),
        redis=url,
        metrics=None,
        reconnect_grace=3.0,
        shutdown_timeout=1.0,
        log_level="error",
    )
    ready: asyncio.Future[list[tuple[str, int]]] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    task = asyncio.ensure_future(serve(settings, on_ready=ready.set_result, stop=stop))
    begun: list[asyncio.Future[Any]] = [task, ready]
    try:
        await asyncio.wait(begun, timeout=READY_WITHIN, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            raise GatewayFault("The gateway of the demonstration did not start.")
        yield task, ready.result()[0][1]
    finally:
        stop.set()
        await task


@asynccontextmanager
async def _trackers(port: int) -> AsyncIterator[list[Tracker]]:
    """The five devices, which try to connect."""
    now_ms = Clock().now_ms
    trackers = [
        Tracker(imei, "127.0.0.1", port, replace(behaviour), now_ms=now_ms)
        for imei, behaviour in scenes.TRACKERS.items()
    ]
    lives = [asyncio.ensure_future(tracker.run()) for tracker in trackers]
    try:
        async with asyncio.timeout(READY_WITHIN):
            for tracker in trackers:
                await tracker.reached(lambda it: it.counters.records_acked > 0)
        yield trackers
    finally:
        for life in lives:
            life.cancel()
        await asyncio.gather(*lives, return_exceptions=True)


async def _all_ready(streams: Producer) -> None:
    """Wait until the log says that each device is ready for commands."""
    waited = set(scenes.TRACKERS)
    async with asyncio.timeout(READY_WITHIN):
        async for _, fields in streams.follow("0-0"):
            if fields.get("kind") == "session" and fields.get("state") == READY:
                waited.discard(fields.get("imei", ""))
            if not waited:
                return


async def _play(streams: Producer, acts: list[scenes.Act], console: Console) -> None:
    """Send every command, and show their events until the last command has ended."""
    tail = await streams.tail()
    now_ms = await streams.now_ms()
    for act in acts:
        scene = act.scene
        arguments: dict[str, Any] = {
            "imei": scene.imei,
            "text": scene.text,
            "command_id": scene.name,
            **scene.options,
        }
        await streams.publish(INSTANCE, entry(now_ms, **arguments))
    with Live(report(acts, console.width), console=console, transient=True, auto_refresh=False) as live:
        try:
            async with asyncio.timeout(PLAY_FOR):
                await _follow(streams, tail, acts, console, live if console.is_terminal else None)
        except TimeoutError:
            return


async def _follow(
    streams: Producer, tail: str, acts: list[scenes.Act], console: Console, live: Live | None
) -> None:
    by_id = {act.scene.name: act for act in acts}
    async for entry_id, fields in streams.follow(tail):
        act = by_id.get(fields.get("command_id", ""))
        if act is None:
            continue
        act.entries.append(fields)
        if live is None:
            render.show(console, entry_id, fields, raw=False)
        else:
            live.update(report(acts, console.width), refresh=True)
        if all(act.over for act in acts):
            return


def report(acts: list[scenes.Act], width: int = WIDE) -> Table:
    """What was sent, what the device does with it, the outcome that was expected, and the real one."""
    table = Table(title="telgw demo", title_justify="left", expand=False)
    for heading, room in COLUMNS if width >= WIDE else COLUMNS[:5]:
        table.add_column(heading, width=room)
    for act in acts:
        cells = _cells(act)
        table.add_row(*cells[: len(table.columns)], style="bold red" if act.over and not act.right else "")
    return table


def _cells(act: scenes.Act) -> list[str | Text]:
    scene, end = act.scene, act.ending
    outcome = _lines(end.get("state", ""), end.get("reason", ""), end.get("delivery", ""))
    return [
        f"{scene.name}\n…{scene.imei[-4:]}",
        f"{scene.text}\ncodec {scene.options.get('codec', '12')}",
        scene.device,
        Text(outcome or "…", STYLES.get(end.get("state", ""), "dim")),
        Text("yes", "green") if act.right else Text("NO" if act.over else "…"),
        _lines(scene.state, scene.reason, " or ".join(sorted(scene.delivery))),
        " ".join(entry.get("note") or entry.get("state", "") for entry in act.entries),
    ]


def _lines(state: str, reason: str, delivery: str) -> str:
    """Each on its own line, for narrow terminals."""
    return "\n".join(part for part in (state, reason, delivery) if part)


def _where(url: str) -> Where:
    return Where(url, "", None)
