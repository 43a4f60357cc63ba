"""Who holds a device: known from its first byte on, and never somebody else's to delete."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from tests.process.gateway import IMEI, KEYS, TELEMETRY, Bus, Device, Gateway, until
from tests.rig.local import LocalServer
from transport.teltonika.handshake import encode_handshake

Start = Callable[..., Gateway]
PlugIn = Callable[..., Device]

# The beginning of what browsers, TLS clients and others say.
UNIDENTIFIED = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "a long name": b"\x00\xff" + b"1" * 255,
    "letters": b"\x00\x0f" + b"35209308145225x",
    "a frame": TELEMETRY,
    "noise": bytes(range(1, 200)),
}


def test_a_device_is_found_from_its_first_byte_on_until_it_leaves(
    start: Start, plug_in: PlugIn, bus: Bus
) -> None:
    device = plug_in(start())
    device.hello()
    assert bus.holder() == "gw-1"
    assert bus.client.hget(KEYS.sessions, IMEI)
    device.socket.close()
    until(lambda: bus.holder() is None)
    assert bus.client.exists(KEYS.registry, KEYS.sessions) == 0
    until(lambda: len(bus.log("session")) == 2)  # another client than that of the registry appends it
    states = [event["state"] for event in bus.log("session")]
    assert (states, bus.log("session")[-1]["reason"]) == (["identified", "closed"], "device_closed")


def test_a_newer_connection_takes_the_place_of_the_older(start: Start, plug_in: PlugIn, bus: Bus) -> None:
    gateway = start()
    older = plug_in(gateway).ready()
    bus.ask("out")
    older.command()
    bus.ask("waiting")
    bus.reached("waiting", "queued")
    newer = plug_in(gateway).ready()
    assert older.rest() == b""
    assert bus.ended("out")[-1].startswith("failed session_superseded ")
    assert newer.obey() == "waiting"
    gateway.said("session_closed", reason="superseded")
    assert bus.holder() == "gw-1"


def test_of_two_instances_the_one_the_device_came_to_last_holds_it(
    start: Start, plug_in: PlugIn, bus: Bus
) -> None:
    first, second = start("gw-1", heartbeat_interval=0.3), start("gw-2", heartbeat_interval=0.3)
    stale = plug_in(first).ready()
    bus.ask("moves")
    stale.command()
    bus.ask("follows")
    bus.reached("follows", "queued")
    device = plug_in(second).ready()
    assert bus.holder() == "gw-2"
    assert stale.rest() == b""
    first.said("session_closed", reason="superseded")
    assert bus.holder() == "gw-2"
    assert device.obey() == "follows"
    assert bus.ended("follows") == ["queued not_sent", "sent maybe_sent", "responded answered"]
    assert bus.note("moved")["detail"] == "gw-2"
    bus.empty("gw-1")
    bus.empty("gw-2")


def test_at_sigterm_an_instance_takes_out_its_own_devices_only(
    start: Start, plug_in: PlugIn, bus: Bus
) -> None:
    first, second = start("gw-1"), start("gw-2")
    plug_in(first).hello()
    plug_in(first, "352093081452252").hello()
    plug_in(second, "352093081452253").hello()
    bus.client.hset(KEYS.registry, "352093081452252", "somebody else")
    first.terminate()
    assert first.exit_status() == 0
    assert bus.client.hgetall(KEYS.registry) == {
        "352093081452252": "somebody else",
        "352093081452253": "gw-2",
    }
    assert bus.client.exists(KEYS.heartbeat("gw-1"), KEYS.boot("gw-1")) == 0
    assert bus.client.exists(KEYS.heartbeat("gw-2"), KEYS.boot("gw-2")) == 2


def test_the_heartbeat_precedes_connections_and_expires(start: Start, bus: Bus) -> None:
    start()
    assert 85 <= bus.client.ttl(KEYS.heartbeat("gw-1")) <= 90
    assert bus.client.hexists(KEYS.instances, "gw-1")


def test_a_device_lost_in_a_crash_is_unregistered_in_time(start: Start, plug_in: PlugIn, bus: Bus) -> None:
    before = start()
    plug_in(before).ready()
    plug_in(before, "352093081452252").hello()
    before.kill()
    after = start(reconnect_grace=0.5, janitor_interval=0.2)
    plug_in(after).ready()
    until(lambda: bus.client.hgetall(KEYS.registry) == {IMEI: "gw-1"}, "the end of the other")
    until(lambda: bus.log("session")[-1]["reason"] == "instance_lost", "its session closed")
    assert bus.log("session")[-1]["imei"] == "352093081452252"


def test_unidentified_devices_are_refused_without_trace(start: Start, plug_in: PlugIn, bus: Bus) -> None:
    gateway = start(handshake_timeout=0.4)
    for hello in UNIDENTIFIED.values():
        unidentified = plug_in(gateway)
        unidentified.send(hello)
        assert unidentified.rest() in (b"", b"\x00")
    slow = plug_in(gateway)
    slow.send(encode_handshake(IMEI)[:16])
    assert slow.rest() == b""
    gateway.said("handshake_refused", reason="handshake_timeout")
    assert bus.client.exists(KEYS.registry, KEYS.responses, KEYS.telemetry) == 0
    plug_in(gateway).ready()
    assert bus.holder() == "gw-1"


def test_a_name_in_pieces_is_a_name(start: Start, plug_in: PlugIn) -> None:
    device = plug_in(start())
    for byte in encode_handshake(IMEI):
        device.send(bytes((byte,)))
    assert device.socket.recv(1) == b"\x01"


def test_devices_accepted_without_redis_are_registered_later(tmp_path: Path, plug_in: PlugIn) -> None:
    with socket.create_server(("127.0.0.1", 0)) as placeholder:
        port = placeholder.getsockname()[1]
    with Gateway(f"redis://127.0.0.1:{port}/0", heartbeat_interval=0.3, heartbeat_ttl=5) as gateway:
        gateway.said("degraded")
        device = plug_in(gateway).hello()
        device.send(TELEMETRY)
        assert device.silent(0.2)
        with LocalServer.start(tmp_path, port) as server, Bus(server.url) as bus:
            device.report(b"", count=1)
            until(lambda: bus.holder() == "gw-1", "the registration")
            assert bus.client.xlen(KEYS.telemetry) == 1
            bus.ask("c-1")
            assert device.obey() == "c-1"
            assert bus.ended("c-1")[-1] == "responded answered"
            gateway.terminate()
            assert gateway.exit_status() == 0
