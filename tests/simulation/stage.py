"""What a run replaces around the gateway: time, chance, identity, and the ways out of the process."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import redis.backoff
import structlog

import store.client.delays
import store.fleet.ownership
import store.streams.outbound
import store.streams.shard_counts
import transport.connection.protocol
import transport.connection.timeouts
import transport.daemon.backend
import transport.daemon.gateway
import transport.daemon.presence
import transport.daemon.telemetry_shards
import transport.teltonika.stream
from tests.simulation.process import Presence

if TYPE_CHECKING:
    from tests.simulation.world import World


@contextmanager
def installed(world: World) -> Iterator[None]:
    """While it lasts, gateways live in `world`; times that no setting has are cut down to those of a run."""
    replaced: list[tuple[Any, str, Any]] = [
        (transport.daemon.backend, "connect", world.connect),
        (transport.daemon.backend, "stand_still", asyncio.sleep),  # its loop has one gateway, this one all
        (transport.daemon.telemetry_shards, "connect", world.connect),
        (store.streams.shard_counts, "connect", world.connect),
        (transport.daemon.gateway, "Presence", Presence),
        (transport.daemon.presence, "is_gone", world.is_gone),
        (transport.connection.protocol, "unacknowledged", lambda socket: socket.unacknowledged()),
        (store.client.delays, "random", world.random),
        (redis.backoff, "random", world.random),
        (store.streams.outbound, "random", world.random),
        (uuid, "uuid4", lambda: uuid.UUID(int=world.random.getrandbits(128), version=4)),
        (store.streams.outbound, "RECLAIM_EVERY", 5.0),
        (store.fleet.ownership, "MARGIN", 1.0),
        (transport.connection.timeouts, "STORE_TIMEOUT", 8.0),
        (transport.teltonika.stream, "FRAME_DEADLINE", 5.0),
    ]
    before = structlog.get_config()
    with ExitStack() as stack:
        stack.enter_context(world.clock.installed())
        for where, name, stand_in in replaced:
            stack.enter_context(patch.object(where, name, stand_in))
        structlog.configure(processors=[_recorder(world)], cache_logger_on_first_use=False)
        try:
            yield
        finally:
            structlog.configure(**before)


def _recorder(world: World) -> Callable[..., Any]:
    """Log lines of the gateways become part of the trace."""

    def record(logger: object, method: str, event: dict[str, Any]) -> Any:
        if event["event"] == "task_failed":
            world.fault("task", f"{event['task']}: {event['exc_info']!r}")
        world.note(f"    log {event.pop('event')} {event}")
        raise structlog.DropEvent

    return record
