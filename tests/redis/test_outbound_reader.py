"""The reader of the outbound stream on real servers, which alone block as servers do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from store.client.client import connect
from store.client.errors import CallFailed
from store.keys import GROUP, Keys
from store.streams import outbound
from store.streams.outbound import BLOCK_MS, COUNT, OutboundReader

pytestmark = pytest.mark.redis

US = "gw-1"
STREAM = Keys().outbound(US)


class ReaderRig:
    """A reader with the entries it handed over: ids in order, and for each whether it was new."""

    def __init__(self, client: Redis) -> None:
        self.client: Any = client
        self.entries: dict[str, dict[bytes, bytes]] = {}
        self.order: list[tuple[str, bool]] = []
        self.errors: list[Exception] = []
        self.open = True
        self.asked = 0
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None
        self.reader = OutboundReader(
            client,
            Keys(),
            US,
            on_entries=self._take,
            may_read=self._may_read,
            on_error=self._failed,
        )

    def _take(self, entries: list[tuple[str, dict[bytes, bytes]]], fresh: bool) -> None:
        for entry_id, fields in entries:
            self.order.append((entry_id, fresh))
            self.entries[entry_id] = fields
        self._tell()

    def _may_read(self) -> bool:
        self.asked += 1
        self._tell()
        return self.open

    def _failed(self, error: Exception) -> None:
        self.errors.append(error)
        self._tell()

    def _tell(self) -> None:
        for condition, future in self._waiters:
            if not future.done() and condition():
                future.set_result(None)

    async def reached(self, condition: Callable[[], bool]) -> None:
        """Return as soon as `condition` holds."""
        if not condition():
            future = asyncio.get_running_loop().create_future()
            self._waiters.append((condition, future))
            await asyncio.wait_for(future, 20)

    def start(self) -> None:
        """Read from now on."""
        self._task = asyncio.create_task(self.reader.run())

    async def stop(self) -> None:
        """Read no more."""
        self.reader.stop()
        if self._task:
            await asyncio.wait_for(self._task, 10)
            self._task = None

    async def add(self, **fields: str | bytes) -> str:
        """A producer appends an entry."""
        entry_id: bytes = await self.client.xadd(STREAM, fields or {"command_id": "c"})
        return entry_id.decode()

    async def done(self, *entry_ids: str) -> None:
        """The commands of these entries have ended."""
        await self.client.xack(STREAM, GROUP, *entry_ids)
        await self.client.xdel(STREAM, *entry_ids)

    def times(self, entry_id: str) -> int:
        """How often an entry was handed over."""
        return [entry for entry, _ in self.order].count(entry_id)


@pytest.fixture(autouse=True)
def short_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping waits for the read in flight."""
    monkeypatch.setattr(outbound, "BLOCK_MS", 100)


@pytest.fixture
async def make_rig(redis_url: str, client: Redis) -> AsyncIterator[Callable[[], ReaderRig]]:
    rigs: list[ReaderRig] = []

    def make() -> ReaderRig:
        rigs.append(ReaderRig(connect(redis_url, purpose="reader", block=BLOCK_MS / 1000)))
        return rigs[-1]

    yield make
    for rig in rigs:
        await rig.stop()
        await rig.client.aclose()


@pytest.fixture
async def rig(make_rig: Callable[[], ReaderRig]) -> ReaderRig:
    return make_rig()


async def test_entries_are_handed_over_as_new_in_order(rig: ReaderRig) -> None:
    first = [await rig.add(command_id=f"c-{number}") for number in range(3)]
    rig.start()
    await rig.reached(lambda: len(rig.order) == 3)
    await rig.reached(lambda: rig.asked > 2)  # it blocks now
    last = await rig.add(command_id="c-3")
    await rig.reached(lambda: len(rig.order) == 4)
    assert rig.order == [(entry, True) for entry in (*first, last)]
    assert rig.entries[last] == {b"command_id": b"c-3"}
    assert rig.errors == []


async def test_more_entries_than_a_call_holds_keep_their_order(rig: ReaderRig) -> None:
    added = [await rig.add() for _ in range(2 * COUNT + 5)]
    rig.start()
    await rig.reached(lambda: len(rig.order) == len(added))
    assert [entry for entry, _ in rig.order] == added


