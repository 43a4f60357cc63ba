"""The queue in front of the script: batches, order, lost replies, and servers that refuse."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from redis.asyncio import Redis

from fsm.events import Note
from fsm.moves import Move, MoveResult, ParkMove, Status
from store.client.errors import CallFailed, StoreRefused
from store.ledger import ledger as ledgers
from store.ledger.ledger import BATCH, TRIES, Ledger, Read
from tests.redis.book import ANSWER, IMEI, KEYS, Book, ignore

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
OK = Status.OK


@pytest.fixture(autouse=True)
def immediate_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moves that failed are tried again at once."""
    monkeypatch.setattr(ledgers, "_RETRY_DELAYS", (0.001,) * 4)


class Flaky:
    """A script whose calls can fail before they are made, or after they took effect."""

    def __init__(self, ledger: Ledger) -> None:
        self._exchange = ledger._exchange
        self.faults: list[str] = []
        self.calls: list[int] = []
        ledger._exchange = self  # type: ignore[method-assign]

    async def __call__(self, keys: list[str], argument: bytes, read: Read) -> list[MoveResult]:
        self.calls.append(sum(key.startswith(KEYS.ledger("")) for key in keys))
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "refused":
            raise CallFailed("refused")
        results = await self._exchange(keys, argument, read)
        if fault == "reply lost":
            raise CallFailed("closed by server")
        return results


# Order and batches


async def test_moves_of_many_commands_go_out_a_hundred_a_call(book: Book, spawn: Spawn) -> None:
    script = Flaky(book.ledger)
    cases = [await book.case(f"c-{number}") for number in range(250)]
    book.ledger.submit(*(case.open() for case in cases))
    assert book.ledger.depth == 250
    spawn(book.ledger.run())
    assert await book.ledger.flush(10) == 0
    assert script.calls == [BATCH, BATCH, 50]
    assert all(case.results[0].status is OK for case in cases)
    assert [e["command_id"] for e in await book.log()] == [f"c-{number}" for number in range(250)]


async def test_moves_of_one_command_share_its_key(book: Book, spawn: Spawn) -> None:
    script = Flaky(book.ledger)
    case = await book.case()
    book.ledger.submit(case.open(), case.step("send", session_id="s-1"))
    spawn(book.ledger.run())
    assert await book.ledger.flush(10) == 0
    assert script.calls == [1]
    assert [result.status for result in case.results] == [OK, OK]


async def test_a_duplicate_in_the_queue_is_noted_and_removed(book: Book, spawn: Spawn) -> None:
    first = await book.sent()
    second = await book.case()
    book.ledger.submit(second.open())
    spawn(book.ledger.run())
    assert await book.ledger.flush(10) == 0
    assert [result.status for result in second.results] == [Status.DUPLICATE]
    [note] = [entry for entry in await book.log() if entry["kind"] == "note"]
    assert (note["note"], note["outbound_id"]) == ("duplicate_ignored", second.entry.outbound_id)
    assert note["requested_by"] == "me"
    assert await book.pending() == [first.entry.outbound_id]


async def test_what_a_result_leads_to_goes_out_next(book: Book, spawn: Spawn) -> None:
    case = await book.case()
    opened = case.open()
    sent = case.step("send", session_id="s-1")
    opened.done = lambda result: book.ledger.submit(sent)
    book.ledger.submit(opened)
    spawn(book.ledger.run())
    assert await book.ledger.flush(10) == 0
    assert await book.states() == ["queued", "sent"]


async def test_it_waits_for_work_and_stops(book: Book, spawn: Spawn) -> None:
    task = spawn(book.ledger.run())
    await asyncio.sleep(0)
    case = await book.case()
    book.ledger.submit(case.open())
    assert await book.ledger.flush(10) == 0
    book.ledger.stop()
    await task


async def test_a_flush_returns_the_number_of_moves_left(book: Book) -> None:
    book.ledger.submit((await book.case()).open())
    assert await book.ledger.flush(0.001) == 1


# Lost and refused calls


@pytest.mark.parametrize("fault", ["refused", "reply lost"])
async def test_a_call_that_failed_is_made_again_with_one_effect(book: Book, spawn: Spawn, fault: str) -> None:
    script = Flaky(book.ledger)
    script.faults = [fault] * 3
    case, other = await book.case(), await book.case("c-2")
    book.ledger.submit(case.open(), case.step("send", session_id="s-1"), other.open())
    spawn(book.ledger.run())
    assert await book.ledger.flush(10) == 0
    assert await book.states() == ["queued", "sent"]
    assert await book.states("c-2") == ["queued"]
    applied = {"refused": [OK, OK], "reply lost": [Status.REDELIVERED, Status.ALREADY]}[fault]
    assert [result.status for result in case.results] == applied
    assert [str(error) for error in book.errors] == [str(error) for error in book.errors[:1]] * 3


async def test_it_is_healthy_but_for_the_time_of_trouble(book: Book, spawn: Spawn) -> None:
    script = Flaky(book.ledger)
    script.faults = ["refused"]
    book.ledger.submit((await book.case()).open())
    spawn(book.ledger.run())
    await book.failed.wait()
    assert not book.ledger.healthy
    assert await book.ledger.flush(10) == 0
    assert book.ledger.healthy


