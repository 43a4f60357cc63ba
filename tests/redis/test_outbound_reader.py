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


class Desk:
    """A reader, and what it handed over: ids in order, and for each whether it was new."""

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
async def make_desk(redis_url: str, client: Redis) -> AsyncIterator[Callable[[], Desk]]:
    desks: list[Desk] = []

    def make() -> Desk:
        desks.append(Desk(connect(redis_url, purpose="reader", block=BLOCK_MS / 1000)))
        return desks[-1]

    yield make
    for desk in desks:
        await desk.stop()
        await desk.client.aclose()


@pytest.fixture
async def desk(make_desk: Callable[[], Desk]) -> Desk:
    return make_desk()


async def test_entries_are_handed_over_as_new_in_order(desk: Desk) -> None:
    first = [await desk.add(command_id=f"c-{number}") for number in range(3)]
    desk.start()
    await desk.reached(lambda: len(desk.order) == 3)
    await desk.reached(lambda: desk.asked > 2)  # it blocks now
    last = await desk.add(command_id="c-3")
    await desk.reached(lambda: len(desk.order) == 4)
    assert desk.order == [(entry, True) for entry in (*first, last)]
    assert desk.entries[last] == {b"command_id": b"c-3"}
    assert desk.errors == []


async def test_more_entries_than_a_call_holds_keep_their_order(desk: Desk) -> None:
    added = [await desk.add() for _ in range(2 * COUNT + 5)]
    desk.start()
    await desk.reached(lambda: len(desk.order) == len(added))
    assert [entry for entry, _ in desk.order] == added


async def test_pending_entries_come_first_after_a_restart(
    make_desk: Callable[[], Desk],
) -> None:
    before = make_desk()
    pending = [await before.add() for _ in range(COUNT + 3)]
    before.start()
    await before.reached(lambda: len(before.order) == len(pending))
    await before.done(*pending[:2])
    await before.stop()
    unread = await before.add()
    after = make_desk()
    after.start()
    await after.reached(lambda: unread in after.entries)
    handed_over = [entry for entry, fresh in after.order if not fresh]
    assert sorted(set(handed_over)) == sorted(pending[2:])
    assert after.order[-1] == (unread, True)


async def test_what_another_consumer_left_pending_is_taken_over(desk: Desk) -> None:
    mine = [await desk.add() for _ in range(COUNT + 1)]
    await desk.client.xgroup_create(STREAM, GROUP, "0")
    await desk.client.xreadgroup(GROUP, "an-older-name", {STREAM: ">"})
    desk.start()
    await desk.reached(lambda: set(mine) <= set(desk.entries))
    assert not any(fresh for _, fresh in desk.order)
    [consumer] = [c for c in await desk.client.xinfo_consumers(STREAM, GROUP) if c["name"] == US.encode()]
    assert consumer["pending"] == len(mine)


async def test_after_some_time_everything_pending_is_handed_over_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "RECLAIM_EVERY", 0.0)
    entry = await desk.add()
    desk.start()
    await desk.reached(lambda: desk.times(entry) >= 2)
    assert (desk.order[0], desk.order[1]) == ((entry, True), (entry, False))


async def test_a_destroyed_group_is_created_again_without_loss(desk: Desk) -> None:
    pending = await desk.add()
    desk.start()
    await desk.reached(lambda: pending in desk.entries)
    await desk.client.xgroup_destroy(STREAM, GROUP)
    later = await desk.add()
    await desk.reached(lambda: later in desk.entries)
    assert desk.times(pending) >= 2
    assert 1 <= len(desk.errors) <= 5


@pytest.mark.parametrize("loss", ["FLUSHALL", "DEL"])
async def test_a_stream_that_vanished_is_made_again(desk: Desk, loss: str) -> None:
    gone = await desk.add()
    desk.start()
    await desk.reached(lambda: gone in desk.entries)
    await desk.client.execute_command(*([loss] if loss == "FLUSHALL" else [loss, STREAM]))
    await desk.reached(lambda: bool(desk.errors))
    entry = await desk.add()
    await desk.reached(lambda: entry in desk.entries)
    assert len(desk.errors) <= 5


async def test_an_entry_deleted_while_pending_is_dropped(make_desk: Callable[[], Desk]) -> None:
    before = make_desk()
    gone, kept = await before.add(), await before.add()
    before.start()
    await before.reached(lambda: kept in before.entries)
    await before.stop()
    await before.client.xdel(STREAM, gone)
    after = make_desk()
    after.start()
    await after.reached(lambda: after.asked > 0)
    assert set(after.entries) == {kept}
    assert [e["message_id"] for e in await after.client.xpending_range(STREAM, GROUP, "-", "+", 9)] == [
        kept.encode()
    ]