async def test_pending_entries_come_first_after_a_restart(
    make_rig: Callable[[], ReaderRig],
) -> None:
    before = make_rig()
    pending = [await before.add() for _ in range(COUNT + 3)]
    before.start()
    await before.reached(lambda: len(before.order) == len(pending))
    await before.done(*pending[:2])
    await before.stop()
    unread = await before.add()
    after = make_rig()
    after.start()
    await after.reached(lambda: unread in after.entries)
    handed_over = [entry for entry, fresh in after.order if not fresh]
    assert sorted(set(handed_over)) == sorted(pending[2:])
    assert after.order[-1] == (unread, True)


async def test_what_another_consumer_left_pending_is_taken_over(rig: ReaderRig) -> None:
    mine = [await rig.add() for _ in range(COUNT + 1)]
    await rig.client.xgroup_create(STREAM, GROUP, "0")
    await rig.client.xreadgroup(GROUP, "an-older-name", {STREAM: ">"})
    rig.start()
    await rig.reached(lambda: set(mine) <= set(rig.entries))
    assert not any(fresh for _, fresh in rig.order)
    [consumer] = [c for c in await rig.client.xinfo_consumers(STREAM, GROUP) if c["name"] == US.encode()]
    assert consumer["pending"] == len(mine)


async def test_after_some_time_everything_pending_is_handed_over_again(
    rig: ReaderRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "RECLAIM_EVERY", 0.0)
    entry = await rig.add()
    rig.start()
    await rig.reached(lambda: rig.times(entry) >= 2)
    assert (rig.order[0], rig.order[1]) == ((entry, True), (entry, False))


async def test_a_destroyed_group_is_created_again_without_loss(rig: ReaderRig) -> None:
    pending = await rig.add()
    rig.start()
    await rig.reached(lambda: pending in rig.entries)
    await rig.client.xgroup_destroy(STREAM, GROUP)
    later = await rig.add()
    await rig.reached(lambda: later in rig.entries)
    assert rig.times(pending) >= 2
    assert 1 <= len(rig.errors) <= 5


@pytest.mark.parametrize("loss", ["FLUSHALL", "DEL"])
async def test_a_stream_that_vanished_is_made_again(rig: ReaderRig, loss: str) -> None:
    gone = await rig.add()
    rig.start()
    await rig.reached(lambda: gone in rig.entries)
    await rig.client.execute_command(*([loss] if loss == "FLUSHALL" else [loss, STREAM]))
    await rig.reached(lambda: bool(rig.errors))
    entry = await rig.add()
    await rig.reached(lambda: entry in rig.entries)
    assert len(rig.errors) <= 5


async def test_an_entry_deleted_while_pending_is_dropped(make_rig: Callable[[], ReaderRig]) -> None:
    before = make_rig()
    gone, kept = await before.add(), await before.add()
    before.start()
    await before.reached(lambda: kept in before.entries)
    await before.stop()
    await before.client.xdel(STREAM, gone)
    after = make_rig()
    after.start()
    await after.reached(lambda: after.asked > 0)
    assert set(after.entries) == {kept}
    assert [e["message_id"] for e in await after.client.xpending_range(STREAM, GROUP, "-", "+", 9)] == [
        kept.encode()
    ]


async def test_fields_that_are_no_text_arrive_as_they_were_written(rig: ReaderRig) -> None:
    bad = await rig.add(command_id=b"\xff\xfe", payload=b"\x00")
    good = await rig.add(command_id="c-2")
    rig.start()
    await rig.reached(lambda: good in rig.entries)
    assert rig.entries[bad] == {b"command_id": b"\xff\xfe", b"payload": b"\x00"}


async def test_nothing_new_is_taken_while_it_may_not_be(make_rig: Callable[[], ReaderRig]) -> None:
    before = make_rig()
    pending = await before.add()
    before.start()
    await before.reached(lambda: pending in before.entries)
    await before.stop()
    unread = await before.add()
    after = make_rig()
    after.open = False
    after.start()
    await after.reached(lambda: after.asked >= 3)
    assert set(after.entries) == {pending}
    after.open = True
    await after.reached(lambda: unread in after.entries)


