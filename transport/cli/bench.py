"""``telgw bench``: what a gateway costs on this machine."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import click

from fsm.errors import GatewayFault
from store.embedded import EmbeddedServer
from transport.settings import Address, as_text

from . import render
from .benchmark import processes
from .benchmark.commanding import measure_commands
from .benchmark.drawing import draw
from .benchmark.measuring import RATES, RECORDS, Server, measure_frames, measure_memory
from .benchmark.outcome import BUSY, COMMAND, FLOOR, GATEWAY, HALF, Outcome, saturated, singly
from .parameters import Duration, HostPort

INSTANCE = "bench"


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
    against: tuple[Address, ...],
    json_file: Path | None,
    svg: Path | None,
    baseline: Path | None,
) -> int:
    """Start a gateway with its own Redis, send it frames and commands, and show what one of each costs.

    The figures are CPU time for one frame or command, medians of the rounds: at saturation with 1, 5 and 20
    records a frame, and with one record at fixed rates and at half of a core, with the time until the
    acknowledgement. "x busy" compares with the saturated server; "x floor", where there is a C compiler, with
    a server in C that only checks and acknowledges. The server has one core, the simulated trackers and Redis
    have the others. All data is deleted at the end. It needs Linux, and a machine that does little else.

    Exit status: 0 measured; 1 worse than the baseline; 2 a server could not be started; 130 interrupted.
    """
    if not sys.platform.startswith("linux"):
        raise click.UsageError("It reads CPU times from /proc, which only Linux has.")
    outcome = Outcome(interval)
    with ExitStack() as stack:
        for _ in _measured(stack, outcome, against, rounds, seconds):
            pass
    _write(outcome, json_file, svg)
    _show(outcome)
    return _judge(outcome, baseline)


def _measured(
    stack: ExitStack, outcome: Outcome, against: tuple[Address, ...], rounds: int, seconds: float
) -> Iterator[None]:
    """Start the servers and measure; a step after each measurement."""
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="telgw-bench-")))
    core = _set_apart(stack)
    redis = stack.enter_context(EmbeddedServer.start(directory))
    pid, port = stack.enter_context(processes.gateway(redis.url, INSTANCE, core))
    ours = Server(GATEWAY, (processes.LOOPBACK, port), pid, redis.pid)
    servers = [ours, *_others(stack, directory, core, against)]
    outcome.idle_kib = measure_memory(ours)
    for _ in range(rounds):
        yield from _round(outcome, servers, seconds)
        cost = measure_commands(ours, redis.url, INSTANCE, seconds)
        outcome.of(COMMAND, GATEWAY).costs.append(cost)


def _set_apart(stack: ExitStack) -> int | None:
    """Keep this process, and the Redis that it starts, off the core for the servers; that core, if any."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return None
    stack.callback(os.sched_setaffinity, 0, set(cores))
    os.sched_setaffinity(0, set(cores[1:]))
    return cores[0]


def _others(
    stack: ExitStack, directory: Path, core: int | None, against: tuple[Address, ...]
) -> Iterator[Server]:
    if program := processes.build_floor(directory):
        pid, port = stack.enter_context(processes.floor(program, core))
        yield Server(FLOOR, (processes.LOOPBACK, port), pid)
    for address in against:
        here = address[0] in ("localhost", processes.LOOPBACK, "::1")
        yield Server(as_text(address), address, processes.listener(address[1]) if here else None)


def _round(outcome: Outcome, servers: list[Server], seconds: float) -> Iterator[None]:
    """Measure each load on all servers in turn."""
    for records in RECORDS:
        for server in servers:
            cost = measure_frames(server, records, seconds)
            outcome.of(saturated(records), server.name).costs.append(cost)
            yield
    for rate in RATES:
        for server in servers:
            if server.name != FLOOR:  # its own cost at such rates is too small to divide by
                cost = measure_frames(server, 1, seconds, rate)
                outcome.of(singly(rate), server.name).costs.append(cost)
                yield
    if full := outcome.of(saturated(1), GATEWAY).median(lambda one: one.server):
        outcome.of(HALF, GATEWAY).costs.append(measure_frames(servers[0], 1, seconds, 0.5e6 / full))
        yield


def _write(outcome: Outcome, json_file: Path | None, svg: Path | None) -> None:
    if json_file:
        json_file.write_text(json.dumps(outcome.as_json(), indent=2) + "\n")
    if svg:
        svg.write_text(draw(outcome))


def _show(outcome: Outcome) -> None:
    output = render.Output()
    output.print(outcome.table())
    output.print()
    if trackers := outcome.trackers_a_core():
        output.print(
            f"{BUSY:.0%} of one core serves about {trackers:,} trackers "
            f"that send a frame of one record every {outcome.interval:g} s."
        )
    if outcome.idle_kib is not None:
        output.print(f"An idle connection takes {outcome.idle_kib:.1f} KiB.")
    if not any(server == FLOOR for _, server in outcome.series):
        output.print("Without a C compiler there is no floor to compare with.")


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
