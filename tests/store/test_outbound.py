"""What the reader of the outbound stream asks its server for, turn by turn."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from store.client.errors import CallFailed, StoreRefused
from store.keys import GROUP, Keys
from store.streams import outbound
from store.streams.outbound import OutboundReader, RawEntry

Raw = list[tuple[bytes, dict[bytes, bytes] | None]]
CAUGHT_UP = ("caught up", True)
ENTRY: Raw = [(b"1-0", {b"command_id": b"c"})]


class Server:
    """Answers reads as it is told, and keeps what it is asked. The last answer ends the reader.

    Attributes:
        answers: what the next reads get: entries, or an error.
        cursors: from where each read began.
        taken: the entries that were handed over, and whether each was new; `CAUGHT_UP` in their midst.
        blocks: for each read whether it waited for entries.
        claims: how many reads there had been at each look at all that is pending.
    """

    def __init__(self, *answers: Raw | Exception, shared_for: float = 0.0) -> None:
        self.answers = list(answers)
        self.cursors: list[str] = []
        self.groups: list[dict[str, Any]] = []
        self.claims: list[int] = []
        self.acknowledged: list[bytes] = []
        self.taken: list[tuple[str, bool]] = []
        self.blocks: list[bool] = []
        self.errors: list[Exception] = []
        self.room = True
        self.reader = OutboundReader(
            cast(Any, self),
            Keys(),
            "gw-1",
            on_entries=self._take,
            may_read=self._may_read,
            on_error=self.errors.append,
            on_caught_up=lambda: self.taken.append(CAUGHT_UP),
            next_batch=self._next_batch,
            shared_for=lambda: shared_for,
        )

    def _take(self, entries: list[RawEntry], fresh: bool) -> None:
        self.taken += [(entry_id, fresh) for entry_id, _ in entries]

    def _may_read(self) -> bool:
        if not self.room:
            self.reader.stop()
        return self.room

    async def _next_batch(self, cursor: str, block: bool) -> Raw:
        self.cursors.append(cursor)
        self.blocks.append(block)
        answer = self.answers.pop(0) if self.answers else []
        if not self.answers:
            self.reader.stop()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def xgroup_create(self, stream: str, group: str, **given: Any) -> None:
        self.groups.append(given)

    async def xautoclaim(self, *_: Any, **given: Any) -> Any:
        self.claims.append(len(self.cursors))
        assert given["min_idle_time"] == 0
        return [b"0-0", []]

    async def xlen(self, stream: str) -> int:
        return 0

    async def xack(self, stream: str, group: str, *entries: bytes) -> None:
        assert group == GROUP
        self.acknowledged += entries


@pytest.fixture(autouse=True)
def immediate_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed read is retried at once."""
    monkeypatch.setattr(outbound, "_FIRST_BACKOFF", 0.001)


async def test_it_begins_with_what_is_pending_under_any_name() -> None:
    server = Server(ENTRY, [], ENTRY)
    await server.reader.run()
    assert server.cursors == ["0", "1-0", ">"]
    assert server.taken == [("1-0", False), ("1-0", True)]
    assert len(server.claims) == 1


async def test_it_has_caught_up_when_nothing_is_left_that_was_there_at_the_start() -> None:
    """An earlier process has read "3-0" just before the end was found; what comes later is not waited for."""
    page: Raw = [(f"2-{number}".encode(), {b"command_id": b"c"}) for number in range(outbound.COUNT)]
    stray, last, later = ([(entry_id, {b"command_id": b"c"})] for entry_id in (b"3-0", b"4-0", b"5-0"))
    server = Server(ENTRY, [], page, last, [*ENTRY, *page], [*stray, *last], [], later)
    await server.reader.run()
    new = [(entry_id.decode(), True) for entry_id, _ in page]
    assert server.taken[1:] == [
        *new,
        ("4-0", True),
        ("1-0", False),
        ("3-0", False),
        CAUGHT_UP,
        ("5-0", True),
    ]
    assert server.blocks == [False] * 7 + [True]


async def test_without_room_it_has_not_caught_up() -> None:
    server = Server([], ENTRY)
    server.room = False
    await server.reader.run()
    assert server.taken == []


@pytest.mark.parametrize("error", [CallFailed("reply lost"), StoreRefused("NOGROUP No such key")])
async def test_after_an_error_it_begins_anew(error: Exception) -> None:
    server = Server([], error, [], [])
    await server.reader.run()
    assert server.cursors == ["0", ">", "0", ">"]
    assert server.errors == [error]


async def test_a_group_reads_from_the_start_and_is_created_again() -> None:
    server = Server(StoreRefused("NOGROUP No such key"), [])
    await server.reader.run()
    assert server.groups == [{"id": "0", "mkstream": True}] * 2


