"""Each way to lose a connection to Redis, for each client of the gateway, on each event loop.

Whatever it is, the process goes on without a failure of its own, no promise is broken, no device loses its
connection, and the registry is right as soon as Redis can be reached.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random

import pytest
import trustme

from tests.process.gateway import Gateway
from tests.rig.changed_replies import distorted
from tests.rig.connection_losses import BY_PURPOSE, FOR_ALL, OF_TLS, Loss, some
from tests.rig.event_loops import LOOPS, plug_in_at_each, runs_uvloop, start_on_each_loop
from tests.rig.fleet import Fleet, until
from tests.rig.outages import (
    LONG_TIME_LIMIT,
    OBEDIENT,
    assert_calm,
    assert_steady,
    assert_unharmed,
    caught_up,
)
from tests.rig.proxied_fleet import Wired, load, wired
from transport.daemon.backend import PURPOSES

pytestmark = pytest.mark.timeout(300)

SOON = 5.0
"""Seconds after the return of the network within which the registry must be right."""
NEVER_BY_ITSELF = {"heartbeat_interval": 60, "heartbeat_ttl": 180, "command_ttl": 120}
"""Options of gateways whose next heartbeat is too far off to put anything right."""
CLIENTS = (*PURPOSES, "allow-list")
LISTED = {"janitor_interval": 0.2, "allow_list": "redis", "command_ttl": 120}
"""Options of gateways whose clients all have work, all the time, and whose commands outlast all of it."""


def kinds(*beginnings: str) -> dict[str, Loss]:
    """The losses of one client whose names begin so."""
    return {name: loss for name, loss in BY_PURPOSE.items() if name.startswith(beginnings)}


GROUPS = {
    "ends": kinds("RST", "FIN", "CLIENT KILL"),
    "silences": kinds("half", "silence"),
    "garbage": kinds("garbage"),
}
SHORT = {("uvloop", "ends")}
"""Rows that are tried where time is short, and not in full."""


def table() -> list[object]:
    """A row for each loop and group; all but the `SHORT` ones are for ``--all``."""
    rows = [(loop, group) for loop in LOOPS for group in GROUPS]
    marks = {row: () if row in SHORT else pytest.mark.full for row in rows}
    return [pytest.param(*row, marks=marks[row], id=" ".join(row)) for row in rows]


async def served_again(bench: Wired, purpose: str) -> None:
    """Wait until the client has had two replies from here on: more than one that was on its way."""
    name = f"gw-1:{purpose}"
    before = bench.wire.served[name]
    await until(lambda: bench.wire.served[name] > before + 1, f"{name} served again", within=10.0)


async def afflict(bench: Wired, gateway: Gateway, losses: dict[str, Loss], *groups: Sequence[str]) -> None:
    """Let the clients of each group meet each loss at the same time, one group after the other."""
    for name, lose in losses.items():
        for group in groups:
            print(f"{name}: {', '.join(group)}")
            await asyncio.gather(*(lose(bench, purpose) for purpose in group))
            await asyncio.gather(*(served_again(bench, purpose) for purpose in group))
            assert gateway.process.poll() is None


@pytest.mark.parametrize(("loop", "group"), table())
async def test_each_client_outlives_each_loss_of_its_connections(
    tmp_path: Path, loop: str, group: str, thorough: bool
) -> None:
    """What takes no time befalls one client after the other, and the rest all of them together."""
    alone = [(purpose,) for purpose in CLIENTS] if group == "ends" else [CLIENTS]
    async with wired(tmp_path, process=LOOPS[loop], **LISTED) as bench:
        await bench.run.allow(10)
        gateway = await bench.run.start()
        assert runs_uvloop(gateway) is (loop == "uvloop")
        await load(bench.run, LONG_TIME_LIMIT)
        await afflict(bench, gateway, some(GROUPS[group], thorough=thorough), *alone)
        assert_steady(bench.run)
        await assert_unharmed(bench.run)


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    """Who signs the certificate of the server."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return authority


@pytest.mark.full
@pytest.mark.parametrize("loop", LOOPS)
async def test_each_client_survives_the_loss_of_tls_connections(
    tmp_path: Path, authority: trustme.CA, loop: str
) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    how = {"tls": tls, "query": f"?ssl_ca_certs={tmp_path / 'ca.pem'}"}
    async with wired(tmp_path, process=LOOPS[loop], **LISTED, **how) as bench:
        await bench.run.allow(10)
        gateway = await bench.run.start()
        await load(bench.run, LONG_TIME_LIMIT)
        await afflict(bench, gateway, OF_TLS, CLIENTS)
        assert_steady(bench.run)
        await assert_unharmed(bench.run)


async def test_replies_of_which_one_part_is_wrong_make_no_task_fail(tmp_path: Path, thorough: bool) -> None:
    """What is not told apart from a true reply may do harm, so no promise is checked here."""
    random = Random(1)
    async with wired(tmp_path, janitor_interval=0.1, allow_list="redis") as bench:
        run = bench.run
        await run.allow(10)
        await start_on_each_loop(run)
        await load(run)
        lies = bench.wire.fault(
            "garble",
            lambda _: random.random() < 0.2,
            empty=True,
            garbage=partial(distorted, random=random),
        )
        await until(lambda: lies.met > (400 if thorough else 100), "replies that are wrong", within=60.0)
        lies.lift()
        await until(run.named, "a registry that is right", within=SOON)
        await caught_up(run)
        for gateway in run.gateways.values():
            assert [line for line in gateway.lines if line.get("level") in ("error", "critical")] == []


async def restless(run: Fleet) -> None:
    """Connections end and others begin, while nobody can tell the registry."""
    for tracker in run.trackers[::2]:
        if tracker.line is not None:
            tracker.line.cut()


async def test_the_registry_is_right_soon_after_a_loss(tmp_path: Path, thorough: bool) -> None:
    async with wired(tmp_path, **NEVER_BY_ITSELF) as bench:
        run = bench.run
        await start_on_each_loop(run)
        plug_in_at_each(run, 5, manners=OBEDIENT, time_limit=LONG_TIME_LIMIT)
        await run.connected()
        await until(run.named, "all registered")
        run.producer.begin(run.imeis, per_second=20)
        losses = kinds("RST", "FIN", "half", "silence", "CLIENT KILL") | FOR_ALL
        for name, lose in some(losses, thorough=thorough).items():
            print(name)
            await restless(run)
            await lose(bench, "")
            await until(run.named, f"a registry that is right after {name}", within=SOON)
            await caught_up(run)
        await run.rest()
        assert await run.verdict() == []
        assert_calm(run)