async def test_a_fenced_ledger_stops_and_reports_it(book: Book, spawn: Spawn) -> None:
    await book.client.set(KEYS.boot("gw-1"), "another")
    cases = [await book.case(f"c-{number}") for number in range(3)]
    book.ledger.submit(*(case.open() for case in cases))
    await spawn(book.ledger.run())
    assert [case.results[0].status for case in cases] == [Status.FENCED] * 3
    assert book.fenced == 1


# One command that cannot be stored


async def test_an_unstorable_command_is_tried_five_times(book: Book, spawn: Spawn) -> None:
    await book.client.set(KEYS.ledger("bad"), "not a hash")
    bad, good = await book.case("bad"), await book.case("good")
    tries: list[MoveResult] = []
    opened = bad.open()
    opened.done = tries.append
    book.ledger.submit(opened, good.open())
    spawn(book.ledger.run())
    assert await book.ledger.flush(10) == 0
    [result] = tries
    assert result.status is Status.ERROR
    assert "WRONGTYPE" in result.detail
    assert good.results[0].status is OK
    assert len(book.errors) == TRIES
    assert all(isinstance(error, StoreRefused) for error in book.errors)
    assert await book.states("good") == ["queued"]


async def test_an_unstorable_dead_letter_delays_no_other_move(book: Book) -> None:
    await book.client.set(KEYS.deadletter, "not a stream")
    junk, good = await book.case("junk"), await book.case("good")
    letter = junk.discard("command_id: is missing", fields=(("junk", "1"),))
    assert await book.statuses(letter, good.open()) == [Status.ERROR, OK]
    assert junk.entry.outbound_id in await book.pending(), "it is tried again when it is read again"


async def test_a_command_that_becomes_storable_is_stored(book: Book, spawn: Spawn) -> None:
    await book.client.set(KEYS.ledger("c-1"), "not a hash")
    case = await book.case()
    book.ledger.submit(case.open(), case.step("send", session_id="s-1"))
    spawn(book.ledger.run())
    await book.failed.wait()
    await book.client.delete(KEYS.ledger("c-1"))
    assert await book.ledger.flush(10) == 0
    assert await book.states() == ["queued", "sent"]


# Servers


@pytest.mark.redis
async def test_scripts_are_loaded_again_after_a_script_flush(client: Redis, spawn: Spawn) -> None:
    book = Book(client)
    spawn(book.ledger.run())
    case = await book.case()
    for move in (case.open(), case.step("send", session_id="s-1"), case.step("respond", answer=ANSWER)):
        await client.script_flush()
        book.ledger.submit(move)
        assert await book.ledger.flush(10) == 0
    assert await book.states() == ["queued", "sent", "responded"]
    assert book.errors == []


@pytest.mark.redis
async def test_without_memory_whole_moves_are_refused_and_repeated(client: Redis, spawn: Spawn) -> None:
    book = Book(client)
    begun, sent, asked = await book.case("begun"), await book.sent("sent"), await book.case("asked")
    await book.statuses(begun.open())
    before = [await book.row(name) for name in ("begun", "sent", "asked")], await book.log()
    await client.config_set("maxmemory", 1)
    moves: list[Move] = [
        begun.step("send", session_id="s-2"),
        sent.step("respond", answer=ANSWER),
        asked.open(),
    ]
    book.ledger.submit(*moves)
    spawn(book.ledger.run())
    await book.failed.wait()
    assert ([await book.row(name) for name in ("begun", "sent", "asked")], await book.log()) == before
    assert len(await book.pending()) == 3
    assert (asked.results, book.ledger.healthy, book.ledger.depth) == ([], False, 3)
    await client.config_set("maxmemory", 0)
    assert await book.ledger.flush(10) == 0
    assert await book.states("begun") == ["queued", "sent"]
    assert await book.states("sent") == ["queued", "sent", "responded"]
    assert await book.states("asked") == ["queued"]
    assert await book.pending() == [begun.entry.outbound_id, asked.entry.outbound_id]
    await book.audit()


@pytest.mark.redis
async def test_a_server_without_memory_is_named_as_what_it_is(client: Redis) -> None:
    await client.config_set("maxmemory", 1)
    with pytest.raises(StoreRefused):
        await client.xadd("stream", {"a": "b"})
    book = Book(client)
    await client.config_set("maxmemory", 0)
    case = await book.case()
    await client.config_set("maxmemory", 1)
    [result] = await book.ledger.execute(case.open())
    await client.config_set("maxmemory", 0)
    assert result.status is Status.ERROR
    assert "OOM" in result.detail


async def test_a_parked_command_takes_little_memory(client: Redis) -> None:
    """A stream with one entry would take 4 KiB."""
    book = Book(client)
    case = await book.case(waits=True)
    note = Note("parked", "n-1", "c-1", state="queued")
    await book.statuses(case.open(), ParkMove(note, case.entry, 1, case.request, ignore))
    assert 100 < await book.client.memory_usage(KEYS.parked(IMEI)) < 1500
    assert await book.client.keys(f"{KEYS.parked('')}*") == [KEYS.parked(IMEI).encode()]
