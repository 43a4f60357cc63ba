"""A command belongs to one entry of one instance: who is only half of that moves nothing."""

from __future__ import annotations

from typing import Any

import pytest

from fsm.moves import Discard, Entry, Open, Status, Step, Transfer
from fsm.reasons import INVALID_COMMAND
from store.keys import GROUP
from store.ledger import move_codec as spelling
from store.ledger.ledger import DEADLETTER_MAXLEN
from tests.redis.book import ANSWER, KEYS, US, Book
from tests.redis.fleet import Fleet, ignore


@pytest.mark.parametrize("half", ["the instance", "the entry"])
async def test_half_an_owner_moves_nothing(book: Book, half: str) -> None:
    case = await book.sent()
    owner = case.entry
    case.entry = Entry(US, "1-1") if half == "the instance" else Entry("gw-2", owner.outbound_id)
    assert await book.statuses(case.step("respond", answer=ANSWER)) == [Status.CONFLICT]
    assert await book.states() == ["queued", "sent"]
    assert await book.pending() == [owner.outbound_id]


@pytest.mark.parametrize("half", ["the instance", "the entry"])
async def test_half_an_owner_hands_nothing_over(book: Book, half: str) -> None:
    await book.client.set(KEYS.heartbeat("gw-3"), "1")
    case = await book.case()
    await book.statuses(case.open())
    case.entry = Entry(US, "1-1") if half == "the instance" else Entry("gw-2", case.entry.outbound_id)
    assert await book.statuses(case.transfer("gw-3")) == [Status.CONFLICT]
    assert await book.client.exists(KEYS.outbound("gw-3")) == 0


@pytest.mark.parametrize(("field", "value"), [("seq", "5"), ("state", "failed")])
async def test_a_command_is_not_handed_over_from_where_it_is_not(book: Book, field: str, value: str) -> None:
    await book.client.set(KEYS.heartbeat("gw-2"), "1")
    case = await book.case()
    await book.statuses(case.open())
    before = await book.row()
    await book.client.hset(KEYS.ledger("c-1"), field, value)
    assert await book.statuses(case.transfer("gw-2")) == [Status.CONFLICT]
    await book.client.hset(KEYS.ledger("c-1"), field, before[field])
    assert await book.client.exists(KEYS.outbound("gw-2")) == 0


async def test_what_was_handed_over_belongs_to_whom_it_was_handed_to(book: Book) -> None:
    await book.client.set(KEYS.heartbeat("gw-2"), "1")
    case = await book.case()
    await book.statuses(case.open(), case.transfer("gw-2"))
    assert await book.statuses(case.step("send", session_id="s-1")) == [Status.CONFLICT]
    [(entry_id, _)] = await book.client.xrange(KEYS.outbound("gw-2"))
    row = await book.row()
    assert (row["instance_id"], row["outbound_id"]) == ("gw-2", entry_id.decode())
    assert await book.pending() == []


async def test_a_hand_over_whose_reply_was_lost_is_made_once(book: Book) -> None:
    await book.client.set(KEYS.heartbeat("gw-2"), "1")
    case = await book.case()
    await book.statuses(case.open())
    moved = case.transfer("gw-2")
    assert [await book.statuses(moved) for _ in range(2)] == [[Status.OK], [Status.ALREADY]]
    assert await book.client.xlen(KEYS.outbound("gw-2")) == 1


async def test_nothing_is_moved_to_a_dead_instance(book: Book) -> None:
    case = await book.case()
    await book.statuses(case.open())
    assert await book.statuses(case.transfer("gw-2")) == [Status.HELD_ELSEWHERE]
    assert await book.client.exists(KEYS.outbound("gw-2")) == 0


async def test_a_sent_command_with_time_left_is_not_moved(fleet: Fleet) -> None:
    await fleet.accept("sent")
    await fleet.hold("living")
    await fleet.renew_heartbeat("living")
    await fleet.adoption().adopt()
    assert await fleet.client.exists(KEYS.outbound("living")) == 0
    assert await fleet.verdict() == (3, "failed", "instance_lost", "maybe_sent")


async def test_the_tokens_of_two_adopters_in_one_process_never_meet(fleet: Fleet) -> None:
    tokens: list[str] = []

    async def note(move: Any) -> None:
        if isinstance(move, Open | Step | Transfer):
            tokens.append(move.token)

    for _ in range(2):
        await fleet.accept(command_id=f"c{len(tokens)}")
        ledger = fleet.ledger("adopter", "dead")
        ledger.before = note
        await fleet.adoption(ledger=ledger).adopt()
    assert len(tokens) == len(set(tokens)) == 4
    assert not any(token.startswith("boot of ") for token in tokens)


async def test_dead_letters_are_capped(book: Book) -> None:
    """The server removes whole nodes of a stream, of a hundred entries each."""
    entries = [await book.entry("c-1") for _ in range(250)]
    book.ledger._header["maxlen"] = 100
    letters = [Discard(entry, ignore, error="bad") for entry in entries]
    assert set(await book.statuses(*letters)) == {Status.OK}
    assert await book.client.xlen(KEYS.deadletter) <= 200
    assert DEADLETTER_MAXLEN == 10_000
    assert (await book.client.xpending(KEYS.outbound(US), GROUP))["pending"] == 0


async def test_a_log_that_takes_nothing_leaves_everything_as_it_was(book: Book) -> None:
    case, kept = await book.sent(), KEYS.responses + ":kept"
    before = await book.row()
    await book.client.rename(KEYS.responses, kept)
    await book.client.set(KEYS.responses, "not a stream")
    assert await book.statuses(case.step("respond", answer=ANSWER)) == [Status.ERROR]
    assert await book.row() == before
    assert await book.pending() == [case.entry.outbound_id]
    await book.client.rename(kept, KEYS.responses)


async def test_an_event_whose_ledger_is_refused_has_not_happened(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = await book.case()
    opening = case.open()
    with monkeypatch.context() as patch:
        patch.setattr(spelling, "_ledger_fields", lambda move: ["a name without a value"])
        assert await book.statuses(opening) == [Status.ERROR]
    assert await book.log() == []
    assert await book.statuses(opening) == [Status.OK]


async def test_the_id_of_a_command_given_up_cannot_be_used_again(book: Book) -> None:
    case = await book.case()
    event = case.open("refuse", reason=INVALID_COMMAND).event
    assert await book.statuses(case.discard("unstorable", events=(event,))) == [Status.OK]
    again = await book.case()
    assert await book.statuses(again.open()) == [Status.DUPLICATE]
    assert await book.states() == ["failed"]
    assert await book.client.pttl(KEYS.ledger("c-1")) > 0


async def test_a_key_that_is_no_ledger_ends_its_command_and_stays(book: Book) -> None:
    await book.client.set(KEYS.ledger("c-1"), "not a ledger")
    case = await book.case()
    event = case.open("refuse", reason=INVALID_COMMAND).event
    given_up = case.discard("unstorable", events=(event,))
    assert [await book.statuses(given_up) for _ in range(2)] == [[Status.OK], [Status.ALREADY]]
    assert await book.client.get(KEYS.ledger("c-1")) == b"not a ledger"
    assert (await book.client.xlen(KEYS.deadletter), await book.pending()) == (1, [])
    await book.client.delete(KEYS.ledger("c-1"))
