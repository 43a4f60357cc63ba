"""A configuration that cannot work is one sentence and status 2, before the instance id is taken."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import pytest

from tests.process.gateway import IMEI, KEYS, MAIN, TIME_LIMIT, Bus, Device, Gateway, clean_environment, until
from tests.rig.ports import free_port
from tests.rig.redis import redis_server
from tests.rig.rights import rules
from transport.daemon.outages import ENDS_A_MINUTE
from transport.teltonika.handshake import encode_handshake

Start = Callable[..., Gateway]


def refused(redis: str, *options: str, shell: str = 'exec "$@"') -> str:
    """The sentence with which a gateway ends that cannot start."""
    given = ["--redis", redis, "--instance-id", "gw-1", *options]
    if "--metrics" not in options:
        given += ["--metrics", "off"]
    if "--listen" not in options:
        given += ["--listen", "127.0.0.1:0"]
    done = subprocess.run(
        ["sh", "-c", shell, "sh", sys.executable, "-c", MAIN, "run", *given],
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
        env=clean_environment(),
    )
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0].removeprefix("telgw: ")


def not_taken(bus: Bus) -> bool:
    """Whether the instance id was left alone."""
    return not bus.client.exists(KEYS.boot("gw-1"), KEYS.heartbeat("gw-1"))


def test_an_address_of_the_metrics_that_is_in_use(redis_url: str, bus: Bus) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        said = refused(redis_url, "--metrics", address)
    assert said.startswith(f"Cannot serve metrics on {address}: ")
    assert not_taken(bus)


@pytest.mark.parametrize("kind", ["none", "pipe", "directory", "no text", "a wrong line"])
def test_an_allow_list_that_cannot_be_read(redis_url: str, bus: Bus, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "list"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "no text":
            path.write_bytes(b"\xff\xfe")
        case "a wrong line":
            path.write_text("352093081452251\n352093081452252 10.0.0.1/8\n")
    said = refused(redis_url, "--allow-list", str(path), "--allow-list-when-unavailable", "open")
    assert str(path) in said
    assert ("line 2: '10.0.0.1/8' is neither a network" in said) == (kind == "a wrong line")
    assert not_taken(bus)


def test_a_password_refused_by_redis_ends_the_start(redis_url: str, bus: Bus) -> None:
    said = refused(redis_url.replace("://", "://unknown:wrong@"))
    assert said.startswith("Redis refuses the login")
    assert "wrong@" not in said
    assert not_taken(bus)


def test_a_database_that_redis_does_not_have(redis_url: str) -> None:
    said = refused(f"{redis_url.rpartition('/')[0]}/99")
    assert said.startswith("Redis refuses what a gateway needs (DB index is out of range)")


def test_an_allow_list_in_redis_that_is_no_set(redis_url: str, bus: Bus) -> None:
    bus.client.set(KEYS.allowed, "x")
    assert f"{KEYS.allowed} has to be a set" in refused(redis_url, "--allow-list", "redis")


def test_a_right_that_is_missing(redis_url: str, bus: Bus) -> None:
    words = [word for word in rules()["gateway"] if word != "~telemetry:records"]
    bus.client.execute_command(*words)
    try:
        said = refused(redis_url.replace("://", f"://{words[2]}:secret@"))
    finally:
        bus.client.execute_command("ACL", "DELUSER", words[2])
    assert "xadd on telemetry:records" in said
    assert not_taken(bus)


def test_a_limit_of_open_files_that_leaves_no_room(redis_url: str, bus: Bus) -> None:
    said = refused(redis_url, shell='ulimit -n 10; exec "$@"')
    assert "limit of open files is 10" in said
    assert not_taken(bus)


def test_listeners_that_overlap(redis_url: str, bus: Bus) -> None:
    port = free_port()
    said = refused(redis_url, "--listen", f"0.0.0.0:{port}", "--listen", f"127.0.0.1:{port}")
    assert f"127.0.0.1:{port}" in said
    assert not_taken(bus)


def test_ipv4_and_ipv6_may_have_a_listener_each_on_one_port(redis_url: str) -> None:
    port = free_port()
    with Gateway(redis_url, listen=[f"[::]:{port}", f"0.0.0.0:{port}"]) as gateway:
        gateway.port = port
        for host in ("127.0.0.1", "::1"):
            with socket.create_connection((host, port)) as device:
                device.sendall(encode_handshake(IMEI))
                assert device.recv(1) == b"\x01"


# Scarcity while it runs


class Few(Gateway):
    """A gateway that may open 64 files."""

    before: ClassVar = ("sh", "-c", 'ulimit -n 64; exec "$@"', "sh")


def test_few_open_files_are_logged_at_the_start_and_on_refusal(redis_url: str) -> None:
    with Few(redis_url) as gateway:
        low = gateway.said("open_files_low")
        assert 0 < low["connections"] < 64
        assert "LimitNOFILE" in low["advice"]
        devices = [Device(gateway, f"3520930814522{number:02d}") for number in range(low["connections"])]
        try:
            for device in devices:
                device.ready()
            for _ in range(20):
                with Device(gateway) as late:
                    assert late.rest() == b""
            gateway.said("turned_away", limit="open-files")
            devices[0].report()
            assert sum(line["event"] == "turned_away" for line in gateway.lines) == 1
        finally:
            for device in devices:
                device.socket.close()


@pytest.mark.parametrize("loop", ["fast", "asyncio"])
def test_files_that_run_out_are_one_line_and_no_end(redis_url: str, loop: str) -> None:
    class Here(Gateway):
        main = Gateway.main if loop == "fast" else f"import sys; sys.modules['uvloop'] = None; {Gateway.main}"

    with Here(redis_url) as gateway, Device(gateway) as device:
        device.ready()
        used = max(int(name) for name in os.listdir(f"/proc/{gateway.process.pid}/fd")) + 1
        soft, hard = resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, (used, hard))
        kept = [socket.create_connection(("127.0.0.1", int(gateway.port))) for _ in range(5)]
        gateway.said("open_files_exhausted")
        device.report()
        resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, (soft, hard))

        def comes_in() -> bool:
            try:
                with Device(gateway, "352093081452999") as other:
                    other.hello()
            except (OSError, AssertionError):
                return False
            return True

        until(comes_in, "a device that is let in again")
        told = [line for line in gateway.lines if line["event"] in ("open_files_exhausted", "library")]
        assert len(told) == 1
        for one in kept:
            one.close()


async def test_a_redis_without_room_for_all_connections_fills_no_log(
    tmp_path: Path, stack: ExitStack, plug_in: Callable[..., Device]
) -> None:
    async with redis_server(tmp_path) as server:
        admin = stack.enter_context(server.client())
        bus = stack.enter_context(Bus(server.url))
        bus.client.ping()
        gateway = stack.enter_context(Gateway(server.url, heartbeat_interval=0.5))
        admin.config_set("maxclients", 3)
        admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        until(lambda: admin.info("stats")["rejected_connections"] > 10, "many that are turned away")
        # Whether the reason comes through before the connection is reset, and who gets the place, is luck.
        told = [line for line in gateway.lines if line["event"] == "redis_error"]
        kinds = {(line.get("advice") or line["part"], line["error"]) for line in told}
        ends = sum(line["event"] == "redis_back" for line in gateway.lines)
        assert 0 < len(told) <= len(kinds) * (ends + 1)
        assert ends <= ENDS_A_MINUTE
        admin.config_set("maxclients", 1000)
        gateway.said("redis_back")
        device = plug_in(gateway).ready()
        bus.ask("after")
        assert device.obey() == "after"
        stack.close()
