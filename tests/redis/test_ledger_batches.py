"""What goes out in one call of the ledger, and what one move may cost the others of its call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from fsm.moves import Move, MoveResult, Status
from store.client.delays import Backoff
from store.client.errors import StoreRefused
from store.ledger.ledger import BATCH, BATCH_BYTES, Ledger, Read
from tests.redis.book import KEYS, Book

OK = Status.OK


class Calls:
    """The script, with what each call of it carried."""

    def __init__(self, ledger: Ledger) -> None:
        self._exchange = ledger._exchange
        self.sizes: list[int] = []
        self.acts: list[list[str]] = []
        ledger._exchange = self  # type: ignore[method-assign]

    async def __call__(self, keys: list[str], argument: bytes, read: Read) -> list[MoveResult]:
        self.sizes.append(len(argument))
        self.acts.append([move["act"] for move in msgspec.json.decode(argument)["moves"]])
        return await self._exchange(keys, argument, read)


async def test_huge_entries_do_not_delay_another_command(book: Book, spawn: Any) -> None:
    calls = Calls(book.ledger)
    junk = "x" * 100_000
    letters: list[Move] = []
    for _ in range(40):
        case = await book.case("letter")
        letters.append(case.discard("command_id: is missing", fields=(("junk", junk),)))
    good = await book.case("good")
    book.ledger.submit(*letters, good.open())
    spawn(book.ledger.run())
    assert await book.ledger.flush(20) == 0
    assert max(calls.sizes) < BATCH_BYTES + 10_000
    assert good.results[0].status is OK
    assert book.errors == []
    assert await book.pending() == [good.entry.outbound_id]


async def test_a_move_that_is_bigger_than_a_call_goes_out_alone(book: Book, spawn: Any) -> None:
    calls = Calls(book.ledger)
    first, huge, last = [await book.case(name) for name in ("first", "huge", "last")]
    letter = huge.discard("command_id: is missing", fields=(("junk", "x" * 2 * BATCH_BYTES),))
    book.ledger.submit(first.open(), letter, last.open())
    spawn(book.ledger.run())
    assert await book.ledger.flush(10) == 0
    assert calls.acts == [["open"], ["discard"], ["open"]]


async def test_a_begin_and_what_builds_on_it_are_never_parted(book: Book, spawn: Any) -> None:
    calls = Calls(book.ledger)
    cases = [await book.case(f"c-{number}") for number in range(BATCH)]
    moves: list[Move] = [case.open() for case in cases]
    moves.append(cases[-1].step("send", session_id="s-1"))
    other = await book.case("other")
    book.ledger.submit(*moves, other.open())
    spawn(book.ledger.run())
    assert await book.ledger.flush(10) == 0
    assert calls.acts == [["open"] * BATCH + ["step"], ["open"]]
    assert await book.states(f"c-{BATCH - 1}") == ["queued", "sent"]


async def test_a_failing_receiver_costs_no_other_its_result(book: Book, spawn: Any) -> None:
    cases = [await book.case(f"c-{number}") for number in range(3)]
    moves = [case.open() for case in cases]

    def fail(result: MoveResult) -> None:
        raise ValueError("a receiver with a bug")

    moves[1].done = fail
    task = spawn(book.ledger.run())
    book.ledger.submit(*moves)
    assert await book.ledger.flush(10) == 0
    assert [len(case.results) for case in cases] == [1, 0, 1]
    assert [str(error) for error in book.errors] == ["a receiver with a bug"]
    assert not task.done()


@pytest.fixture
async def full(client: Redis) -> AsyncIterator[Redis]:
    """A server that has no memory left when a test says so, and has it again at the end."""
    yield client
    await client.config_set("maxmemory", 0)


@pytest.mark.redis
async def test_what_builds_on_a_begin_that_found_no_memory_waits_with_it(
    full: Redis, spawn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = Book(full)
    case, probe = await book.case(), await book.case("probe")
    await full.config_set("maxmemory", 1)
    statuses = await book.ledger.execute(probe.open(), probe.step("send", session_id="s-1"))
    assert [result.status for result in statuses] == [Status.ERROR] * 2
    assert statuses[0].detail == statuses[1].detail
    monkeypatch.setattr(Backoff, "next", lambda _: 0.001)
    book.ledger.submit(case.open(), case.step("send", session_id="s-1"))
    spawn(book.ledger.run())
    for _ in range(6):  # more often than a move that cannot be stored is tried
        book.failed.clear()
        await book.failed.wait()
        assert case.results == []
    await full.config_set("maxmemory", 0)
    assert await book.ledger.flush(10) == 0
    assert await book.states() == ["queued", "sent"]
    assert [result.status for result in case.results] == [OK, OK]
    assert all(isinstance(error, StoreRefused) and "OOM" in str(error) for error in book.errors)
    await book.audit()


async def test_an_entry_that_is_given_up_ends_its_ledger(book: Book) -> None:
    case = await book.sent()
    verdict = case.step("fail", reason="internal_error").event
    assert await book.statuses(case.discard("internal_error", events=(verdict,))) == [OK]
    row = await book.row()
    assert (row["state"], row["seq"]) == ("failed", "3")
    assert 0 < await book.client.pttl(KEYS.ledger("c-1")) <= 7 * 86400 * 1000
    assert await book.pending() == []
