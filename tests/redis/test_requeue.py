"""``telgw dead-letters --requeue`` on a real server, with a real gateway and the users of the contract."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from store.ledger import ledger as ledgers
from tests.process.gateway import MAIN, clean_environment
from tests.redis.live_gateway import IMEI, Device, running, told
from tests.rig.rights import refused, rules, rules_of_6_2
from transport.teltonika.handshake import ACCEPT

pytestmark = pytest.mark.redis

TEXT = "  setparam 2001:s3cret-apn"
STATE, LETTERS, KEPT = "commands:state:", "commands:deadletter", "commands:deadletter:kept"
LEDGER = f"{STATE}c-1"


@pytest.fixture(params=[rules, rules_of_6_2], ids=["7", "6.2"])
async def urls(
    client: Redis, redis_url: str, request: pytest.FixtureRequest
) -> AsyncIterator[dict[str, str]]:
    """The URL of each user that the contract prints."""
    users = request.param()
    ask: Any = client.execute_command
    for words in users.values():
        await ask(*words)
    await ask("ACL", "LOG", "RESET")
    yield {role: redis_url.replace("://", f"://{words[2]}:secret@") for role, words in users.items()}
    for words in users.values():
        await ask("ACL", "DELUSER", words[2])


async def dead_letters(url: str, *arguments: str) -> tuple[int | None, str]:
    """The exit status of the verb, and all that it says."""
    command = (sys.executable, "-c", MAIN, "dead-letters", *arguments, "--redis", url)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdout=pipe, stderr=pipe, env=clean_environment()
    )
    out, err = await process.communicate()
    return process.returncode, (out + err).decode()


async def ids(client: Redis, stream: str) -> list[str]:
    entries: Any = await client.xrange(stream)
    return [entry_id.decode() for entry_id, _ in entries]


async def test_a_command_that_redis_refused_is_put_back_and_sent_once(
    client: Redis, urls: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "_RETRY_DELAYS", (0.001,))
    async with running(urls["gateway"]) as (_, address), Device.at(*address) as device:
        assert await device.name_itself() == ACCEPT
        assert await device.report() == 1
        await client.set(LEDGER, "not a ledger")
        entry: Any = {"command_id": "c-1", "imei": IMEI, "payload": TEXT, "correlation_id": "order-17"}
        await client.xadd("commands:outbound:gw-1", entry)
        await told(client, ("command_id", "c-1"), ("reason", "internal_error"), ("delivery", "not_sent"))
        await told(client, ("command_id", "c-1"), stream=LETTERS)
        [letter] = await ids(client, LETTERS)

        for arguments in ((), ("--json",), ("--show", letter), ("--show", letter, "--json")):
            status, said = await dead_letters(urls["maintainer"], *arguments)
            assert (status, "internal_error" in said, "s3cret" in said) == (0, True, False)
        status, said = await dead_letters(urls["maintainer"], "--requeue", letter, "--json")
        assert (status, "s3cret" in said) == (0, False)
        done = json.loads(said)
        assert (await device.command()).payload.decode() == TEXT
        device.answer(b"OK")
        event = await told(client, ("command_id", done["command_id"]), ("state", "responded"))
        assert (event["retry_of"], event["correlation_id"]) == ("c-1", "order-17")
        assert (await ids(client, LETTERS), await ids(client, KEPT)) == ([], [])

        shown = [
            await client.xrange("commands:responses"),
            await client.hgetall(f"{STATE}{done['command_id']}"),
        ]
        assert "s3cret" not in str(shown)
        assert (await dead_letters(urls["maintainer"], "--requeue", letter))[0] == 4
        again: Any = {"command_id": done["command_id"], "imei": IMEI, "payload": TEXT}
        await client.xadd("commands:outbound:gw-1", again)
        await told(client, ("note", "duplicate_ignored"), ("command_id", done["command_id"]))
    log: Any = await client.acl_log()
    assert refused(log) == set()


async def test_what_is_not_put_back_stays_until_it_is_deleted(client: Redis, urls: dict[str, str]) -> None:
    entry: Any = {"imei": IMEI, "payload": TEXT, "expires_at": "4000000000000", "retry_of": "c-1"}
    kept: Any = await client.xadd(KEPT, entry)
    fields: Any = {"error": "internal_error", "command_id": "c-1", "kept_id": kept}
    await client.xadd(LETTERS, fields)
    [letter] = await ids(client, LETTERS)
    status, said = await dead_letters(urls["maintainer"], "--requeue", letter, "--requeue", "1-1")
    assert (status, "No living gateway holds the device" in said, "no dead letter 1-1" in said) == (
        1,
        True,
        True,
    )
    assert (await ids(client, LETTERS), await ids(client, KEPT)) == ([letter], [kept.decode()])
    assert (await dead_letters(urls["operator"], "--requeue", letter))[0] == 2
    assert (await dead_letters(urls["operator"], "--drop", letter))[0] == 2
    assert (await ids(client, LETTERS), await ids(client, KEPT)) == ([letter], [kept.decode()])
    assert (await dead_letters(urls["maintainer"], "--drop", letter))[0] == 0
    assert (await ids(client, LETTERS), await ids(client, KEPT)) == ([], [])
