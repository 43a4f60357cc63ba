"""The network between gateway and Redis is gone for a while: packets vanish, names do not resolve."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.process.gateway import Gateway
from tests.rig.event_loops import plug_in_at_each, start_on_each_loop
from tests.rig.fleet import Fleet, until
from tests.rig.namespace import Namespace
from tests.rig.outages import LONG_TIME_LIMIT, OBEDIENT, assert_calm, assert_steady, caught_up
from tests.rig.proxied_fleet import wired

pytestmark = pytest.mark.timeout(300)

SOON = 5.0
"""Seconds after the return of the network within which the registry must be right."""
UNHURRIED = {"heartbeat_interval": 200, "heartbeat_ttl": 600, "command_ttl": 300}
"""Options of gateways whose next heartbeat is too far off to put anything right."""


async def devices(run: Fleet) -> None:
    """Ten devices that are registered, and commands for them."""
    plug_in_at_each(run, 5, manners=OBEDIENT, time_limit=LONG_TIME_LIMIT)
    await run.connected()
    await until(run.named, "all registered")
    run.producer.begin(run.imeis, per_second=10)


def change_places(run: Fleet) -> None:
    """Half of the devices connect anew while nobody can tell the registry, and others are new to it."""
    for tracker in run.trackers[::2]:
        assert tracker.line is not None
        tracker.line.cut()
        tracker.manners = ("answer", "answer")  # of those with other manners none is expected to stay
    run.plug_in(3, manners=OBEDIENT, time_limit=LONG_TIME_LIMIT)


async def recovered(run: Fleet, *closes: str) -> None:
    """All is well again soon, and nothing was broken."""
    await until(run.named, "a registry that is right", within=SOON)
    await caught_up(run)
    await run.rest()
    assert await run.verdict() == []
    assert_calm(run, *closes)


@pytest.mark.parametrize(
    "seconds",
    [
        1,
        pytest.param(20, marks=pytest.mark.full),
        *(pytest.param(s, marks=pytest.mark.long) for s in (50, 100)),
    ],
)
async def test_packets_that_vanish_for_a_while_cost_nothing_but_time(
    tmp_path: Path, network: Namespace, seconds: int
) -> None:
    async with wired(tmp_path, at=network.listen(), **UNHURRIED) as bench:
        run = bench.run
        await start_on_each_loop(run)
        await devices(run)
        network.cut()
        change_places(run)
        await asyncio.sleep(seconds)
        network.mend()
        if seconds < 60:  # longer than that a device is not kept waiting for its acknowledgement
            assert_steady(run)
        await recovered(run, *["store_unavailable"] * (seconds >= 60))


def names(directory: Path) -> type[Gateway]:
    """A gateway whose file of hosts is in `directory`, and whose server of names at 127.0.0.77.

    Skips the test where no file can be mounted over another.
    """
    (directory / "hosts").touch()
    (directory / "resolv.conf").write_text("nameserver 127.0.0.77\n")
    mount = " && ".join(f"mount --bind {directory / name} /etc/{name}" for name in ("hosts", "resolv.conf"))
    enter = ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh"]
    if not shutil.which("unshare") or subprocess.run([*enter, "true"], check=False).returncode:
        pytest.skip("no mount namespace")
    return type("Named", (Gateway,), {"before": enter})


@pytest.mark.parametrize(
    ("seconds", "silent"),
    [
        (3, False),
        pytest.param(3, True, marks=pytest.mark.full),
        pytest.param(20, True, marks=pytest.mark.full),
    ],
    ids=["refused", "silent", "silent for long"],
)
async def test_a_name_that_does_not_resolve_costs_only_time(
    tmp_path: Path, seconds: int, silent: bool
) -> None:
    kind = names(tmp_path)
    async with wired(tmp_path, **UNHURRIED) as bench:
        run = bench.run
        run.gateway_url = f"redis://redis.example:{urlsplit(bench.wire.url).port}/0"
        (tmp_path / "hosts").write_text("127.0.0.1 redis.example\n")
        await start_on_each_loop(run, kind)
        await devices(run)
        (tmp_path / "hosts").write_text("")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            if silent:
                server.bind(("127.0.0.77", 53))
            for wire in bench.wire.wires():
                wire.cut()
            change_places(run)
            await asyncio.sleep(seconds)
        assert_steady(run)
        (tmp_path / "hosts").write_text("127.0.0.1 redis.example\n")
        await recovered(run)