async def test_a_connection_that_is_lost_makes_no_group() -> None:
    server = Server(CallFailed("refused"), [])
    await server.reader.run()
    assert len(server.groups) == 1


async def test_pending_entries_are_read_again_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "RECLAIM_EVERY", 0.0)
    server = Server([], [], [])
    await server.reader.run()
    assert len(server.claims) == 3


async def test_the_pending_list_is_read_less_and_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quiet: list[Raw | Exception] = [[]] * 100
    server = Server(*quiet, CallFailed("reply lost"), *quiet)

    async def pause(seconds: float) -> None:
        """There is no need to wait."""

    monkeypatch.setattr(server.reader, "_pause", pause)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: float(len(server.cursors)))
    await server.reader.run()
    looks = [number for number, cursor in enumerate(server.cursors) if cursor == "0"]
    catching_up = 3
    assert looks == [0, 1, catching_up, 4, 8, 16, 32, 101, 102, 104, 108, 116, 132]
    assert server.claims == [0, 30, 60, 90, 120, 150, 180]


async def test_the_pending_list_is_read_to_its_end_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pages: list[Raw | Exception] = [[(f"{number}-0".encode(), {b"command_id": b"c"})] for number in (1, 2, 3)]
    server = Server(*pages, [], [], [])
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: float(len(server.cursors)))
    await server.reader.run()
    assert server.cursors == ["0", "1-0", "2-0", "3-0", "0", ">"]


async def test_without_room_what_is_pending_is_read_and_nothing_new() -> None:
    server = Server(ENTRY, [], ENTRY)
    server.room = False
    await server.reader.run()
    assert server.cursors == ["0", "1-0"]
    assert server.taken == [("1-0", False)]


async def test_a_deleted_entry_is_acknowledged_and_not_delivered() -> None:
    server = Server([(b"1-0", None), (b"2-0", {}), (b"3-0", {b"command_id": b"c"})], [])
    await server.reader.run()
    assert server.acknowledged == [b"1-0", b"2-0"]
    assert server.taken == [("3-0", False)]


async def test_errors_in_a_row_are_followed_by_ever_longer_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    error = StoreRefused("NOGROUP No such key")
    server = Server(error, error, error, [], error, [])
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(server.reader, "_pause", pause)
    monkeypatch.setattr(outbound.random, "uniform", lambda low, high: high)
    await server.reader.run()
    assert pauses == [0.001, 0.002, 0.004, 0.001]


async def test_entries_of_a_replaced_process_come_first() -> None:
    """It took the second entry, between two of ours."""
    first, second, third = [[(f"{number}-0".encode(), {b"command_id": b"c"})] for number in (1, 2, 3)]
    server = Server([], first, first, [], third, [*second, *third], [], [], shared_for=30.0)
    await server.reader.run()
    assert server.cursors == ["0", ">", "0", "1-0", ">", "1-0", "3-0", ">"]
    assert server.taken == [("1-0", False), ("2-0", False), ("3-0", False)]


async def test_with_a_replaced_process_pending_is_read_each_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server(*[[]] * 20, shared_for=10.0)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: len(server.cursors) / 2)
    await server.reader.run()
    looks = [number / 2 for number, cursor in enumerate(server.cursors) if cursor == "0"]
    catching_up = 1.0
    assert looks == [0.0, catching_up, *(second + 0.5 for second in range(1, 10))]


async def test_a_process_that_was_replaced_takes_nothing_new() -> None:
    server = Server(ENTRY, [], ENTRY)

    async def owns() -> bool:
        server.reader.stop()
        return False

    server.reader._owns = owns
    await server.reader.run()
    assert server.cursors == ["0", "1-0"]
    assert server.taken == [("1-0", False)]


@pytest.mark.parametrize(
    ("room", "taken"),
    [
        (0, []),
        (1, ["pending"]),
        (3, ["pending", "pending", "pending"]),
        (8, ["pending"] * 4 + ["new"] * 2),
    ],
)
async def test_what_is_too_much_to_hold_is_left_to_the_next_start(
    fake_redis: Redis, room: int, taken: list[str]
) -> None:
    """Four are pending, and a producer writes without end."""
    handed_over: list[str] = []
    asked = 0

    async def next_batch(cursor: str, block: bool) -> Raw:
        nonlocal asked
        asked += 1
        assert asked < 100
        assert not block
        if cursor != ">" and int(cursor.partition("-")[0]) >= 4:
            return []
        return [(b"%d-0" % asked, {b"command_id": b"c"})]

    reader = OutboundReader(
        fake_redis,
        Keys(),
        "gw-1",
        on_entries=lambda entries, fresh: handed_over.extend("new" if fresh else "pending" for _ in entries),
        may_read=lambda: asked < room,
        on_error=lambda error: None,
        next_batch=next_batch,
    )
    await reader.sweep()
    assert handed_over[: len(taken)] == taken
    assert asked == room
