"""The queue in front of Redis: what is sent when, what waits again, and how it stops."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from store.client.batch_queue import BatchQueue
from store.client.delays import Backoff
from store.client.errors import CallFailed
from store.client.fifo import Fifo

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
Outcome = Callable[[deque[str]], Exception | None]
TIME_LIMIT = 20.0
COUNT = 3
"""Items of a batch."""


def done(batch: deque[str]) -> None:
    """The batch is carried out."""
    batch.clear()


def lost(batch: deque[str]) -> None:
    """The call fails; what became of the batch is not known."""
    raise CallFailed


def bug(batch: deque[str]) -> None:
    raise ZeroDivisionError


def first_only(batch: deque[str]) -> None:
    """The first item is finished; the others can be sent at once."""
    batch.popleft()


def refused(batch: deque[str]) -> Exception:
    """The first item is finished, and the second refused."""
    batch.popleft()
    return CallFailed("refused")


class Delays(Backoff):
    """Delays that are noted and take no time."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[str] = []

    async def wait(self, stop: asyncio.Event) -> None:
        self.noted.append("delay")
        await asyncio.sleep(0)

    def reset(self) -> None:
        self.noted.append("reset")


class Server:
    """A queue, and what each of its calls ends in; a call that nothing is said of is carried out."""

    def __init__(self, *outcomes: Outcome, **given: Any) -> None:
        self.outcomes = list(outcomes)
        self.calls: list[str] = []
        self.errors: list[tuple[Exception, bool, int]] = []
        self.delays = Delays()
        self.called = asyncio.Event()
        self.failed = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()
        self.queue: BatchQueue[str] = BatchQueue(
            Fifo(COUNT), self._send, on_error=self._on_error, **{"backoff": self.delays, **given}
        )

    async def _send(self, batch: deque[str]) -> Exception | None:
        self.calls.append("".join(batch))
        self.called.set()
        await self.answers.wait()
        return (self.outcomes.pop(0) if self.outcomes else done)(batch)

    def _on_error(self, error: Exception) -> None:
        self.errors.append((error, self.queue.healthy, self.queue.depth))
        self.failed.set()

    def put(self, items: str) -> None:
        for item in items:
            self.queue.put(item)

    async def hang(self, spawn: Spawn) -> asyncio.Task[None]:
        """Run the queue up to a call that does not come back until `answers` is set."""
        self.answers.clear()
        self.called.clear()
        task = spawn(self.queue.run())
        await in_time(self.called.wait())
        return task

    async def sent(self, spawn: Spawn) -> list[str]:
        """What each call carried, once everything is finished."""
        spawn(self.queue.run())
        assert await in_time(self.queue.flush(60)) == 0
        return self.calls


async def in_time(work: Coroutine[Any, Any, Any]) -> Any:
    async with asyncio.timeout(TIME_LIMIT):
        return await work


# Batches


async def test_items_are_sent_in_order_in_batches(spawn: Spawn) -> None:
    server = Server()
    server.put("abcdefg")
    assert await server.sent(spawn) == ["abc", "def", "g"]


async def test_one_batch_is_in_flight_and_later_items_are_the_next(spawn: Spawn) -> None:
    server = Server()
    server.put("a")
    await server.hang(spawn)
    server.put("bc")
    assert (server.calls, list(server.queue), server.queue.depth) == (["a"], ["a", "b", "c"], 3)
    server.answers.set()
    assert await in_time(server.queue.flush(60)) == 0
    assert server.calls == ["a", "bc"]


async def test_an_item_wakes_a_queue_that_rests(spawn: Spawn) -> None:
    server = Server()
    spawn(server.queue.run())
    for item in "abc":
        await asyncio.sleep(0)
        server.put(item)
        assert await in_time(server.queue.flush(60)) == 0
    assert server.calls == ["a", "b", "c"]


# Calls that fail


async def test_a_batch_of_unknown_outcome_is_sent_again_first(spawn: Spawn) -> None:
    server = Server(lost)
    server.put("abcd")
    assert await server.sent(spawn) == ["abc", "abc", "d"]


async def test_what_is_left_of_a_batch_comes_before_what_has_come_since(spawn: Spawn) -> None:
    server = Server(refused)
    server.put("abc")
    await server.hang(spawn)
    server.put("d")
    server.answers.set()
    assert await in_time(server.queue.flush(60)) == 0
    assert server.calls == ["abc", "bcd"]


@pytest.mark.parametrize(("outcome", "left"), [(lost, 3), (refused, 2)])
async def test_an_error_is_told_once_its_items_wait_again(spawn: Spawn, outcome: Outcome, left: int) -> None:
    server = Server(outcome)
    server.put("abc")
    await server.sent(spawn)
    [(error, healthy, depth)] = server.errors
    assert (type(error), healthy, depth) == (CallFailed, False, left)
    assert server.queue.healthy


async def test_a_delay_follows_each_call_that_fails_until_one_succeeds(spawn: Spawn) -> None:
    server = Server(lost, refused, lost)
    server.put("ab")
    await server.sent(spawn)
    await asyncio.sleep(0)
    assert server.delays.noted == ["delay", "delay", "delay", "reset"]


async def test_what_is_left_without_an_error_is_sent_at_once(spawn: Spawn) -> None:
    server = Server(lost, first_only)
    server.put("ab")
    assert await server.sent(spawn) == ["ab", "ab", "b"]
    await asyncio.sleep(0)
    assert server.delays.noted == ["delay", "reset"]


