"""Two processes and one instance id: nobody who lives is displaced, and nobody waits for the dead."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import pytest

from tests.process.gateway import KEYS, MAIN, TELEMETRY, Bus, Device, Gateway, until
from tests.rig.ports import free_port
from tests.rig.proxy import Proxy

Start = Callable[..., Gateway]
PlugIn = Callable[..., Device]

ELSEWHERE = "another kernel/1"
"""A place of which nobody here can say who lives there."""


def ends_by_itself(gateway: Gateway, status: int) -> str:
    """Wait for its end; the last sentence it said."""
    assert gateway.exit_status() == status
    assert not gateway.said_before("ready")
    told = [line["line"] for line in gateway.lines if line["event"] == "no JSON"]
    gateway.lines[:] = [line for line in gateway.lines if line["event"] != "no JSON"]
    return told[-1] if told else ""


def test_a_second_process_ends_and_the_first_is_not_affected(start: Start, plug_in: PlugIn, bus: Bus) -> None:
    first = start(heartbeat_interval=0.5)
    device = plug_in(first).ready()
    bus.ask("out")
    device.command()
    second = start(ready=False)
    second.said("instance_id_held")
    sentence = ends_by_itself(second, 2)
    since = bus.client.hget(KEYS.holder("gw-1"), "since")
    assert f"process {first.process.pid} on host {socket.gethostname()}, since 2" in sentence
    assert "--take-over" in sentence
    assert abs(int(since) / 1000 - time.time()) < 60
    device.answer("still here")
    assert bus.ended("out")[-1] == "responded answered"
    bus.ask("after")
    assert device.obey() == "after"
    assert {line["event"] for line in first.lines if line["level"] not in ("info", "debug")} <= {"check"}


def test_check_shows_the_process_that_has_an_id(start: Start, redis_url: str) -> None:
    gateway = start()
    command = [sys.executable, "-c", MAIN, "check", "--json", "--redis", redis_url]
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout
    [found] = [line for line in map(json.loads, told.splitlines()) if line["subject"] == "instance gw-1"]
    assert f"process {gateway.process.pid} on host {socket.gethostname()}, since 2" in found["found"]


def test_take_over_ends_the_first_and_both_logs_name_the_other(
    start: Start, plug_in: PlugIn, bus: Bus
) -> None:
    first = start(heartbeat_interval=0.3)
    device = plug_in(first).ready()
    second = start(heartbeat_interval=0.3, take_over=True)
    assert first.exit_status() == 3
    assert device.rest() == b""
    taken = second.said("instance_id_taken", because="forced")
    assert f"process {first.process.pid} on host" in taken["before"]
    lost = first.said("fenced")
    assert f"process {second.process.pid} on host" in lost["displaced_by"]
    assert "advice" in taken
    assert "advice" in lost
    back = plug_in(second).ready()
    bus.ask("c-1")
    assert back.obey() == "c-1"
    assert bus.ended("c-1")[-1] == "responded answered"
    assert bus.client.exists(KEYS.heartbeat("gw-1")) == 1


def test_the_id_of_a_local_killed_process_is_taken_at_once(start: Start) -> None:
    start(heartbeat_interval=30).kill()
    before = time.monotonic()
    start(heartbeat_interval=30).said("instance_id_taken", because="gone")
    assert time.monotonic() - before < 10


def test_the_id_that_a_process_has_given_back_is_taken_at_once(start: Start) -> None:
    first = start()
    first.terminate()
    assert first.exit_status() == 0
    second = start()
    assert not second.said_before("instance_id_held")
    assert not second.said_before("instance_id_taken")


def test_the_id_of_a_remote_killed_process_is_taken_later(start: Start, bus: Bus) -> None:
    first = start(heartbeat_interval=0.5)
    first.kill()
    bus.client.hset(KEYS.holder("gw-1"), "place", ELSEWHERE)
    second = start(heartbeat_interval=20)
    waits = second.said("instance_id_held")["waits_s"]
    assert waits == 0.5 + 2.0
    second.said("instance_id_taken", because="silent")


@contextmanager
def stopped(gateway: Gateway) -> Iterator[None]:
    """SIGSTOP, and SIGCONT in the end."""
    gateway.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        gateway.process.send_signal(signal.SIGCONT)


def test_a_frozen_process_loses_its_id_and_is_fenced(
    start: Start,
) -> None:
    first = start(heartbeat_interval=0.5)
    with stopped(first):
        start().said("instance_id_taken", because="silent")
    assert first.exit_status() == 3


def test_a_process_that_wakes_in_time_keeps_the_id(start: Start) -> None:
    first = start(heartbeat_interval=0.5)
    with stopped(first):
        second = start(ready=False)
        second.said("instance_id_held")
    assert "belongs to a live gateway" in ends_by_itself(second, 2)
    assert first.process.poll() is None


def test_a_process_waiting_for_its_id_listens_nowhere(start: Start, bus: Bus) -> None:
    first = start(heartbeat_interval=30)
    port = free_port()
    second = start(ready=False, listen=f"127.0.0.1:{port}")
    second.said("instance_id_held", waits_s=32.0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    second.terminate()
    assert second.exit_status() == 0
    assert bus.client.hget(KEYS.holder("gw-1"), "pid") == str(first.process.pid)


async def test_a_start_without_redis_ends_when_the_id_is_owned(
    start: Start, stack: ExitStack, gateway_url: str, plug_in: PlugIn, bus: Bus
) -> None:
    first = start(heartbeat_interval=0.5)
    device = plug_in(first).ready()
    redis, port = urlsplit(gateway_url), free_port()
    login = redis.netloc.rpartition("@")[0]
    second = stack.enter_context(Gateway(f"redis://{login}@127.0.0.1:{port}{redis.path}"))
    second.said("degraded")
    misled = plug_in(second, "352093081452252").hello()
    misled.send(TELEMETRY)
    assert redis.port is not None
    with socket.create_server(("127.0.0.1", port)) as at:
        server = await Proxy(redis.port).listen(at)
        assert await asyncio.to_thread(second.exit_status) == 3
        server.close()
    assert (
        "belongs to a live gateway"
        in [line for line in second.lines if line["event"] == "instance_id_held"][-1]["meaning"]
    )
    assert misled.rest() == (1).to_bytes(4, "big")
    assert bus.client.hgetall(KEYS.registry) == {device.imei: "gw-1"}
    bus.ask("after")
    assert device.obey() == "after"
    assert first.process.poll() is None


async def test_an_owner_keeps_its_id_after_an_outage(
    start: Start, stack: ExitStack, gateway_url: str, bus: Bus
) -> None:
    first = start(heartbeat_interval=0.5)
    redis, port = urlsplit(gateway_url), free_port()
    login = redis.netloc.rpartition("@")[0]
    second = stack.enter_context(Gateway(f"redis://{login}@127.0.0.1:{port}{redis.path}"))
    second.said("degraded")

    def has_looked() -> bool:
        found = bus.client.client_list()
        return any((each["name"], each["cmd"]) == ("telgw:gw-1:heartbeat", "get") for each in found)

    assert redis.port is not None
    with stopped(first):
        bus.client.delete(KEYS.boot("gw-1"), KEYS.heartbeat("gw-1"), KEYS.holder("gw-1"))
        server = await Proxy(redis.port).listen(socket.create_server(("127.0.0.1", port)))
        await asyncio.to_thread(until, has_looked)
    assert await asyncio.to_thread(second.exit_status) == 3
    server.close()
    assert bus.client.hget(KEYS.holder("gw-1"), "pid") == str(first.process.pid)
    assert first.process.poll() is None
