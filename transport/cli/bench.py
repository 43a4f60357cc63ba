"""``telgw bench``: what a gateway costs on this machine."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from fsm.errors import GatewayFault
from transport.settings import Address

from . import render
from .benchmark.curves import CURVES
from .benchmark.drawing import draw
from .benchmark.loads import measure
from .benchmark.outcome import Outcome
from .benchmark.plotting import plot
from .benchmark.stage import Stage
from .parameters import Duration, HostPort


@click.command(short_help="Measure what a gateway costs on this machine.")
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True, help="Rounds.")
@click.option(
    "--seconds", type=Duration(0.2), default=1.5, show_default=True, help="Time of one measurement."
)
@click.option(
    "--interval",
    type=Duration(1),
    default=30.0,
    show_default=True,
    help="Time between two frames of a tracker, for the number of trackers that a core serves.",
)
@click.option(
    "--curve",
    type=click.Choice(list(CURVES)),
    help="Measure how the cost depends on one number, instead: frames a second, records of a frame, workers, "
    "shards of telemetry, or connections.",
)
@click.option(
    "--against",
    type=HostPort(),
    multiple=True,
    help="Another server for Teltonika trackers, which gets the same frames; repeatable. Its CPU time is "
    "known if it runs on this machine.",
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write JSON.")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Draw the costs.")
@click.option(
    "--baseline",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON of an earlier run: what has become worse by 30 % is named, with status 1.",
)
def command(
    rounds: int,
    seconds: float,
    interval: float,
    curve: str | None,
    against: tuple[Address, ...],
    json_file: Path | None,
    svg: Path | None,
    baseline: Path | None,
) -> int:
    """Start a gateway with its own Redis, send it frames and commands, and show what one of each costs.

    The figures are CPU time for one frame or command, medians of the rounds: at saturation with 1, 5 and 20
    records a frame, with one record that is stored as it came (raw), and with one record at fixed rates and
    at half of a core, with the time until the acknowledgement; for a command, with 1,000 outstanding; and for
    a device that reports, at each heartbeat of the gateway. "x busy" compares with the saturated server;
    "x floor", where there is a C compiler, with a frame of as many records (of one, for raw frames and
    commands) at a server in C that only checks and acknowledges. The server has one core, the simulated
    trackers and Redis have the others. All data is deleted at the end. It needs Linux, and a machine that
    does little else.

    Exit status: 0 measured; 1 worse than the baseline; 2 a server could not be started; 130 interrupted.
    """
    if not sys.platform.startswith("linux"):
        raise click.UsageError("It reads CPU times from the kernel, as only Linux has them.")
    if curve and (against or baseline):
        raise click.UsageError("--curve has neither --against nor --baseline.")
    if curve:
        return _measure_curve(curve, rounds, seconds, json_file, svg)
    outcome = Outcome(interval)
    with ExitStack() as stack:
        _clear_up_when_ended(stack)
        _follow(measure(Stage(stack), outcome, against, rounds, seconds))
    _write(json_file, outcome.as_json(), svg, draw(outcome))
    _show(outcome.parts())
    return _judge(outcome, baseline)


def _measure_curve(name: str, rounds: int, seconds: float, json_file: Path | None, svg: Path | None) -> int:
    plan = CURVES[name]
    curve = plan.curve()
    with ExitStack() as stack:
        _clear_up_when_ended(stack)
        _follow(plan.measure(Stage(stack, apart=plan.apart), curve, rounds, seconds))
    _write(json_file, curve.as_json(), svg, plot(curve))
    _show(curve.parts())
    return 0


def _clear_up_when_ended(stack: ExitStack) -> None:
    """SIGTERM has the effect of Ctrl-C: neither processes nor data are left behind."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    stack.callback(signal.signal, signal.SIGTERM, before)


def _follow(steps: Iterator[str]) -> None:
    """Take the steps, and say at a terminal which one it is."""
    with Console(stderr=True).status("") as status:
        for name in steps:
            status.update(name)


def _write(json_file: Path | None, result: Any, svg: Path | None, drawing: str) -> None:
    if json_file:
        json_file.write_text(json.dumps(result, indent=2) + "\n")
    if svg:
        svg.write_text(drawing)


def _show(parts: Iterator[str | Table]) -> None:
    output = render.Output()
    for part in parts:
        output.print(part)


def _judge(outcome: Outcome, baseline: Path | None) -> int:
    if baseline is None:
        return 0
    try:
        worse = list(outcome.worse_than(json.loads(baseline.read_text())))
    except ValueError:
        raise GatewayFault(f"{baseline} is no result of telgw bench.") from None
    for line in worse:
        click.echo(f"worse: {line}", err=True)
    return 1 if worse else 0
