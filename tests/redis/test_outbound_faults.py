"""What a producer can do to an outbound stream by XADD alone is found, and repaired if that is possible."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from store.keys import GROUP, Keys
from store.streams.entry_ids import HIGHEST, read_id
from store.streams.outbound_faults import OutboundFaults, deleted_pending, trimmed_unread

pytestmark = pytest.mark.redis

KEYS = Keys()
STREAM = KEYS.outbound("gw-1")
LAST = f"{HIGHEST}-{HIGHEST}"


class Rig:
    """A stream with its group, and somebody who looks for faults."""

    def __init__(self, client: Redis) -> None:
        self.client: Any = client
        self.lost: list[int] = []
        self.now_ms = 0
        self.faults = OutboundFaults(
            client, KEYS, "gw-1", now_ms=lambda: self.now_ms, on_lost=self.lost.append
        )

    async def add(self, **options: Any) -> bytes:
        """A producer appends an entry."""
        added: bytes = await self.client.xadd(STREAM, {"a": "b"}, **options)
        return added

    async def trim(self) -> None:
        """A producer appends an entry with `MAXLEN 0`."""
        await self.add(maxlen=0, approximate=False)

    async def read(self) -> list[bytes]:
        """The gateway reads what is new."""
        found = await self.client.xreadgroup(GROUP, "gw-1", {STREAM: ">"})
        return [entry_id for entry_id, _ in found[0][1]] if found else []

    async def end(self, entry_id: bytes) -> None:
        """The command of an entry ends."""
        await self.client.xack(STREAM, GROUP, entry_id)
        await self.client.xdel(STREAM, entry_id)


@pytest.fixture
async def rig(client: Redis) -> Rig:
    seconds, _ = await client.time()
    rig = Rig(client)
    rig.now_ms = seconds * 1000
    await rig.client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    return rig


async def test_entries_that_come_are_read_and_end_are_no_fault(rig: Rig) -> None:
    await rig.faults.look()
    await rig.add()
    await rig.faults.look()
    [entry_id] = await rig.read()
    await rig.faults.look()
    await rig.end(entry_id)
    await rig.client.xdel(STREAM, await rig.add())  # as another gateway removes it
    await rig.faults.look()
    assert rig.lost == []
    assert await deleted_pending(rig.client, STREAM) == 0


async def test_what_was_trimmed_unread_is_told_once(rig: Rig) -> None:
    [entry_id] = [await rig.add(), *await rig.read()][1:]
    await rig.end(entry_id)
    await rig.trim()
    await rig.trim()
    assert await trimmed_unread(rig.client, STREAM) == 2
    await rig.faults.look()
    await rig.faults.look()
    await rig.trim()
    await rig.faults.look()
    assert rig.lost == [2, 3]
    await rig.add()
    await rig.read()
    assert await trimmed_unread(rig.client, STREAM) == 0


async def test_commands_in_progress_that_were_trimmed_are_counted(rig: Rig) -> None:
    for _ in range(3):
        await rig.add()
    first, *_ = await rig.read()
    await rig.end(first)
    assert await deleted_pending(rig.client, STREAM) == 0
    await rig.trim()
    assert await deleted_pending(rig.client, STREAM) == 2


@pytest.mark.parametrize("last", [LAST, f"{HIGHEST}-0", f"{2**50}-7"])
async def test_a_stream_with_ids_of_the_future_is_created_again_when_it_is_empty(rig: Rig, last: str) -> None:
    await rig.add(id=last)
    [entry_id] = await rig.read()
    await rig.faults.look()
    assert await rig.client.xlen(STREAM) == 1
    await rig.end(entry_id)
    await rig.faults.look()
    assert read_id(await rig.add()) < read_id(last.encode())
    assert len(await rig.read()) == 1
