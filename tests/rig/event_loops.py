"""The gateway as a process on each of the event loops that it may find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.process.gateway import Gateway
from tests.rig.fleet import Fleet


class OnAsyncio(Gateway):
    """A gateway on a machine without uvloop."""

    environment = {"PYTHONPATH": str(Path(__file__).with_name("no_uvloop"))}  # noqa: RUF012


LOOPS = {"uvloop": Gateway, "asyncio": OnAsyncio}


async def start_on_each_loop(run: Fleet, kind: type[Gateway] = Gateway) -> None:
    """Start the gateways gw-1 and gw-2 of that `kind`, one on each loop."""
    for instance_id, loop in zip(("gw-1", "gw-2"), LOOPS.values(), strict=True):
        run.process = type("OnItsLoop", (kind, loop) if kind is not Gateway else (loop,), {})
        await run.start(instance_id)


def plug_in_at_each(run: Fleet, count: int, **how: Any) -> None:
    """`count` trackers more for each of these gateways, which stay with theirs."""
    for instance_id in ("gw-1", "gw-2"):
        run.plug_in(count, run.at(instance_id), **how)


def runs_uvloop(gateway: Gateway) -> bool:
    """Whether the process has loaded uvloop."""
    return "uvloop" in Path(f"/proc/{gateway.process.pid}/maps").read_text()
