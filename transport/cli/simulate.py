"""``telgw simulate``: connect simulated trackers to a gateway."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from store.client.reasons import reason
from transport.clock import Clock
from transport.settings import Address, as_text
from transport.simulator.behaviour import ANSWERS, Behaviour
from transport.simulator.fleet import IMEI_BASE, Fleet, Totals
from transport.teltonika.frame import CODEC_8, CODEC_8E, CODEC_12, CODEC_13, CODEC_16

from . import render, stderr
from .device_tls import DeviceTls
from .event_loop import cancel, complete
from .parameters import Duration, HostPort

CODECS = {"8": (CODEC_8,), "8E": (CODEC_8E,), "16": (CODEC_16,), "mixed": (CODEC_8, CODEC_8E, CODEC_16)}
SERIAL_CODECS = {"12": CODEC_12, "13": CODEC_13}
REFRESH = 0.25
FIRST_LINE, LINES = 2.0, 10.0
"""Seconds until the first line about a fleet without a terminal, and between two."""
"""Seconds between two updates of the progress line."""
SPREAD = 2.0
"""Seconds within which all trackers begin to connect."""


@click.command(short_help="Connect simulated trackers to a gateway.")
@click.option(
    "--connect", type=HostPort(), default="127.0.0.1:5027", show_default=True, help="Address of the gateway."
)
@click.option(
    "--trackers", type=click.IntRange(1, 100_000), default=10, show_default=True, help="Number of trackers."
)
@click.option(
    "--imei-base",
    type=click.IntRange(1, 10**15 - 1),
    default=IMEI_BASE,
    show_default=True,
    help="IMEI of the first tracker.",
)
@click.option(
    "--codec",
    type=click.Choice(list(CODECS)),
    default="mixed",
    show_default=True,
    help="Codec of the records.",
)
@click.option(
    "--interval", type=Duration(0.01), default=5.0, show_default=True, help="Time between two frames."
)
@click.option(
    "--frame",
    type=click.IntRange(1, 255),
    default=1,
    show_default=True,
    help="Records per frame, or as many as fit into the 1,280 bytes of a packet.",
)
@click.option(
    "--records", type=click.IntRange(1), help="Stop when each tracker has this many records acknowledged."
)
@click.option(
    "--answer",
    type=click.Choice(ANSWERS),
    default="normal",
    show_default=True,
    help="How trackers answer commands.",
)
@click.option("--answer-delay", type=Duration(), default=0.2, show_default=True, help="Delay of an answer.")
@click.option(
    "--late-by", type=Duration(), default=60.0, show_default=True, help="Additional delay with --answer late."
)
@click.option("--split", is_flag=True, help="Write frames in small pieces.")
@click.option("--drop-every", type=Duration(0.1), help="Cut each connection after this.")
@click.option(
    "--wake-every", type=Duration(0.1), help="Be asleep, and connect for a moment once in this time."
)
@click.option(
    "--awake-for", type=Duration(0.1), default=3.0, show_default=True, help="That moment, with --wake-every."
)
@click.option("--ping", type=Duration(0.1), help="Time between two network pings.")
@click.option("--serial", type=Duration(0.01), help="Send serial-port data: time between two frames.")
@click.option(
    "--serial-codec",
    type=click.Choice(list(SERIAL_CODECS)),
    default="12",
    show_default=True,
    help="Codec of the serial-port data.",
)
@click.option(
    "--serial-merge",
    type=click.IntRange(1, 255),
    default=1,
    show_default=True,
    help="Serial-port messages per frame.",
)
@click.option("--duration", type=Duration(0.1), help="Stop after this.")
@click.option("--tls", is_flag=True, help="Connect with TLS; the other --tls options imply it.")
@click.option(
    "--tls-ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CA of the certificate of the gateway, PEM.  [default: those of the system]",
)
@click.option(
    "--tls-cert",
    metavar="FILE",
    default="",
    help="Certificate of the trackers and its chain, PEM; {imei} in the name stands for the IMEI of each.",
)
@click.option(
    "--tls-key", metavar="FILE", default="", help="Private key of that, PEM.  [default: in the same file]"
)
@click.option(
    "--tls-server-name",
    metavar="NAME",
    default="",
    help="What the certificate of the gateway has to name.  [default: the host of --connect]",
)
def command(
    connect: Address,
    trackers: int,
    imei_base: int,
    duration: float | None,
    tls: bool,
    tls_ca: Path | None,
    tls_cert: str,
    tls_key: str,
    tls_server_name: str,
    **options: Any,
) -> int:
    """Connect simulated trackers to a gateway. They send records, await acknowledgements and answer commands.

    Exit status: 0 records were acknowledged; 1 no record was acknowledged; 2 wrong use, or a file cannot be
    used; 130 interrupted.
    """
    if imei_base + trackers > 10**15:
        raise click.UsageError("--imei-base and --trackers lead beyond 15 digits.")
    if tls_key and not tls_cert:
        raise click.UsageError("--tls-key needs --tls-cert.")
    secure = None
    if tls or tls_ca or tls_cert or tls_server_name:
        secure = DeviceTls(connect, tls_ca, tls_cert, tls_key, tls_server_name)
    fleet = Fleet(
        connect,
        trackers,
        behaviours(**options),
        now_ms=Clock().now_ms,
        imei_base=imei_base,
        spread=SPREAD,
        connect=secure.connect if secure else None,
    )
    if secure:
        secure.check(tracker.imei for tracker in fleet.trackers)
    return complete(_simulate(fleet, duration, bare=secure is not None and not tls_cert))


def behaviours(
    codec: str,
    interval: float,
    frame: int,
    records: int | None,
    answer: str,
    answer_delay: float,
    late_by: float,
    split: bool,
    drop_every: float | None,
    wake_every: float | None,
    awake_for: float,
    ping: float | None,
    serial: float | None = None,
    serial_codec: str = "12",
    serial_merge: int = 1,
) -> list[Behaviour]:
    """One behaviour for each codec of `--codec`."""
    return [
        Behaviour(
            codec=each,
            interval=interval,
            records_per_frame=frame,
            records_limit=records,
            answers=answer,
            answer_delay=answer_delay,
            late_by=late_by,
            split=7 if split else 0,
            drop_after=drop_every,
            wake_every=wake_every,
            awake_for=awake_for,
            ping_interval=ping,
            serial_interval=serial,
            serial_codec=SERIAL_CODECS[serial_codec],
            serial_merge=serial_merge,
        )
        for each in CODECS[codec]
    ]


async def _simulate(fleet: Fleet, duration: float | None, bare: bool) -> int:
    console = render.Output()
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(duration):
                await _run(fleet, console, bare)
    finally:
        render.print_line(console, Text(summary(fleet.totals())))
    return 0 if fleet.totals().acked else 1


async def _run(fleet: Fleet, console: Console, bare: bool) -> None:
    if not console.is_terminal:
        await _tell(fleet, bare)
        return
    text = TextColumn("{task.description}", table_column=Column(overflow="fold"))
    progress = Progress(SpinnerColumn(), text, TimeElapsedColumn(), console=console)
    task = progress.add_task("")
    with Live(progress, console=console, transient=True, auto_refresh=False) as live:
        running = asyncio.ensure_future(fleet.run())
        try:
            while not running.done():
                progress.update(task, description=present(fleet.totals(), why_away(fleet, bare)))
                live.refresh()
                await asyncio.wait([running], timeout=REFRESH)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    await running


async def _tell(fleet: Fleet, bare: bool) -> None:
    """Run the fleet, with a line on standard error now and then: nobody sees a bar."""
    running = asyncio.ensure_future(fleet.run())
    pause = FIRST_LINE
    try:
        while not (await asyncio.wait([running], timeout=pause))[0]:
            pause = LINES
            stderr.remark(present(fleet.totals(), why_away(fleet, bare)))
    finally:
        await cancel(running)
    await running


def why_away(fleet: Fleet, bare: bool = False) -> str:
    """Why the last connection was not made, in words; empty if one is, or none was tried.

    Args:
        bare: the trackers connect with TLS and have no certificates.
    """
    error = fleet.unreachable
    if error is None or any(tracker.connected for tracker in fleet.trackers):
        return ""
    # A gateway that asyncio serves closes without an alert when it misses a certificate.
    hint = "; does it want a certificate (--tls-cert)?" if bare and isinstance(error, ConnectionError) else ""
    return reason(error, as_text(fleet.trackers[0].address)) + hint


def present(totals: Totals, away: str = "") -> str:
    """What the fleet does now, short enough for 80 columns with a thousand trackers.

    Args:
        away: why the last connection was not made; empty if one is.
    """
    refused = f"{totals.rejected} refused" * (totals.rejected > 0 and not totals.connected)
    why = ", ".join(filter(None, (away, refused)))
    return (
        f"{totals.connected} of {totals.trackers} connected{f' ({why})' * bool(why)}, "
        f"{_count(totals.acked, 'record')} acknowledged, {_count(totals.commands, 'command')} read"
    )


def summary(totals: Totals) -> str:
    """What the fleet has done, on one line."""
    serial = f", {_count(totals.serial, 'message')} of serial ports" if totals.serial else ""
    return (
        f"{_count(totals.trackers, 'tracker')} made {_count(totals.connections, 'connection')} "
        f"({totals.rejected} refused), "
        f"{_count(totals.acked, 'record')} acknowledged in {_count(totals.frames, 'frame')}, "
        f"{_count(totals.commands, 'command')} read, {totals.answers} answered{serial}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
