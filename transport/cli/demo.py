"""``telgw demo``: a gateway, five trackers and eight commands, in one process and a few seconds."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from fsm.errors import GatewayFault
from fsm.session import READY
from store.embedded import EmbeddedServer
from store.keys import Keys
from store.streams.producer import NotPublished, Producer
from transport.clock import Clock
from transport.daemon import serve
from transport.daemon.supervisor import supervise
from transport.logs import logging_to_stderr
from transport.settings import Settings
from transport.simulator import Tracker

from . import render, scenes
from .command_options import entry
from .ending import awaiting
from .event_loop import complete
from .story import Story
from .stream_options import Where
from .streams import producer
from .worker import PROGRAM

INSTANCE = "demo"
READY_WITHIN = 20.0
"""Seconds until the gateway and its trackers have to be ready."""
PLAY_FOR = 15.0
"""Seconds after which a command that has not ended counts as failed."""
RECORDS_EVERY = 2.0

INTERRUPTED = 130


@click.command(short_help="Run a gateway, five simulated trackers and eight commands for a few seconds.")
@click.option(
    "--workers",
    type=click.IntRange(1, 16),
    default=1,
    show_default=True,
    help="Gateway processes that share the trackers.",
)
@click.option(
    "--telemetry-shards",
    "shards",
    type=click.IntRange(1, 16),
    default=1,
    show_default=True,
    help="Streams over which the records are spread.",
)
def command(workers: int, shards: int) -> int:
    """Start a gateway with its own Redis and five simulated trackers, send the trackers eight commands, tell
    what happens as it happens, and what it means.

    All data is deleted at the end. Exit status: 0 each command ended as it should; 1 one did not; 2 it could
    not start; 3 unknown, because the output could not be written; 130 interrupted.
    """
    story = Story(render.Output())
    story.begin()
    with (
        logging_to_stderr("error", "auto"),
        tempfile.TemporaryDirectory(prefix="telgw-demo-") as directory,
        EmbeddedServer.start(Path(directory)) as server,
    ):
        acts = [scenes.Act(scene) for scene in scenes.scenes()]
        try:
            status = complete(_demo(_settings(server.url, workers, shards), acts, story))
        except TimeoutError:
            raise GatewayFault(f"Gateway and trackers were not ready in {READY_WITHIN:.0f} s.") from None
    if status != INTERRUPTED:
        story.end(acts)
    return status


def _settings(url: str, workers: int, shards: int) -> Settings:
    return Settings(
        instance_id=INSTANCE,
        listen=(("127.0.0.1", 0),),
        redis=url,
        metrics=None,
        reconnect_grace=3.0,
        shutdown_timeout=1.0,
        log_level="error",
        workers=workers,
        telemetry_shards=shards,
    )


async def _demo(settings: Settings, acts: list[scenes.Act], story: Story) -> int:
    several = settings.workers > 1
    async with _gateway(settings) as (gateway, port):
        who = f"{settings.workers} workers listen" if several else "listens"
        story.tell(
            "gateway", f"{who} on 127.0.0.1:{port}, with a Redis of {'their' if several else 'its'} own"
        )
        async with _trackers(port) as trackers, producer(_where(settings.redis), "demo") as streams:
            await _all_ready(streams)
            where = f", {await _spread(streams)}," if several else ""
            story.tell("trackers", f"{len(trackers)} are connected{where} and have sent their first records")
            with awaiting("the commands of the demonstration", unless=NotPublished):
                return await _outcome(settings, streams, acts, story, gateway)


async def _spread(streams: Producer) -> str:
    """How many trackers each worker has."""
    held = Counter([await streams.holder(imei) for imei in scenes.TRACKERS])
    return " and ".join(f"{number} to {name}" for name, number in sorted(held.items(), key=str))


async def _outcome(
    settings: Settings,
    streams: Producer,
    acts: list[scenes.Act],
    story: Story,
    gateway: asyncio.Task[int],
) -> int:
    """The exit status of the demonstration, or of its interruption."""
    playing = asyncio.ensure_future(_play(settings, streams, acts, story))
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
async def _gateway(settings: Settings) -> AsyncIterator[tuple[asyncio.Task[int], int]]:
    """A gateway in this process, or workers of it: the task, and the port."""
    ready: asyncio.Future[list[tuple[str, int]]] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    run = serve if settings.workers == 1 else partial(supervise, program=PROGRAM)
    task = asyncio.ensure_future(run(settings, on_ready=ready.set_result, stop=stop))
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


async def _play(settings: Settings, streams: Producer, acts: list[scenes.Act], story: Story) -> None:
    """Send every command, and tell what happens until the last command has ended."""
    tail = await streams.tail()
    shards = [shard.telemetry for shard in Keys().shards(settings.telemetry_shards)]
    records = {stream: await streams.tail(stream) for stream in shards}
    nobody = INSTANCE if settings.workers == 1 else f"{INSTANCE}-1"
    now_ms = await streams.now_ms()
    for act in acts:
        scene = act.scene
        arguments: dict[str, Any] = {
            "imei": scene.imei,
            "text": scene.text,
            "command_id": scene.name,
            **scene.options,
        }
        holder = await streams.holder(scene.imei) or nobody
        await streams.publish(holder, entry(now_ms, **arguments))
    story.tell("commands", f"{len(acts)} are handed over, for these trackers and one that is not connected")
    telling = asyncio.ensure_future(_tell_records(streams, records, story))
    try:
        async with asyncio.timeout(PLAY_FOR):
            await _follow(streams, tail, acts, story)
    except TimeoutError:
        return
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


async def _follow(streams: Producer, tail: str, acts: list[scenes.Act], story: Story) -> None:
    by_id = {act.scene.name: act for act in acts}
    async for _, fields in streams.follow(tail):
        act = by_id.get(fields.get("command_id", ""))
        if act is None:
            continue
        act.entries.append(fields)
        story.event(act, fields)
        if all(act.over for act in acts):
            return


async def _tell_records(streams: Producer, positions: dict[str, str], story: Story) -> None:
    """Tell how many records were stored, every `RECORDS_EVERY` seconds.

    Args:
        positions: the last entry of each stream.
    """
    while True:
        await asyncio.sleep(RECORDS_EVERY)
        found = {stream: await streams.after(last, stream) for stream, last in positions.items()}
        entries = [fields for new in found.values() for _, fields in new]
        positions |= {stream: new[-1][0] for stream, new in found.items() if new}
        if entries:
            devices = {fields.get("imei", "") for fields in entries}
            used = sum(map(bool, found.values()))
            where = f" in {used} of {len(positions)} streams" if len(positions) > 1 else ""
            story.tell(
                "telemetry", f"{len(entries)} more records of {len(devices)} trackers are stored{where}"
            )


def _where(url: str) -> Where:
    return Where(url, "", None)
