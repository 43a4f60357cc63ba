"""The ledger's queue while Redis fails: which moves wait, what is reported, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import fakeredis
import pytest
from redis.asyncio import Redis

from fsm.moves import MoveResult, Status
from store.client.errors import NotOwnerYet
from store.ledger.ledger import TRIES, Ledger, Read
from tests.redis.book import KEYS, Book, Case

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
NOW = 1_767_225_600_000
REFUSED = [b"ERROR", b"", 0, b"", 0, b"", b"WRONGTYPE", b"", 0, b""]
OUT_OF_MEMORY = b"OOM command not allowed when used memory > 'maxmemory'."
NO_MEMORY = [b"ERROR", b"", 0, b"", 0, b"", OUT_OF_MEMORY, b"", 0, b""]


class LedgerRig:
    """A ledger on an in-memory Redis, with its results and errors."""

    def __init__(self, client: Redis) -> None:
        self.book = Book(client)
        self.owns = True
        self.fenced = 0
        self.errors: list[Exception] = []
        self.results: list[MoveResult] = []
        self.reported = asyncio.Event()
        self.ledger = Ledger(
            client,
            KEYS,
            "gw-1",
            "boot-1",
            retention=60.0,
            on_error=self._on_error,
            on_fenced=self._on_fenced,
            owns=lambda: self.owns,
        )

    def _on_error(self, error: Exception) -> None:
        self.errors.append(error)
        self.reported.set()

    def _on_fenced(self) -> None:
        self.fenced += 1

    def _done(self, result: MoveResult) -> None:
        self.results.append(result)
        self.reported.set()

    async def submit(self, command_id: str = "c-1") -> Case:
        """Queue the first move of a new command."""
        case = await self.book.case(command_id)
        opened = case.open()
        opened.done = self._done
        self.ledger.submit(opened)
        return case

    async def next(self) -> None:
        """Wait for the next error or result."""
        await self.reported.wait()
        self.reported.clear()


class Refusing:
    """Calls of the script, which refuse their moves so often before they make them."""

    def __init__(self, ledger: Ledger, *rows: list[Any]) -> None:
        self.left = 0
        self._rows = list(rows) or [REFUSED]
        self._exchange = ledger._exchange
        ledger._exchange = self  # type: ignore[method-assign]

    async def __call__(self, keys: list[str], argument: bytes, read: Read) -> list[MoveResult]:
        self.left -= 1
        return read((NOW, self._rows)) if self.left >= 0 else await self._exchange(keys, argument, read)


@pytest.fixture
async def rig(fake_redis: Redis) -> LedgerRig:
    return LedgerRig(fake_redis)


async def test_a_replaced_process_is_fenced_and_makes_no_move(rig: LedgerRig, spawn: Spawn) -> None:
    await rig.book.client.set(KEYS.boot("gw-1"), "another")
    await rig.submit()
    task = spawn(rig.ledger.run())
    await rig.next()
    assert (rig.fenced, [result.status for result in rig.results]) == (1, [Status.FENCED])
    await task
    assert await rig.book.log() == []


async def test_before_the_takeover_an_earlier_owner_is_waited_out(rig: LedgerRig, spawn: Spawn) -> None:
    rig.owns = False
    await rig.book.client.set(KEYS.boot("gw-1"), "earlier")
    await rig.submit()
    spawn(rig.ledger.run())
    await rig.next()
    assert [type(error) for error in rig.errors] == [NotOwnerYet]
    assert (rig.fenced, rig.results, rig.ledger.depth) == (0, [], 1)
    rig.owns = True
    await rig.book.client.set(KEYS.boot("gw-1"), "boot-1")
    assert await rig.ledger.flush(10) == 0
    assert [result.status for result in rig.results] == [Status.OK]


async def test_a_refusal_from_before_the_takeover_is_no_fence(
    rig: LedgerRig, spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.owns = False
    await rig.book.client.set(KEYS.boot("gw-1"), "earlier")
    exchange = rig.ledger._exchange

    async def slow(keys: list[str], argument: bytes, read: Read) -> list[MoveResult]:
        results = await exchange(keys, argument, read)
        await rig.book.client.set(KEYS.boot("gw-1"), "boot-1")
        rig.owns = True
        return results

    monkeypatch.setattr(rig.ledger, "_exchange", slow)
    await rig.submit()
    spawn(rig.ledger.run())
    assert await rig.ledger.flush(10) == 0
    assert (rig.fenced, [result.status for result in rig.results]) == (0, [Status.OK])


async def test_without_memory_moves_wait_and_nothing_new_is_read(rig: LedgerRig, spawn: Spawn) -> None:
    Refusing(rig.ledger, NO_MEMORY).left = 1
    await rig.submit()
    spawn(rig.ledger.run())
    await rig.next()
    assert (rig.results, rig.ledger.depth, rig.ledger.healthy) == ([], 1, False)
    assert await rig.ledger.flush(10) == 0
    assert ([result.status for result in rig.results], rig.ledger.healthy) == ([Status.OK], True)


async def test_a_failing_receiver_costs_no_other_its_result(rig: LedgerRig, spawn: Spawn) -> None:
    failing = (await rig.book.case("failing")).open()
    failing.done = lambda result: {}[result.status]
    rig.ledger.submit(failing)
    await rig.submit()
    task = spawn(rig.ledger.run())
    await asyncio.wait({task, asyncio.ensure_future(rig.ledger.flush(10))}, return_when="FIRST_COMPLETED")
    assert not task.done()
    assert [result.status for result in rig.results] == [Status.OK]
    assert [type(error) for error in rig.errors] == [KeyError]


async def test_a_move_waits_for_redis_and_is_made_then(
    rig: LedgerRig, fake_server: fakeredis.FakeServer, spawn: Spawn
) -> None:
    await rig.submit()
    fake_server.connected = False
    spawn(rig.ledger.run())
    await rig.next()
    assert (rig.results, rig.ledger.depth, rig.ledger.healthy) == ([], 1, False)
    fake_server.connected = True
    assert await rig.ledger.flush(10) == 0
    assert [result.status for result in rig.results] == [Status.OK]


async def test_moves_refused_together_are_made_in_order(rig: LedgerRig, spawn: Spawn) -> None:
    Refusing(rig.ledger, NO_MEMORY, NO_MEMORY, NO_MEMORY).left = 1
    for command_id in ("c-1", "c-2", "c-3"):
        await rig.submit(command_id)
    spawn(rig.ledger.run())
    assert await rig.ledger.flush(10) == 0
    assert [entry["command_id"] for entry in await rig.book.log()] == ["c-1", "c-2", "c-3"]


def leave(_: MoveResult) -> None:
    """An error that is no `Exception`, so that the ledger does not catch it."""
    raise KeyboardInterrupt


async def test_moves_behind_an_unexpected_error_are_made_again(rig: LedgerRig, spawn: Spawn) -> None:
    failing = (await rig.book.case("failing")).open()
    failing.done = leave
    rig.ledger.submit(failing)
    await rig.submit()
    with pytest.raises(KeyboardInterrupt):
        await rig.ledger.run()
    assert rig.ledger.depth == 1
    spawn(rig.ledger.run())
    assert await rig.ledger.flush(10) == 0
    assert [result.status for result in rig.results] == [Status.REDELIVERED]


@pytest.mark.parametrize(("times", "status"), [(TRIES - 1, Status.OK), (TRIES, Status.ERROR)])
async def test_the_tries_of_a_move_are_forgotten_with_it(
    rig: LedgerRig, spawn: Spawn, monkeypatch: pytest.MonkeyPatch, times: int, status: Status
) -> None:
    """A later move that has its place in memory has as many as any other."""
    monkeypatch.setattr("store.ledger.ledger._RETRY_DELAYS", (0.0,))
    script = Refusing(rig.ledger)
    move = (await rig.book.case()).open()
    move.done = rig.results.append
    spawn(rig.ledger.run())
    for script.left in (times, TRIES - 1):
        rig.ledger.submit(move)
        assert await rig.ledger.flush(20) == 0
    then = Status.REDELIVERED if status is Status.OK else Status.OK
    assert [result.status for result in rig.results] == [status, then]


async def test_a_move_that_was_refused_is_not_tried_again_at_once(
    rig: LedgerRig, spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.ledger.ledger._RETRY_DELAYS", (3600.0,))
    Refusing(rig.ledger).left = 1
    await rig.submit()
    spawn(rig.ledger.run())
    assert (await rig.ledger.flush(0.05), rig.results) == (1, [])
