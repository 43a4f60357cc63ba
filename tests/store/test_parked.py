"""Parked commands whose time is over end, and nothing else does."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from fsm.command import CommandRequest
from fsm.events import CommandEvent, Note
from fsm.moves import ParkMove, Status
from store.fleet.parked import PAGE, ParkedExpiry
from tests.redis.book import IMEI, KEYS, Book, Case, ignore

NOW = 1_767_225_600_000
LATER = NOW + 60_000


class Parked:
    """Commands that are parked on an in-memory Redis, and a janitor that looks at a given time."""

    def __init__(self, client: Redis) -> None:
        self.client: Any = client
        self.book = Book(client)
        self.now_ms = NOW
        self.ended: list[CommandEvent] = []
        self.expiry = ParkedExpiry(
            client, KEYS, self.book.ledger, now_ms=lambda: self.now_ms, on_ended=self.ended.append
        )

    async def park(self, command_id: str = "c-1", **given: Any) -> Case:
        case = await self.book.case(command_id, **({"expires_at": LATER, "waits": True} | given))
        note = Note("parked", f"n-{command_id}", command_id, state="queued")
        move = ParkMove(note, case.entry, 1, case.request, ignore)
        assert await self.book.statuses(case.open(), move) == [Status.OK, Status.OK]
        return case

    async def awaited(self) -> dict[str, int]:
        found = await self.client.zrange(KEYS.parked_devices, 0, -1, withscores=True)
        return {imei.decode(): int(score) for imei, score in found}

    async def left(self, imei: str = IMEI) -> list[str]:
        found = await self.client.xrange(KEYS.parked(imei))
        return [fields[b"command_id"].decode() for _, fields in found]

    def verdicts(self) -> list[tuple[str, str, str]]:
        return [(event.command_id, event.state, event.reason) for event in self.ended]


@pytest.fixture
async def parked(fake_redis: Redis) -> Parked:
    return Parked(fake_redis)


async def test_a_parked_command_that_is_due_expires(parked: Parked) -> None:
    await parked.park()
    await parked.expiry.end_due()
    assert (parked.verdicts(), await parked.left()) == ([], ["c-1"])
    parked.now_ms = LATER
    await parked.expiry.end_due()
    await parked.expiry.end_due()
    assert parked.verdicts() == [("c-1", "timeout", "expired")]
    assert await parked.book.states() == ["queued", "timeout"]
    assert (await parked.book.log())[-1]["delivery"] == "not_sent"
    assert (await parked.awaited(), await parked.client.exists(KEYS.parked(IMEI))) == ({}, 0)
    assert await parked.client.pttl(KEYS.ledger("c-1")) > 0


async def test_what_has_time_left_stays_and_is_looked_at_in_time(parked: Parked) -> None:
    await parked.park("c-1")
    await parked.park("c-2", expires_at=LATER + 1000)
    parked.now_ms = LATER
    await parked.expiry.end_due()
    assert await parked.left() == ["c-2"]
    assert await parked.awaited() == {IMEI: LATER + 1000}


async def test_many_devices_are_handled_in_pages(parked: Parked) -> None:
    imeis = [f"{number:015d}" for number in range(2 * PAGE + 7)]
    for imei in imeis:
        await parked.park(f"c-{imei}", imei=imei)
    parked.now_ms = LATER
    await parked.expiry.end_due()
    assert len(parked.ended) == len(imeis)
    assert await parked.awaited() == {}


async def test_a_round_ends_about_so_many_and_says_whether_there_are_more(
    parked: Parked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.fleet.parked.ROUND", PAGE + 1)
    for number in range(2 * PAGE + 1):
        await parked.park(f"c-{number}", imei=f"{number:015d}")
    parked.now_ms = LATER
    assert await parked.expiry.end_due()
    assert (len(parked.ended), len(await parked.awaited())) == (2 * PAGE, 1)
    assert not await parked.expiry.end_due()
    assert await parked.awaited() == {}


async def test_a_command_without_its_ledger_expires_all_the_same(parked: Parked) -> None:
    await parked.park()
    await parked.client.delete(KEYS.ledger("c-1"))
    parked.now_ms = LATER
    await parked.expiry.end_due()
    [event] = [e for e in await parked.book.log() if e.get("state") == "timeout"]
    assert (event["reason"], event["recovered"], await parked.left()) == ("expired", "1", [])


async def test_of_a_command_that_has_ended_only_the_entry_is_removed(parked: Parked) -> None:
    case = await parked.park()
    await parked.client.hset(KEYS.ledger("c-1"), mapping={"state": "failed", "seq": "2"})
    before = await parked.book.log()
    parked.now_ms = LATER
    await parked.expiry.end_due()
    assert (await parked.book.log(), await parked.left(), parked.ended) == (before, [], [])
    assert isinstance(case.request, CommandRequest)


async def test_an_unreadable_entry_is_a_dead_letter_and_the_others_go_on(parked: Parked) -> None:
    await parked.park("c-1")
    await parked.client.xadd(KEYS.parked(IMEI), {"command_id": "c-2", "imei": IMEI, "payload": "\n"})
    parked.now_ms = LATER
    await parked.expiry.end_due()
    assert parked.verdicts() == [("c-1", "timeout", "expired")]
    assert (await parked.left(), await parked.awaited()) == ([], {})
    [(_, letter)] = await parked.client.xrange(KEYS.deadletter)
    assert letter[b"command_id"] == b"c-2"
    assert b"payload" not in letter


async def test_devices_whose_streams_are_of_another_type_stop_no_other(parked: Parked) -> None:
    await parked.park("c-1")
    for number in range(2 * PAGE + 1):
        await parked.client.set(KEYS.parked(f"{number:015d}"), "x")
        await parked.client.zadd(KEYS.parked_devices, {f"{number:015d}": NOW - 1})
    parked.now_ms = LATER
    assert not await parked.expiry.end_due()
    assert parked.verdicts() == [("c-1", "timeout", "expired")]
