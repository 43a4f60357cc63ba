"""How connections to Redis are lost, each way as a function of a running fleet and of whose connection it is.

A purpose is that of a client of the gateway (`transport.daemon.backend.PURPOSES`), or empty for all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from redis import Redis

from store.state_directory import HOST
from tests.rig.fleet import until
from tests.rig.proxied_fleet import Wired, of
from tests.rig.proxy import Wire, is_of
from tests.rig.redis import redis_server

OURS = ("", "telgw:checker", "telgw:producer")
"""Names of the clients of the rig, which losses are not meant for."""

Loss = Callable[[Wired, str], Awaitable[None]]

GARBAGE = {
    "HTTP": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    "zeros": bytes(64),
    "an endless length": b"$99999999999\r\n",
    "a status": b"+OK\r\n",
    "a number": b":7\r\n",
    "a list of nothing": b"*1\r\n*-1\r\n",
    "text": b"$5\r\nhello\r\n",
    "a push": b">2\r\n+invalidate\r\n*0\r\n",
}
"""Replies that are none: no RESP, and RESP of a form that no command of the gateway is answered with."""


async def _each_idle(bench: Wired, purpose: str, end: Callable[[Wire], None]) -> None:
    """End the connections of a client in a moment in which one of them waits for no reply."""
    await until(lambda: [wire for wire in bench.wire.wires(purpose) if wire.idle], f"{purpose} is idle")
    for wire in bench.wire.wires(purpose):
        if wire.idle:
            end(wire)


async def _strike(bench: Wired, purpose: str, fate: str, **more: Any) -> None:
    """Let `fate` befall the next request of a client."""
    fault = bench.wire.fault(fate, of(purpose), 1, empty=True, **more)
    await until(lambda: fault.met, f"{fate} of {purpose}")


async def _kill_clients(bench: Wired, purpose: str) -> None:
    with bench.server.client() as operator:
        _kill(operator, purpose)


def _kill(operator: Redis, purpose: str) -> None:
    for client in operator.client_list():
        if is_of(client["name"].removeprefix("telgw:"), purpose) and client["name"] not in OURS:
            operator.execute_command("CLIENT", "KILL", "ID", client["id"])


async def _now(bench: Wired, purpose: str, end: Callable[[Wire], None]) -> None:
    """End the connections of a client, whatever they are at."""
    await until(lambda: bench.wire.wires(purpose), f"{purpose} is connected")
    for wire in bench.wire.wires(purpose):
        end(wire)


OF_CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "RST in a call that is not carried out": ("reset", {}),
    "RST in a call that is carried out": ("lose", {}),
    "FIN in a call": ("close", {}),
    "silence in a call": ("silence", {}),
    "half of a reply": ("halve", {}),
    **{f"garbage: {name}": ("garble", {"garbage": data}) for name, data in GARBAGE.items()},
}
"""What may befall one call, as `Proxy.fault` has it."""

BY_PURPOSE: dict[str, Loss] = {
    "RST": partial(_now, end=Wire.cut),
    "FIN": partial(_now, end=Wire.close),
    "half-open": partial(_now, end=Wire.silence),
    "RST while idle": partial(_each_idle, end=Wire.cut),
    "FIN while idle": partial(_each_idle, end=Wire.close),
    "half-open while idle": partial(_each_idle, end=Wire.silence),
    **{name: partial(_strike, fate=fate, **more) for name, (fate, more) in OF_CALLS.items()},
    "CLIENT KILL": _kill_clients,
}
"""Losses of the connections of one client."""


async def _black_hole(bench: Wired, purpose: str, seconds: float) -> None:
    bench.wire.through.clear()
    try:
        await asyncio.sleep(seconds)
    finally:
        bench.wire.through.set()


async def _pause(bench: Wired, purpose: str) -> None:
    with bench.server.client() as operator:
        operator.execute_command("CLIENT", "PAUSE", 1500, "ALL")


@contextlib.contextmanager
def _configured(bench: Wired, name: str, value: Any) -> Iterator[Redis]:
    """The server with another setting within the block, and the operator, who is connected already."""
    with bench.server.client() as operator:
        before = operator.config_get(name)
        operator.config_set(name, value)
        try:
            yield operator
        finally:
            operator.config_set(name, before[name])


async def _timeout_of_the_server(bench: Wired, purpose: str) -> None:
    with _configured(bench, "timeout", 1):
        await asyncio.sleep(2.2)


async def _maxclients(bench: Wired, purpose: str) -> None:
    """The clients of the rig are connected, and stay so."""
    with _configured(bench, "maxclients", 1) as operator:
        _kill(operator, purpose)
        await asyncio.sleep(1.0)


async def _output_buffer(bench: Wired, purpose: str) -> None:
    """A command with a field nobody knows, so long that no reply with it may be waited for."""
    with _configured(bench, "client-output-buffer-limit", "normal 1 0 0"):
        await bench.run.producer.ask(bench.run.imeis[0], padding="x" * 100_000)
        await asyncio.sleep(1.0)


async def _another_server(bench: Wired, purpose: str, says: bytes) -> None:
    """For a while another server answers at the address, and `says` one thing to whatever it is asked."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while await reader.read(65536):
                writer.write(says)
        writer.close()

    other = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with other:
        _lead_to(bench, other.sockets[0].getsockname()[1], foreign=True)
        try:
            await asyncio.sleep(1.0)
        finally:
            _lead_to(bench, bench.server.port)