async def test_an_unexpected_error_ends_the_task_and_loses_nothing(spawn: Spawn) -> None:
    server = Server(bug)
    server.put("abcd")
    with pytest.raises(ZeroDivisionError):
        await in_time(server.queue.run())
    assert await server.sent(spawn) == ["abc", "abc", "d"]


async def test_a_batch_that_could_not_be_put_back_is_sent_first(
    spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(lost)
    server.put("abcd")
    with monkeypatch.context() as broken:
        broken.setattr(Fifo, "put_back", lambda *_: bug(deque()))
        with pytest.raises(ZeroDivisionError):
            await in_time(server.queue.run())
    assert await server.sent(spawn) == ["abc", "abc", "d"]


async def test_a_cancelled_call_loses_nothing(spawn: Spawn) -> None:
    server = Server()
    server.put("ab")
    task = await server.hang(spawn)
    task.cancel()
    await asyncio.wait({task})
    assert list(server.queue) == ["a", "b"]
    server.answers.set()
    assert await server.sent(spawn) == ["ab", "ab"]


# Items that leave, or come later


async def test_what_is_taken_out_of_the_queue_is_not_sent_again(spawn: Spawn) -> None:
    cleared: list[str] = []
    server = Server(lambda _: cleared.extend(server.queue.clear()))
    server.put("abc")
    await server.hang(spawn)
    server.put("d")
    server.answers.set()
    assert await in_time(server.queue.flush(60)) == 0
    assert (cleared, server.calls, server.queue.depth) == (["a", "b", "c", "d"], ["abc"], 0)


async def test_an_item_is_removed_unless_it_is_in_flight(spawn: Spawn) -> None:
    server = Server()
    server.put("abcd")
    await server.hang(spawn)
    assert [server.queue.remove(item) for item in "ad"] == [False, True]
    server.answers.set()
    assert await in_time(server.queue.flush(60)) == 0
    assert server.calls == ["abc"]


async def test_nobody_waits_for_what_was_removed() -> None:
    server = Server()
    server.put("a")
    waiting = asyncio.ensure_future(server.queue.flush(60))
    await asyncio.sleep(0)
    server.queue.remove("a")
    assert await in_time(asyncio.wait_for(waiting, None)) == 0


async def test_a_delayed_item_is_not_finished_and_sent_in_the_end(spawn: Spawn) -> None:
    server = Server()
    server.queue.put_later(["a", "b"], 3600.0)
    assert (await server.queue.flush(0), server.queue.depth) == (2, 2)
    server.queue.put_later(["c"], 0.0)
    server.put("d")
    spawn(server.queue.run())
    assert await server.queue.flush(0.05) == 2
    assert server.calls == ["d", "c"]


# Stopping, and waiting for the end


async def test_a_flush_waits_so_long_and_says_what_is_left() -> None:
    server = Server()
    server.put("ab")
    assert await in_time(server.queue.flush(0.01)) == 2


async def test_a_flush_of_a_queue_that_is_empty_does_not_wait() -> None:
    assert await in_time(Server().queue.flush(3600)) == 0


async def test_a_queue_that_rests_stops_at_once(spawn: Spawn) -> None:
    server = Server()
    task = spawn(server.queue.run())
    await asyncio.sleep(0)
    server.queue.stop()
    await in_time(asyncio.wait_for(task, None))


async def test_a_queue_stops_after_the_batch_in_flight(spawn: Spawn) -> None:
    server = Server()
    server.put("abcd")
    task = await server.hang(spawn)
    server.queue.stop()
    server.answers.set()
    await in_time(asyncio.wait_for(task, None))
    assert (server.calls, list(server.queue)) == (["abc"], ["d"])


async def test_a_stop_ends_the_delay_after_a_call_that_failed(spawn: Spawn) -> None:
    server = Server(lost, backoff=Backoff(3600.0, 3600.0))
    server.put("a")
    task = spawn(server.queue.run())
    await in_time(server.failed.wait())
    server.queue.stop()
    await in_time(asyncio.wait_for(task, None))
    assert list(server.queue) == ["a"]


async def test_a_queue_that_finishes_sends_what_waits_after_a_stop() -> None:
    server = Server(finishes=True)
    server.put("abcd")
    server.queue.stop()
    await in_time(server.queue.run())
    assert server.calls == ["abc", "d"]


async def test_a_queue_that_finishes_ends_with_a_call_that_fails() -> None:
    server = Server(done, lost, finishes=True)
    server.put("abcd")
    await in_time(server.queue.finish(60))
    assert (server.calls, list(server.queue), server.delays.noted) == (["abc", "d"], ["d"], ["reset"])


async def test_a_finish_waits_only_so_long_for_a_call_that_hangs() -> None:
    server = Server(finishes=True)
    server.put("ab")
    server.answers.clear()
    await in_time(server.queue.finish(0.01))
    assert list(server.queue) == ["a", "b"]


async def test_a_second_run_waits_for_the_end_of_the_first(spawn: Spawn) -> None:
    server = Server(finishes=True)
    server.put("a")
    await server.hang(spawn)
    finished = asyncio.ensure_future(server.queue.finish(60))
    await asyncio.sleep(0)
    assert not finished.done()
    server.answers.set()
    await in_time(asyncio.wait_for(finished, None))
    assert (server.calls, server.queue.depth) == (["a"], 0)
