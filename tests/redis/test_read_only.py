"""Every verb that only reads works for the operator of the contract, who may change nothing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.process.gateway import MAIN, clean_environment
from tests.redis.live_gateway import IMEI, Device, running, told
from tests.rig.rights import refused, rules
from transport.cli import VERBS
from transport.teltonika.handshake import ACCEPT

pytestmark = pytest.mark.redis

READING = {
    "check": ("--replay", "--json", "--connections", "1"),
    "watch": ("--from", "0", "--json"),
    "history": ("c-1", "--json"),
    "records": (IMEI, "--json"),
    "devices": ("--json",),
    "commands": ("--ended", "--json"),
    "dead-letters": ("--json",),
    "report": ("--json",),
}
"""The verbs that read what is in Redis, and arguments with which they find something."""
ENDLESS = {"watch"}
OTHERS = {
    *("run", "demo", "send", "cancel", "trace"),  # they write
    "top",  # a screen of its own
    *("simulate", "avl", "diagrams", "schema", "config", "policy", "version"),  # they do not use Redis
    "bench",  # a server of its own
}


@pytest.fixture
async def operator(client: Redis, redis_url: str) -> AsyncIterator[str]:
    """The URL of the operator, on a server with a gateway that has a device and a command."""
    words = rules()["operator"]
    ask: Any = client.execute_command
    await ask(*words)
    async with running(redis_url) as (_, address), Device.at(*address) as device:
        assert await device.name_itself() == ACCEPT
        assert await device.report() == 1
        await client.xadd("commands:outbound:gw-1", {"command_id": "c-1", "imei": IMEI, "payload": "getver"})
        await device.command()
        device.answer(b"OK")
        await told(client, ("command_id", "c-1"), ("state", "responded"))
        await client.xadd("commands:deadletter", {"error": "command_id is missing"})
        await ask("ACL", "LOG", "RESET")
        yield redis_url.replace("://", f"://{words[2]}:secret@")
    await ask("ACL", "DELUSER", words[2])


async def run(url: str, verb: str, *arguments: str) -> tuple[str, int | None]:
    """Its first line, and its exit status; one that does not end is stopped after that line."""
    command = (sys.executable, "-c", MAIN, verb, *arguments, "--redis", url)
    pipe: Any = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, env=clean_environment())
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    if verb in ENDLESS:
        process.terminate()
    await process.communicate()
    return line, process.returncode


def test_each_verb_reads_or_does_not() -> None:
    assert VERBS.keys() - READING.keys() - OTHERS == set()


@pytest.mark.parametrize("verb", [verb for verb in READING if verb in VERBS])
async def test_a_reading_verb_needs_no_other_right(client: Redis, operator: str, verb: str) -> None:
    line, status = await run(operator, verb, *READING[verb])
    assert line.startswith("{")
    assert verb in ENDLESS or status == (1 if verb == "check" else 0)  # `check` may not read CONFIG
    log: Any = await client.acl_log()
    assert refused(log) == set()


async def test_a_check_without_rights_says_what_it_could_not_see(client: Redis, operator: str) -> None:
    ask: Any = client.execute_command
    await ask(*rules()["operator"], "-time", "-info")
    line, status = await run(operator, "check", "--json", "--connections", "1")
    assert ('"permissions"' in line, "INFO and CONFIG and TIME refused" in line) == (True, True)
    assert status == 3


async def test_whoever_also_sends_has_the_rights_of_the_producer_too(
    client: Redis, operator: str, tmp_path: Path
) -> None:
    ask: Any = client.execute_command
    producer = rules()["producer"]
    await ask(*rules()["operator"], *producer[producer.index("-@all") + 1 :])
    line, status = await run(operator, "send", "352093081452252", "getinfo", "--json")
    assert (line, status) == ("", 4)  # no gateway holds the device
    line, status = await run(operator, "send", IMEI, "getinfo", "--json", "--timeout", "0.1")
    assert ('"state": "queued"' in line, status) == (True, 3)
    file = tmp_path / "imeis"
    file.write_text(IMEI)
    line, status = await run(operator, "send", "getinfo", "--imei-file", str(file), "--no-wait", "--json")
    assert ('"state": "handed over"' in line, status) == (True, 0)
    log: Any = await client.acl_log()
    assert refused(log) == set()
