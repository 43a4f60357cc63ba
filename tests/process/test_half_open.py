"""Connections whose far end is gone without a word: half open, as mobile networks leave them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.rig.commands_in_flight import FAR, UNHURRIED
from tests.rig.fleet import Fleet, fleet
from tests.rig.log_lines import ended, notes
from tests.rig.namespace import Namespace
from tests.rig.tracker import Tracker
from tests.rig.waiting import until

ANSWERED = "responded answered"
EVERYWHERE = "0.0.0.0:0"
NOTICED = 135.0
"""Seconds within which the kernel gives up a dead connection (`transport.connection.tcp`), with a margin."""


def plug_in(run: Fleet, network: Namespace, count: int, **how: Any) -> list[Tracker]:
    """Trackers at the far end of the cable, connected to ``gw-1``."""
    return run.plug_in(
        count,
        lambda: (network.host, run.ports["gw-1"]),
        dial=network.dial,
        time_limit=10 * FAR,
        manners=("answer",),
        **how,
    )


async def closed(run: Fleet, imeis: set[str]) -> bool:
    """Whether the sessions of these devices are over, because the network is gone."""
    log = await run.stream(run.keys.responses)
    return imeis <= {fields["imei"] for _, fields in log if fields["reason"] == "network_timeout"}


def nothing_on_the_way(run: Fleet) -> bool:
    """Whether the kernel has no bytes to devices that these have not acknowledged."""
    ours = f":{run.ports['gw-1']:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return all(line[4].startswith("00000000:") for line in lines if line[1].endswith(ours))


@pytest.mark.parametrize("target", ["gw-1", "gw-2"], ids=["the same instance", "another instance"])
async def test_a_command_to_a_half_open_connection_is_maybe_sent(
    redis_url: str, network: Namespace, target: str
) -> None:
    async with fleet(redis_url, **UNHURRIED) as run:
        for name in {"gw-1", target}:
            await run.start(name, listen=EVERYWHERE)
        first, second = plug_in(run, network, 2)
        await run.connected()
        network.cut()
        overdue = await run.producer.ask(first.imei, response_timeout="0.3")
        out = await run.producer.ask(second.imei)
        behind = [await run.producer.ask(tracker.imei) for tracker in (first, second)]
        await ended(run, [overdue], "timeout response_timeout maybe_sent")
        await ended(run, [out], "sent maybe_sent")
        await ended(run, behind, "queued not_sent")

        for tracker in (first, second):
            tracker.move(run.at(target), silently=True)
        await ended(run, behind, ANSWERED)
        await ended(run, [out], "failed session_superseded maybe_sent")
        assert len(run.history.received) == len(behind)
        moved = {note["command_id"] for note in await notes(run, "moved")}
        assert moved == (set() if target == "gw-1" else set(behind))
        await run.rest()
        assert await run.verdict() == []


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_the_kernel_ends_a_half_open_connection(redis_url: str, network: Namespace) -> None:
    async with fleet(redis_url, **UNHURRIED | {"response_timeout": 10 * FAR}) as run:
        await run.start(listen=EVERYWHERE)
        (idle,), (owing,) = plug_in(run, network, 1, pause=10 * FAR), plug_in(run, network, 1)
        await run.connected()
        await until(partial(nothing_on_the_way, run), "acknowledgements of TCP")
        network.cut()
        out = await run.producer.ask(owing.imei)
        await ended(run, [out], "failed connection_lost maybe_sent", within=NOTICED)
        await until(partial(closed, run, {idle.imei, owing.imei}), "sessions closed", within=NOTICED)
        assert await run.verdict(at_rest=False) == []