async def test_after_a_failed_call_what_its_reply_held_is_found_again(rig: ReaderRig) -> None:
    real, failing = rig.reader._next_batch, True

    async def lossy(cursor: str, block: bool) -> Any:
        nonlocal failing
        entries = await real(cursor, block)
        if failing and entries:
            failing = False
            raise CallFailed("the reply was lost")
        return entries

    rig.reader._next_batch = lossy
    entry = await rig.add()
    rig.start()
    await rig.reached(lambda: entry in rig.entries)
    assert rig.order[0] == (entry, False)


async def test_it_stops_while_it_blocks(rig: ReaderRig) -> None:
    rig.start()
    await rig.reached(lambda: rig.asked > 0)
    await rig.stop()
    await rig.add()
    assert rig.order == []


async def test_the_last_read_finds_pending_and_new_entries(rig: ReaderRig) -> None:
    pending = [await rig.add() for _ in range(COUNT + 2)]
    rig.start()
    await rig.reached(lambda: len(rig.order) == len(pending))
    await rig.stop()
    rig.order.clear()
    new = [await rig.add() for _ in range(COUNT + 2)]
    await rig.reader.sweep()
    assert rig.order == [(entry, False) for entry in pending] + [(entry, True) for entry in new]


async def test_an_unreachable_server_is_waited_for_at_the_start(
    make_rig: Callable[[], ReaderRig], client: Redis
) -> None:
    rig = make_rig()
    real = rig.client.xgroup_create

    async def away(*args: Any, **options: Any) -> Any:
        rig.client.xgroup_create = real
        raise CallFailed("refused")

    rig.client.xgroup_create = away
    rig.start()
    await rig.reached(lambda: len(rig.errors) >= 2)
    entry = await rig.add()
    await rig.reached(lambda: entry in rig.entries)


# Entries that the group was moved past


async def move_on(rig: ReaderRig) -> None:
    await rig.client.xgroup_setid(STREAM, GROUP, "$")


async def make_again_at_the_end(rig: ReaderRig) -> None:
    await rig.client.xgroup_destroy(STREAM, GROUP)
    await rig.client.xgroup_create(STREAM, GROUP, "$")


@pytest.mark.parametrize("skip", [move_on, make_again_at_the_end])
async def test_entries_that_the_group_was_moved_past_are_found(
    rig: ReaderRig, monkeypatch: pytest.MonkeyPatch, skip: Callable[[ReaderRig], Awaitable[None]]
) -> None:
    monkeypatch.setattr(outbound, "RECLAIM_EVERY", 0.1)
    rig.start()
    held = await rig.add()
    await rig.reached(lambda: held in rig.entries)
    rig.open = False
    asked = rig.asked
    await rig.reached(lambda: rig.asked > asked)  # nothing new is being read from now on
    unread = [await rig.add() for _ in range(COUNT + 3)]
    await skip(rig)
    rig.open = True
    await rig.reached(lambda: unread[-1] in rig.entries)
    assert [entry for entry, _ in rig.order if entry in unread][: len(unread)] == unread
    assert not [entry for entry, fresh in rig.order if fresh and entry in unread]
    await rig.done(held, *unread)
    new = await rig.add()
    await rig.reached(lambda: new in rig.entries)
    assert (rig.times(new), rig.errors) == (1, [])


async def test_skipped_entries_are_taken_within_the_limit(
    rig: ReaderRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "RECLAIM_EVERY", 0.1)
    await rig.client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    unread = [await rig.add() for _ in range(3 * COUNT)]
    await move_on(rig)
    monkeypatch.setattr(rig, "_may_read", lambda: len(rig.entries) < COUNT)
    rig.reader._may_read = rig._may_read
    rig.start()
    await rig.reached(lambda: len(rig.entries) == COUNT)
    await rig.done(*unread[:COUNT])
    rig.entries.clear()
    await rig.reached(lambda: unread[COUNT] in rig.entries)
    assert len(rig.entries) == COUNT
