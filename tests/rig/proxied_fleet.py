"""A fleet whose gateways reach Redis over a wire that can be told to fail."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.process.gateway import Gateway
from tests.rig.fleet import Fleet, fleet, until
from tests.rig.outages import OBEDIENT
from tests.rig.proxy import Proxy, Request, Wanted, is_of, proxy
from tests.rig.redis import RedisServer, redis_server
from tests.rig.tracker import TIME_LIMIT

MANNERS = (*["answer"] * 5, "disconnect")


class Wired(NamedTuple):
    """The server, the wire in front of it, and the fleet; only gateways use the wire."""

    server: RedisServer
    wire: Proxy
    run: Fleet


def of(purpose: str, *texts: str) -> Wanted:
    """Requests of the client for `purpose`, or of any if that is empty, that say all `texts`."""

    def wanted(request: Request) -> bool:
        return is_of(request.purpose, purpose) and all(map(request.says, texts))

    return wanted


@asynccontextmanager
async def wired(
    directory: Path,
    *,
    process: type[Gateway] = Gateway,
    at: socket.socket | None = None,
    tls: ssl.SSLContext | None = None,
    query: str = "",
    **options: Any,
) -> AsyncIterator[Wired]:
    """A server, the proxy in front of it, and a fleet whose gateways know only the proxy.

    Args:
        process: what gateways are started as.
        at: where the proxy listens, if not at any port of 127.0.0.1.
        tls: of the proxy, if gateways speak TLS to it; query: what they add to its URL.
    """
    options = {"heartbeat_interval": 0.2} | options
    async with (
        redis_server(directory) as server,
        proxy(server.port, at, tls) as wire,
        fleet(server.url, gateway_url=wire.url + query, **options) as run,
    ):
        run.process = process
        yield Wired(server, wire, run)


async def load(run: Fleet, time_limit: float = TIME_LIMIT) -> None:
    """Trackers with a `time_limit` in seconds, and commands at work."""
    run.plug_in(2, manners=OBEDIENT, time_limit=time_limit)
    run.plug_in(8, manners=MANNERS, time_limit=time_limit)
    await run.connected()
    run.producer.begin(run.imeis, per_second=50)
    await until(lambda: len(run.history.produced) > 10, "commands")
