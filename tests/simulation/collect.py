"""The history of a run, gathered for the checker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fsm.shards import shard_of
from store.keys import Keys
from tests.in_memory.streams import read_id
from tests.simulation.ack_times import Intervals, late_acks
from tests.simulation.network import store_of
from tests.simulation.process import settings

if TYPE_CHECKING:
    from tests.simulation.world import World

LEDGER = b"commands:state:"
PARKED = b"commands:parked:"


def log(world: World) -> list[tuple[str, dict[str, str]]]:
    """The log as it stands."""
    return _entries(world, "commands:responses")


def streams(world: World) -> None:
    """What is published, before it is lost."""
    history = world.history
    known = dict(history.responses) | dict(log(world))
    history.responses = sorted(known.items(), key=lambda entry: read_id(entry[0].encode()))
    history.telemetry += records(world)
    history.messages += [fields for _, fields in _entries(world, "telemetry:messages")]


def records(world: World) -> list[dict[str, str]]:
    """What was stored of all devices, each in a stream of its own shard."""
    found: list[dict[str, str]] = []
    for shard in world.shards:
        for entry_id, fields in _entries(world, shard.telemetry):
            if shard not in [_shard(fields["imei"], count) for count in world.counts]:
                world.fault("shard", f"{entry_id} of {fields['imei']} is in {shard.telemetry}")
            found.append(fields)
    return found


def _shard(imei: str, count: int) -> Keys:
    return Keys().shards(count)[shard_of(imei.encode(), count)]


def everything(world: World) -> None:
    """What the streams hold, what is left in the store, and what the living gateways hold."""
    history, keys = world.history, world.server.keys
    streams(world)
    history.losses = list(world.server.losses)
    history.registry = _hash(world, "connections:registry")
    history.tokens = _hash(world, "connections:sessions")
    for name in keys.names():
        if name.startswith(LEDGER):
            history.ledgers[name.removeprefix(LEDGER).decode()] = _hash(world, name.decode())
    for instance in world.instances:
        stream = keys.stream(f"commands:outbound:{instance}")
        history.left[instance] = [entry for entry, _ in _entries(world, f"commands:outbound:{instance}")]
        history.pending[instance] = [str(one) for group in stream.groups.values() for one in group.pending]
    for name in keys.names():
        if name.startswith(PARKED):
            history.left[name.decode()] = [entry for entry, _ in _entries(world, name.decode())]
    history.left["devices with parked commands"] = [
        imei.decode() for imei in keys.cmd_zrangebyscore(PARKED[:-1], b"-inf", b"inf")
    ]
    for process in world.processes:
        if not process.dead:
            _from(process, world)
    history.kept &= {name for process in world.processes if not process.dead for name in process.kept}
    given = settings("")
    history.ttl = given.limits.command_ttl
    history.response_timeout = given.limits.response_timeout
    history.ready_grace = given.ready_grace
    history.messages_apart = len(world.shards) > 1
    history.late_acks = list(late_acks(history, *_trouble(world)))


def _from(process: Any, world: World) -> None:
    gateway = process.gateway
    for imei, link in gateway.sessions.by_imei.items():
        world.history.live[imei] = (process.instance_id, link.session_id)
    world.history.held += [in_flight.request.command_id for in_flight in gateway.dispatcher.entries]


def _trouble(world: World) -> tuple[dict[str, Intervals], dict[str, Intervals]]:
    """When the telemetry of each connection was hindered, and when its process was frozen, epoch ms."""
    trouble, frozen = {}, {}
    for process in world.processes:
        count = process.gateway.settings.telemetry_shards
        halted = _in_epoch_ms(world, process.frozen)
        for socket in process.sockets:
            name, store = socket.protocol.session_id, store_of(_shard(socket.device.imei, count))
            hindered = world.weather.trouble.get((process.instance_id, store), [])
            trouble[name], frozen[name] = _in_epoch_ms(world, hindered), halted
    return trouble, frozen


def _in_epoch_ms(world: World, intervals: Intervals) -> Intervals:
    epoch = world.clock.wall() - world.clock.now
    return [((begin + epoch) * 1000, (end + epoch) * 1000) for begin, end in intervals]


def _hash(world: World, key: str) -> dict[str, str]:
    flat = world.server.keys.cmd_hgetall(key.encode())
    return _fields(flat)


def _entries(world: World, key: str) -> list[tuple[str, dict[str, str]]]:
    found = world.server.keys.cmd_xrange(key.encode(), b"-", b"+")
    return [(entry.decode(), _fields(flat)) for entry, flat in found]


def _fields(flat: list[bytes]) -> dict[str, str]:
    return {
        name.decode(): value.hex() if name == b"frame" else value.decode()
        for name, value in zip(flat[::2], flat[1::2], strict=True)
    }
