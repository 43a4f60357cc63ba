"""Interleavings that must never come back, each set up by hand on the virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests import wire_format
from tests.evidence import Evidence
from tests.simulation.collect import log
from tests.simulation.device import Device
from tests.simulation.network import Storm
from tests.simulation.process import Process
from tests.simulation.sockets import Socket
from tests.simulation.world import World, play

FOREVER = float("inf")
LATER = "1767226000000"
"""Some minutes after the begin of a scene, epoch ms."""
Scene = Callable[[World], Awaitable[None]]


def scene(act: Scene) -> World:
    """Play one scene in fair weather."""
    world = World(1)
    world.places = ("here",)
    play(world, act)
    assert world.faults == []
    return world


def storm(world: World, kind: str) -> Storm:
    """Bad weather until it is taken off."""
    found = Storm(kind, lambda instance, purpose: True, FOREVER)
    world.weather.storms.append(found)
    return found


async def start(world: World, name: str = "gw-a") -> Process:
    """A process that has had time to take its name over."""
    world.start(name)
    await asyncio.sleep(3.0)
    return world.processes[-1]


def ask(world: World, device: Device, where: str = "gw-a", **more: str) -> None:
    """The producer wants something of a device."""
    entry = {"command_id": "c1", "imei": device.imei, "payload": "getinfo", **more}
    fields = [text for pair in entry.items() for text in pair]
    world.server.execute("XADD", f"commands:outbound:{where}", "*", *fields)


def verdicts(world: World) -> list[str]:
    """The reasons of the last words on the command."""
    told = [fields for _, fields in log(world) if fields["kind"] == "command"]
    return [fields["reason"] for fields in told if fields["terminal"] == "1"]


def owner(world: World) -> bytes | None:
    found: bytes | None = world.server.execute("GET", "instance:boot:gw-a")
    return found


def test_a_delayed_takeover_is_not_fenced_by_the_predecessor() -> None:
    async def act(world: World) -> None:
        predecessor = await start(world)
        predecessor.end()
        full = storm(world, "oom")
        follower = await start(world)
        full.until = 0.0
        device = Device(world, 1)
        Socket(device, follower, 0.01).send(wire_format.hello(device.imei))
        await asyncio.sleep(20.0)
        assert follower.open
        assert world.holder(device.imei) == "gw-a"
        assert owner(world) == follower.gateway.boot_id.encode()

    scene(act)


def test_a_stopping_process_leaves_the_id_to_its_successor() -> None:
    async def act(world: World) -> None:
        (await start(world)).end()
        down = storm(world, "black")
        stopping = await start(world)
        stopping.gateway.stop()
        await asyncio.sleep(0.01)
        down.until = 0.0
        successor = await start(world)
        await asyncio.sleep(20.0)
        assert successor.open
        assert owner(world) == successor.gateway.boot_id.encode()

    scene(act)


def test_a_late_takeover_does_not_fence_the_successor() -> None:
    async def act(world: World) -> None:
        first = await start(world)
        heartbeat = first.gateway.backend.heartbeat
        words = ["boot", first.gateway.boot_id]
        late = ["take_over", *heartbeat._identity, *heartbeat._expiry, b"", b"", *words]
        first.end()
        successor = await start(world)
        world.server.execute("EVALSHA", heartbeat._script.sha, 4, *heartbeat._names, *late)
        await asyncio.sleep(20.0)
        assert successor.open
        assert owner(world) == successor.gateway.boot_id.encode()

    scene(act)


@pytest.mark.parametrize("frozen", [0.0, 1.5, 3.0], ids=["awake", "late by a heartbeat", "silent in the end"])
def test_a_process_starts_beside_one_that_has_its_name_and_ends(frozen: float) -> None:
    async def act(world: World) -> None:
        first = await start(world)
        if frozen:
            first.freeze(frozen)
        world.start("gw-a")
        second = world.processes[-1]
        await asyncio.sleep(10.0)
        assert first.open
        assert second.dead
        assert not second.listening
        assert owner(world) == first.gateway.boot_id.encode()

    assert scene(act).met["exit", "2"] == 1


def test_a_frozen_process_loses_its_id_and_is_fenced() -> None:
    async def act(world: World) -> None:
        first = await start(world)
        first.freeze(10.0)
        second = await start(world)
        assert not second.open
        await asyncio.sleep(2.0)
        assert second.open
        await asyncio.sleep(10.0)
        assert first.dead
        assert owner(world) == second.gateway.boot_id.encode()

    assert scene(act).met["exit", "3"] == 1


def test_a_start_without_redis_ends_if_the_id_is_owned() -> None:
    async def act(world: World) -> None:
        first = await start(world)
        away = storm(world, "down")
        second = await start(world)
        assert second.open
        away.until = 0.0
        await asyncio.sleep(10.0)
        assert first.open
        assert second.dead
        assert owner(world) == first.gateway.boot_id.encode()

    assert scene(act).met["exit", "3"] == 1


def test_taking_a_live_id_is_detected() -> None:
    world = World(1)

    async def act(world: World) -> None:
        first = await start(world)
        await asyncio.sleep(first.gateway.settings.heartbeat_interval)
        world.server.execute("SET", "instance:boot:gw-a", "another")

    play(world, act)
    assert [fault.rule for fault in world.faults] == ["displaced"]


def test_after_a_freeze_the_handshake_reply_is_written_first() -> None:
    async def act(world: World) -> None:
        process = await start(world)
        device = Device(world, 1)
        socket = Socket(device, process, 0.01)
        process.freeze(30.0)
        socket.send(wire_format.hello(device.imei))
        await asyncio.sleep(1.0)
        ask(world, device, expires_at=LATER)
        await asyncio.sleep(60.0)
        assert socket.down.opening == b"\x01"
        assert (device.imei, "getinfo") in world.history.received

    scene(act)


def test_a_freeze_does_not_shorten_the_handshake_timeout() -> None:
    async def act(world: World) -> None:
        process = await start(world)
        process.freeze(30.0)
        await asyncio.sleep(29.0)
        device = Device(world, 1)
        socket = Socket(device, process, 0.01)
        await asyncio.sleep(3.0)
        socket.send(wire_format.hello(device.imei))
        await asyncio.sleep(1.0)
        assert socket.down.opening == b"\x01"

    scene(act)


def test_an_outcome_after_adoption_is_a_note() -> None:
    async def act(world: World) -> None:
        process, other = await start(world), await start(world, "gw-b")
        device = Device(world, 1)
        socket = Socket(device, process, 0.01)
        socket.send(wire_format.hello(device.imei))
        await asyncio.sleep(5.0)
        ask(world, device, response_timeout="300")
        await asyncio.sleep(1.0)
        cut = storm(world, "down")
        cut.touches = lambda instance, purpose: instance == "gw-a"
        await asyncio.sleep(70.0)
        socket.send(wire_format.message("12", "", wire_format.ANSWER, b"done: getinfo"))
        await asyncio.sleep(1.0)
        cut.until = 0.0
        await asyncio.sleep(10.0)
        assert other.open

    world = scene(act)
    life = [fields for _, fields in log(world) if fields.get("command_id") == "c1"]
    told = [
        fields.get("note") or (fields["trigger"], fields["reason"], fields["delivery"]) for fields in life
    ]
    assert told[2:] == [("fail", "instance_lost", "maybe_sent"), "late_outcome"]
    assert life[-1]["response"] == "done: getinfo"


async def lose_everything(world: World) -> None:
    """Redis dies and comes back empty."""
    world.server.die()
    await asyncio.sleep(0.5)
    world.server.rise(world.server.wipe())


def test_an_instance_dead_after_a_data_loss_is_adopted() -> None:
    async def act(world: World) -> None:
        await start(world, "gw-b")
        process = await start(world)
        await lose_everything(world)
        device = Device(world, 1)
        Socket(device, process, 0.01).send(wire_format.hello(device.imei))
        await asyncio.sleep(0.2)
        assert world.holder(device.imei) == "gw-a"
        ask(world, device, expires_at=LATER)
        process.end()
        await asyncio.sleep(30.0)
        assert world.holder(device.imei) is None

    assert verdicts(scene(act)) == ["instance_lost"]


def test_a_data_loss_does_not_repeat_a_sent_command() -> None:
    async def act(world: World) -> None:
        process = await start(world)
        device = Device(world, 1)
        socket = Socket(device, process, 0.01)
        socket.send(wire_format.hello(device.imei))
        await asyncio.sleep(5.0)
        ask(world, device, response_timeout="30")
        await asyncio.sleep(0.1)
        await lose_everything(world)
        await asyncio.sleep(3.0)
        ask(world, device)
        await asyncio.sleep(1.0)
        socket.send(wire_format.message("12", "", wire_format.ANSWER, b"done: getinfo"))
        await asyncio.sleep(5.0)

    world = scene(act)
    assert [len(writes) for writes in Evidence(world.history).writes.values()] == [1]
    assert verdicts(world) == [""]


@pytest.mark.parametrize("off", [-3_600_000, 3_600_000])
def test_a_wrong_wall_clock_without_redis_expires_no_command(off: int) -> None:
    async def act(world: World) -> None:
        ask(world, Device(world, 1))
        away = storm(world, "down")
        away.touches = lambda instance, purpose: purpose == "heartbeat"
        process = await start(world)
        process.gateway.clock._epoch_ms += off
        await asyncio.sleep(2.0)
        away.until = 0.0
        await asyncio.sleep(10.0)

    world = scene(act)
    assert verdicts(world) == ["device_not_connected"]


def test_a_moved_command_behind_its_duplicate_keeps_its_place() -> None:
    async def act(world: World) -> None:
        holder, other = await start(world), await start(world, "gw-b")
        device = Device(world, 1)
        before, socket = Socket(device, other, 0.01), Socket(device, holder, 0.01)
        before.send(wire_format.hello(device.imei))
        await asyncio.sleep(0.05)
        before.disconnect()  # the other expects the device, which was there
        socket.send(wire_format.hello(device.imei))
        await asyncio.sleep(0.05)
        ask(world, device, "gw-b")
        ask(world, device, "gw-b", command_id="c2", payload="getver")
        holder.freeze(3.0)
        ask(world, device)
        await asyncio.sleep(5.0)
        socket.send(wire_format.message("12", "", wire_format.ANSWER, b"done: getinfo"))
        await asyncio.sleep(1.0)

    world = scene(act)
    _, tap = Evidence(world.history).taps
    assert [written.text for written in tap.written] == ["getinfo", "getver"]


def test_a_command_ended_by_another_process_is_not_sent() -> None:
    async def act(world: World) -> None:
        process = await start(world)
        device = Device(world, 1)
        Socket(device, process, 0.01).send(wire_format.hello(device.imei))
        await asyncio.sleep(5.0)
        entry = f"{world.clock.wall() * 1000:.0f}-0"
        ledger = {
            "state": "failed",
            "seq": "1",
            "token": "another:1",
            "instance_id": "gw-a",
            "outbound_id": entry,
        }
        world.server.execute("HSET", "commands:state:c1", *[text for pair in ledger.items() for text in pair])
        fields = ("command_id", "c1", "imei", device.imei, "payload", "getinfo")
        world.server.execute("XADD", "commands:outbound:gw-a", entry, *fields)
        await asyncio.sleep(5.0)
        assert world.server.execute("HGET", "commands:state:c1", "seq") == b"1"
        assert world.server.execute("XLEN", "commands:outbound:gw-a") == 0

    world = scene(act)
    assert Evidence(world.history).writes == {}