def _lead_to(bench: Wired, port: int, *, foreign: bool = False) -> None:
    """From now on the address belongs to the server at `port`, which resets what it does not know."""
    bench.wire.port, bench.wire.foreign = port, foreign
    for wire in bench.wire.wires():
        wire.cut()


async def _another_redis(bench: Wired, purpose: str, turn: Callable[[Redis, Wired], None]) -> None:
    """For a while another Redis has the address, which takes none of our writes."""
    with TemporaryDirectory() as directory:
        async with redis_server(Path(directory)) as other:
            with other.client() as operator:
                turn(operator, bench)
            _lead_to(bench, other.port)
            try:
                await asyncio.sleep(1.0)
            finally:
                _lead_to(bench, bench.server.port)


def _lock(operator: Redis, bench: Wired) -> None:
    operator.config_set("requirepass", "another")


def _subordinate(operator: Redis, bench: Wired) -> None:
    operator.replicaof(HOST, str(bench.server.port))


FOR_ALL: dict[str, Loss] = {
    "black hole of 1 s": partial(_black_hole, seconds=1.0),
    "black hole of 5 s": partial(_black_hole, seconds=5.0),
    "CLIENT PAUSE": _pause,
    "timeout of the server": _timeout_of_the_server,
    "maxclients": _maxclients,
    "output buffer limit": _output_buffer,
    "another server: HTTP": partial(_another_server, says=GARBAGE["HTTP"]),
    "another server: a status": partial(_another_server, says=GARBAGE["a status"]),
    "another Redis: a password": partial(_another_redis, turn=_lock),
    "another Redis: a replica": partial(_another_redis, turn=_subordinate),
}
"""Losses that befall all clients alike."""

OF_TLS: dict[str, Loss] = {
    "RST": partial(_now, end=Wire.cut),
    "an orderly end": partial(_now, end=Wire.close),
    "FIN without an alert": partial(_now, end=Wire.disconnect),
    "a record that is nobody's": partial(_now, end=Wire.spoil),
    "half-open": partial(_now, end=Wire.silence),
    "half of a reply": partial(_strike, fate="halve"),
}
"""Losses of the connections of one client that speaks TLS."""

SHORT = {
    *("RST", "FIN in a call", "half-open", "half of a reply", "garbage: HTTP", "CLIENT KILL", "CLIENT PAUSE"),
    *("black hole of 1 s", "maxclients", "another server: HTTP"),
}
"""What is tried where time is short."""


def some(losses: dict[str, Loss], *, thorough: bool) -> dict[str, Loss]:
    """All of the `losses` for who is `thorough`, else those of `SHORT`."""
    return {name: lose for name, lose in losses.items() if thorough or name in SHORT}
