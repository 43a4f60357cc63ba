"""The gateway as a process on each of the event loops that it may find."""

from __future__ import annotations

from pathlib import Path

from tests.process.gateway import Gateway


class OnAsyncio(Gateway):
    """A gateway on a machine without uvloop."""

    environment = {"PYTHONPATH": str(Path(__file__).with_name("no_uvloop"))}  # noqa: RUF012


LOOPS = {"uvloop": Gateway, "asyncio": OnAsyncio}


def runs_uvloop(gateway: Gateway) -> bool:
    """Whether the process has loaded uvloop."""
    return "uvloop" in Path(f"/proc/{gateway.process.pid}/maps").read_text()