async def test_fields_that_are_no_text_arrive_as_they_were_written(desk: Desk) -> None:
    bad = await desk.add(command_id=b"\xff\xfe", payload=b"\x00")
    good = await desk.add(command_id="c-2")
    desk.start()
    await desk.reached(lambda: good in desk.entries)
    assert desk.entries[bad] == {b"command_id": b"\xff\xfe", b"payload": b"\x00"}


async def test_nothing_new_is_taken_while_it_may_not_be(make_desk: Callable[[], Desk]) -> None:
    before = make_desk()
    pending = await before.add()
    before.start()
    await before.reached(lambda: pending in before.entries)
    await before.stop()
    unread = await before.add()
    after = make_desk()
    after.open = False
    after.start()
    await after.reached(lambda: after.asked >= 3)
    assert set(after.entries) == {pending}
    after.open = True
    await after.reached(lambda: unread in after.entries)


async def test_after_a_failed_call_what_its_reply_held_is_found_again(desk: Desk) -> None:
    real, failing = desk.reader._next_batch, True

    async def lossy(cursor: str, block: bool) -> Any:
        nonlocal failing
        entries = await real(cursor, block)
        if failing and entries:
            failing = False
            raise CallFailed("the reply was lost")
        return entries

    desk.reader._next_batch = lossy
    entry = await desk.add()
    desk.start()
    await desk.reached(lambda: entry in desk.entries)
    assert desk.order[0] == (entry, False)


async def test_it_stops_while_it_blocks(desk: Desk) -> None:
    desk.start()
    await desk.reached(lambda: desk.asked > 0)
    await desk.stop()
    await desk.add()
    assert desk.order == []


async def test_the_last_read_finds_pending_and_new_entries(desk: Desk) -> None:
    pending = [await desk.add() for _ in range(COUNT + 2)]
    desk.start()
    await desk.reached(lambda: len(desk.order) == len(pending))
    await desk.stop()
    desk.order.clear()
    new = [await desk.add() for _ in range(COUNT + 2)]
    await desk.reader.sweep()
    assert desk.order == [(entry, False) for entry in pending] + [(entry, True) for entry in new]


async def test_an_unreachable_server_is_waited_for_at_the_start(
    make_desk: Callable[[], Desk], client: Redis
) -> None:
    desk = make_desk()
    real = desk.client.xgroup_create

    async def away(*args: Any, **options: Any) -> Any:
        desk.client.xgroup_create = real
        raise CallFailed("refused")

    desk.client.xgroup_create = away
    desk.start()
    await desk.reached(lambda: len(desk.errors) >= 2)
    entry = await desk.add()
    await desk.reached(lambda: entry in desk.entries)


# Entries that the group was moved past


async def move_on(desk: Desk) -> None:
    await desk.client.xgroup_setid(STREAM, GROUP, "$")


async def make_again_at_the_end(desk: Desk) -> None:
    await desk.client.xgroup_destroy(STREAM, GROUP)
    await desk.client.xgroup_create(STREAM, GROUP, "$")


@pytest.mark.parametrize("skip", [move_on, make_again_at_the_end])
async def test_entries_that_the_group_was_moved_past_are_found(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, skip: Callable[[Desk], Awaitable[None]]
) -> None:
    monkeypatch.setattr(outbound, "RECLAIM_EVERY", 0.1)
    desk.start()
    held = await desk.add()
    await desk.reached(lambda: held in desk.entries)
    desk.open = False
    asked = desk.asked
    await desk.reached(lambda: desk.asked > asked)  # nothing new is being read from now on
    unread = [await desk.add() for _ in range(COUNT + 3)]
    await skip(desk)
    desk.open = True
    await desk.reached(lambda: unread[-1] in desk.entries)
    assert [entry for entry, _ in desk.order if entry in unread][: len(unread)] == unread
    assert not [entry for entry, fresh in desk.order if fresh and entry in unread]
    await desk.done(held, *unread)
    new = await desk.add()
    await desk.reached(lambda: new in desk.entries)
    assert (desk.times(new), desk.errors) == (1, [])


async def test_skipped_entries_are_taken_within_the_limit(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "RECLAIM_EVERY", 0.1)
    await desk.client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    unread = [await desk.add() for _ in range(3 * COUNT)]
    await move_on(desk)
    monkeypatch.setattr(desk, "_may_read", lambda: len(desk.entries) < COUNT)
    desk.reader._may_read = desk._may_read
    desk.start()
    await desk.reached(lambda: len(desk.entries) == COUNT)
    await desk.done(*unread[:COUNT])
    desk.entries.clear()
    await desk.reached(lambda: unread[COUNT] in desk.entries)
    assert len(desk.entries) == COUNT
