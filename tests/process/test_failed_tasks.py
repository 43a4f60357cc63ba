"""Errors that nobody expects, in each task of the gateway, once and for ever."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from types import MappingProxyType
from urllib.request import urlopen

import pytest

from store.keys import Keys
from tests.process.gateway import Gateway
from tests.rig.event_loops import LOOPS
from tests.rig.fleet import Fleet, fleet, until
from tests.rig.outages import LONG_TIME_LIMIT, OBEDIENT, assert_steady, caught_up
from tests.rig.redis import redis_server

pytestmark = pytest.mark.timeout(300)

TASKS = {
    *(
        "ledger",
        "registrar",
        "telemetry",
        "heartbeat",
        "session log",
        "device status",
        "reader",
        "janitor",
        "stale registrations",
    ),
    *(
        "check",
        "sweep",
        "reconcile",
        "trace",
        "handover",
        "expected devices",
        "known devices",
        "allow-list",
        "allow-list copy",
    ),
}
"""Those of a gateway, but for ``files``, which waits until it is asked."""
HANDLED = {"check"}
"""Tasks that report the errors of their work themselves, and end."""
BUSY = {"ledger", "registrar", "telemetry", "session log", "reader", "sweep"}
"""Tasks that make many calls, whatever happens."""
CRASHED = 1
LIST = {"allow_list": "redis", "allow_list_when_unavailable": "open"}


def sabotaged(task: str, often: int, *, well: int = 0, loop: str = "uvloop") -> type[Gateway]:
    """A gateway of which `task`, or with ``*`` each, fails so `often`, below zero for ever.

    Args:
        well: how many calls of the task go well before.
    """
    how = {
        "main": "import runpy; runpy.run_module('tests.rig.failing_tasks', run_name='__main__')",
        "alarming": ("no JSON",),
        "environment": MappingProxyType({**LOOPS[loop].environment, "SABOTAGE": f"{task}:{often}:{well}"}),
    }
    return type("Sabotaged", (LOOPS[loop],), how)


def failures(gateway: Gateway) -> list[str]:
    """The tasks that have failed, in the order of the log; each line has the traceback."""
    lines = [line for line in list(gateway.lines) if line["event"] == "task_failed"]
    assert all("Unexpected: at its call" in line["exception"] for line in lines)
    return [line["task"] for line in lines]


def counted(port: int) -> dict[str, float]:
    """The failures of each task that has failed, as the metrics have them."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
        lines = page.read().decode().splitlines()
    found = [line.partition("{task=") for line in lines if line.startswith("teltonika_task_failures_total{")]
    failed = {json.loads(rest.partition("}")[0]): float(rest.partition("} ")[2]) for _, _, rest in found}
    return {task: times for task, times in failed.items() if times}


@pytest.mark.parametrize(
    ("loop", "well", "wanted"),
    [
        pytest.param("uvloop", 0, TASKS, id="at once"),
        pytest.param("asyncio", 2, TASKS - HANDLED, id="soon", marks=pytest.mark.full),
        pytest.param("uvloop", 7, BUSY, id="later", marks=pytest.mark.full),
    ],
)
async def test_each_failed_task_is_restarted_and_promises_hold(
    tmp_path: Path, unused_tcp_port: int, loop: str, well: int, wanted: set[str]
) -> None:
    async with redis_server(tmp_path) as server, fleet(server.url, janitor_interval=0.3, **LIST) as run:
        await run.allow(10)
        run.process = sabotaged("*", 2, well=well, loop=loop)
        gateway = await run.start(metrics=f"127.0.0.1:{unused_tcp_port}")
        run.plug_in(3, manners=OBEDIENT, time_limit=LONG_TIME_LIMIT)
        run.plug_in(7, time_limit=LONG_TIME_LIMIT)
        run.producer.begin(run.imeis, per_second=30)
        await until(lambda: set(failures(gateway)) >= wanted, "a failure of each task")
        await until(lambda: len(failures(gateway)) >= 2 * len(wanted) - 2, "two failures of most")

        async def all_counted() -> bool:  # while tasks fail, the page and the log are not of the same moment
            return await asyncio.to_thread(counted, unused_tcp_port) == Counter(failures(gateway))

        await until(all_counted, "as many failures on the page as in the log")
        await caught_up(run)
        assert_steady(run)
        await run.rest()
        assert await run.verdict() == []
        assert gateway.process.poll() is None


async def all_acknowledged(run: Fleet) -> bool:
    """Whether devices know of every record that is stored."""
    stored = await run.stream(run.keys.telemetry)
    told = [(fields["imei"], json.loads(fields["data"])["timestamp"]) for _, fields in stored]
    return set(told) <= set(run.history.acked)


SHORT = {"sweep"}


@pytest.mark.parametrize(
    "task",
    [pytest.param(task, marks=() if task in SHORT else pytest.mark.full) for task in sorted(TASKS - HANDLED)],
)
async def test_a_task_that_never_stops_failing_ends_the_process_in_order(tmp_path: Path, task: str) -> None:
    async with redis_server(tmp_path) as server, fleet(server.url, **LIST) as run:
        await run.allow(5)
        run.process = sabotaged(task, -1)
        gateway = await run.start()
        run.plug_in(5, manners=OBEDIENT)
        run.producer.begin(run.imeis, per_second=20)
        assert await asyncio.to_thread(gateway.exit_status) == CRASHED
        assert failures(gateway) == [task] * 3
        assert await run.client.hgetall(run.keys.registry) == {}
        assert not await run.client.exists(Keys().heartbeat("gw-1"))
        await until(lambda: all_acknowledged(run), "acknowledgements of all that is stored", within=1.0)
        run.process = Gateway
        await run.kill()
        await run.start()
        await run.rest()
        assert await run.verdict() == []
