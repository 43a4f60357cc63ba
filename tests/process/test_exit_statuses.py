"""What a script may believe of the exit status of a verb: who cannot know what became of a command says 3."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from tests.process.gateway import IMEI, MAIN, TIME_LIMIT, Bus, Device, Gateway, clean_environment, until
from tests.rig.redis import RedisServer

Start = Callable[..., Gateway]
PlugIn = Callable[..., Device]
UNDECIDED = 3


def telgw(*words: str, out: int | IO[Any] = subprocess.PIPE, shell: str = "") -> subprocess.Popen[str]:
    """The command line as a process."""
    before = ["sh", "-c", shell, "sh"] if shell else []
    return subprocess.Popen(
        [*before, sys.executable, "-c", MAIN, *words],
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit status of a process, and what it said on standard error."""
    said = process.communicate(timeout=2 * TIME_LIMIT)[1]
    return process.returncode, said


@contextmanager
def broken_pipe() -> Iterator[int]:
    """A pipe whose reader is gone."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@contextmanager
def full_disk() -> Iterator[int]:
    """A file on a disk without space."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("output", [broken_pipe, full_disk])
@pytest.mark.parametrize("more", [(), ("--no-wait",), ("--json",)], ids=["followed", "no wait", "json"])
def test_unprintable_events_of_a_command_mean_unknown(
    start: Start, plug_in: PlugIn, bus: Bus, redis_url: str, output: Any, more: tuple[str, ...]
) -> None:
    device = plug_in(start()).ready()
    with output() as out:
        sending = telgw("send", "--redis", redis_url, "--command-id", "c1", *more, IMEI, "getinfo", out=out)
        device.obey()
        status, said = ended(sending)
    assert status == UNDECIDED, said
    assert "The outcome of the command c1 (telgw history c1) is unknown." in said
    assert "Traceback" not in said
    assert bus.ended("c1")[-1] == "responded answered"


def test_a_command_whose_output_was_closed_from_the_start(
    start: Start, plug_in: PlugIn, redis_url: str
) -> None:
    device = plug_in(start()).ready()
    sending = telgw("send", "--redis", redis_url, IMEI, "getinfo", shell='exec "$@" >&-')
    device.obey()
    status, said = ended(sending)
    assert (status, "Traceback" in said) == (UNDECIDED, False)


@pytest.mark.parametrize("verb", ["send", "cancel"])
def test_an_interrupt_means_unknown(
    start: Start, plug_in: PlugIn, bus: Bus, redis_url: str, verb: str
) -> None:
    gateway = start()
    device = plug_in(gateway).ready()
    if verb == "send":
        process = telgw("send", "--redis", redis_url, IMEI, "getinfo")
        device.command()
    else:
        bus.ask("c1")
        device.command()
        gateway.process.send_signal(signal.SIGSTOP)
        process = telgw("cancel", "--redis", redis_url, "c1")
        until(lambda: bus.client.xlen("commands:outbound:gw-1") == 2, "the cancel")
    process.send_signal(signal.SIGINT)
    status, said = ended(process)
    assert status == UNDECIDED, said
    gateway.process.send_signal(signal.SIGCONT)


def test_a_lost_redis_means_unknown(tmp_path: Path, start: Start, plug_in: PlugIn) -> None:
    server = RedisServer(tmp_path, "none")
    asyncio.run(server.start())
    try:
        with Gateway(server.url) as gateway, Device(gateway) as device:
            device.ready()
            sending = telgw("send", "--redis", server.url, IMEI, "getinfo")
            device.command()
            server.kill()
            status, said = ended(sending)
        assert status == UNDECIDED
        assert "Redis cannot be used" in said
    finally:
        server.kill()


def test_what_was_certainly_not_handed_over_may_be_sent_again(bus: Bus, redis_url: str) -> None:
    bus.client.hset("connections:registry", IMEI, "gw-1")
    bus.client.execute_command(*["ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@all", "-xadd"])
    try:
        url = redis_url.replace("://", "://reader:secret@")
        status, said = ended(telgw("send", "--redis", url, IMEI, "getinfo"))
    finally:
        bus.client.execute_command("ACL", "DELUSER", "reader")
    assert status == 2
    assert "not known" not in said


def test_a_text_from_a_standard_input_that_is_closed_is_wrong_use(redis_url: str) -> None:
    status, said = ended(telgw("send", "--redis", redis_url, IMEI, "-", shell='exec "$@" <&-'))
    assert (status, said) == (2, "telgw: TEXT is empty: with - it is read from standard input.\n")


def test_a_demo_that_cannot_be_printed_does_not_start() -> None:
    with full_disk() as out:
        status, said = ended(telgw("demo", out=out))
    assert (status, "Traceback" in said) == (2, False)


def test_a_demo_that_nobody_reads_to_its_end_has_no_outcome() -> None:
    process = telgw("demo")
    assert process.stdout is not None
    while "8 are handed over" not in process.stdout.readline():
        assert process.poll() is None
    process.stdout.close()
    process.stdout = None
    status, said = ended(process)
    assert (status, "Traceback" in said) == (UNDECIDED, False)


def test_a_demo_tells_its_story_to_a_file(tmp_path: Path) -> None:
    with (tmp_path / "demo.txt").open("w+", encoding="utf-8") as out:
        assert ended(telgw("demo", out=out)) == (0, "")
        lines = (tmp_path / "demo.txt").read_text(encoding="utf-8").splitlines()
    assert "8 of 8 commands ended as they should." in lines
    assert any(re.search('late +late response +"', line) for line in lines)
    assert any(re.search("telemetry +.* are stored$", line) for line in lines)
    assert "\x1b" not in "".join(lines)


def test_a_demo_of_workers_and_shards_ends_as_it_should(tmp_path: Path) -> None:
    with (tmp_path / "demo.txt").open("w+", encoding="utf-8") as out:
        assert ended(telgw("demo", "--workers", "2", "--telemetry-shards", "4", out=out)) == (0, "")
        told = " ".join((tmp_path / "demo.txt").read_text(encoding="utf-8").split())
    assert "8 of 8 commands ended as they should." in told
    assert "2 workers listen" in told
    assert re.search(r"5 are connected, [1-5] to demo-[12]", told)
    assert re.search(r"are stored in [1-4] of 4 streams", told)


def test_other_verbs_distinguish_a_closed_pipe_from_a_failure(start: Start, redis_url: str) -> None:
    start()
    with broken_pipe() as out:
        status, said = ended(telgw("check", "--redis", redis_url, out=out))
    assert (status, "Traceback" in said) == (1, False)
