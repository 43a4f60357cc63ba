"""Commands that were given up: what is kept of them, and how they are put back."""

from __future__ import annotations

from typing import Any

import pytest

from fsm.dead_letters import give_up, requeued_id
from fsm.moves import Status
from fsm.redelivery import events_of_refused
from store.keys import Keys
from store.ledger.ledger import KEPT_FOR, KEPT_MAXLEN, Ledger
from store.streams.dead_letters import DeadLetters, Requeue
from tests.redis.book import IMEI, KEYS, US, Book, Case, ignore

NEW = requeued_id("c-1")


async def given_up(book: Book, *, ledger: Ledger | None = None, **given: Any) -> Case:
    """A command that was given up, because Redis refused its ledger."""
    case = await book.case(**given)
    events = events_of_refused(case.command, case.request, None)
    letter = give_up(case.request, case.entry, events, ignore)
    assert await book.statuses(letter, ledger=ledger) == [Status.OK]
    return case


async def letter_ids(book: Book) -> list[str]:
    return [entry_id.decode() for entry_id, _ in await book.client.xrange(KEYS.deadletter)]


async def hold(book: Book, instance: str) -> None:
    """A living instance holds the device of the command."""
    await book.client.hset(KEYS.registry, IMEI, instance)
    await book.client.set(KEYS.heartbeat(instance), "1")


async def requeued(book: Book, instance: str) -> list[dict[bytes, bytes]]:
    """The entries on the stream of an instance."""
    return [fields for _, fields in await book.client.xrange(KEYS.outbound(instance))]


@pytest.fixture
def letters(book: Book) -> DeadLetters:
    """The dead letters of the fleet."""
    return DeadLetters(book.client, KEYS)


async def test_an_entry_is_kept_apart_for_a_day(book: Book) -> None:
    await given_up(book)
    [(_, letter)] = await book.client.xrange(KEYS.deadletter)
    [(kept_id, kept)] = await book.client.xrange(KEYS.kept)
    assert (letter[b"kept_id"], letter[b"delivery"]) == (kept_id, b"not_sent")
    assert b"getver" not in letter.values()
    assert kept[b"payload"] == b"getver"
    assert b"command_id" not in kept
    left = await book.client.pttl(KEYS.kept)
    assert 0 < left <= KEPT_FOR * 1000
    seconds, _ = await book.client.time()
    assert abs(int(letter[b"kept_until"]) - (seconds + KEPT_FOR) * 1000) < 60_000


async def test_an_entry_is_kept_no_longer_than_its_letter(book: Book) -> None:
    short = Ledger(book.client, KEYS, US, "boot-1", retention=60.0, on_error=ignore, on_fenced=lambda: None)
    await given_up(book, ledger=short)
    assert 0 < await book.client.pttl(KEYS.kept) <= 60_000


async def test_kept_entries_are_removed_in_time_and_capped(book: Book) -> None:
    await book.client.xadd(KEYS.kept, {"payload": "old"}, id="1-0")
    await given_up(book, command_id="a")
    assert await book.client.xlen(KEYS.kept) == 1
    book.ledger._header["kept_maxlen"] = 2
    for command_id in ("b", "c"):
        await given_up(book, command_id=command_id)
    retries = [fields[b"retry_of"] for _, fields in await book.client.xrange(KEYS.kept)]
    assert retries == [b"b", b"c"]
    assert KEPT_MAXLEN == 1_000


async def test_a_letter_is_written_also_where_nothing_can_be_kept(book: Book, letters: DeadLetters) -> None:
    await book.client.set(KEYS.kept, "not a stream")
    await given_up(book)
    [letter_id] = await letter_ids(book)
    assert (await letters.requeue(letter_id)).result is Requeue.NOT_KEPT
    assert await letter_ids(book) == [letter_id]


async def test_nothing_is_kept_without_its_letter(book: Book) -> None:
    case = await book.case()
    await book.client.set(KEYS.deadletter, "not a stream")
    events = events_of_refused(case.command, case.request, None)
    assert await book.statuses(give_up(case.request, case.entry, events, ignore)) == [Status.ERROR]
    assert await book.client.xlen(KEYS.kept) == 0
    assert await book.log() == []


async def test_a_command_is_put_back_where_its_device_is(book: Book, letters: DeadLetters) -> None:
    await given_up(book)
    await hold(book, "gw-2")
    [letter_id] = await letter_ids(book)
    done = await letters.requeue(letter_id)
    assert (done.result, done.command_id, done.instance_id) == (Requeue.OK, NEW, "gw-2")
    [(entry_id, fields)] = await book.client.xrange(KEYS.outbound("gw-2"))
    assert (entry_id.decode(), fields[b"command_id"].decode()) == (done.outbound_id, NEW)
    assert fields == {
        **{b"command_id": NEW.encode(), b"imei": b"352093081452251", b"payload": b"getver", b"codec": b"12"},
        **{b"expires_at": b"4000000000000", b"response_timeout": b"30", b"expect_response": b"1"},
        **{b"requested_by": b"me", b"retry_of": b"c-1"},
    }
    assert (await letter_ids(book), await book.client.xlen(KEYS.kept)) == ([], 0)
    assert (await letters.requeue(letter_id)).result is Requeue.NO_LETTER
    assert len(await requeued(book, "gw-2")) == 1


async def test_a_command_that_is_put_back_twice_is_one_command(book: Book, letters: DeadLetters) -> None:
    """Its producer has published it twice, and each time its ledger was no hash."""
    await hold(book, "gw-2")
    await book.client.set(KEYS.ledger("c-1"), "not a ledger")
    for _ in range(2):
        await given_up(book)
    for letter_id in await letter_ids(book):
        assert (await letters.requeue(letter_id)).result is Requeue.OK
    assert [fields[b"command_id"] for fields in await requeued(book, "gw-2")] == [NEW.encode()] * 2
    await book.client.delete(KEYS.ledger("c-1"), KEYS.responses)  # the log has two lives of one command


async def test_a_letter_that_is_gone_meanwhile_is_not_put_back(
    book: Book, letters: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    await given_up(book)
    await hold(book, "gw-2")
    [letter_id] = await letter_ids(book)
    read = letters._letter

    async def overtaken(letter_id: str) -> dict[str, str] | None:
        found = await read(letter_id)
        await book.client.xdel(KEYS.deadletter, letter_id)
        return found

    monkeypatch.setattr(letters, "_letter", overtaken)
    assert (await letters.requeue(letter_id)).result is Requeue.NO_LETTER
    assert await requeued(book, "gw-2") == []


async def test_a_command_of_which_another_entry_was_processed_is_not_put_back(
    book: Book, letters: DeadLetters
) -> None:
    await given_up(book)
    await hold(book, "gw-2")
    await book.client.delete(KEYS.ledger("c-1"))
    again = await book.case()
    assert await book.statuses(again.open()) == [Status.OK]
    [letter_id] = await letter_ids(book)
    assert (await letters.requeue(letter_id)).result is Requeue.KNOWN
    assert (await letter_ids(book), await book.client.xlen(KEYS.kept)) == ([letter_id], 1)
    await book.client.delete(KEYS.ledger("c-1"), KEYS.responses)  # the log has two lives of one command


async def test_the_ledger_of_a_command_given_up_names_its_entry(book: Book, letters: DeadLetters) -> None:
    case = await book.case()
    assert await book.statuses(case.open()) == [Status.OK]
    await book.client.hset(KEYS.ledger("c-1"), "outbound_id", "1-1")
    events = events_of_refused(case.command, case.request, None)
    assert await book.statuses(give_up(case.request, case.entry, events, ignore)) == [Status.OK]
    assert (await book.row())["outbound_id"] == case.entry.outbound_id
    await hold(book, "gw-2")
    [letter_id] = await letter_ids(book)
    assert (await letters.requeue(letter_id)).result is Requeue.OK


async def test_a_command_whose_time_is_over_needs_another_one(book: Book, letters: DeadLetters) -> None:
    await given_up(book, expires_at=1_767_225_600_000)
    await hold(book, "gw-2")
    [letter_id] = await letter_ids(book)
    assert (await letters.requeue(letter_id)).result is Requeue.EXPIRED
    assert await requeued(book, "gw-2") == []
    assert (await letters.requeue(letter_id, 4_100_000_000_000)).result is Requeue.OK
    [fields] = await requeued(book, "gw-2")
    assert fields[b"expires_at"] == b"4100000000000"


@pytest.mark.parametrize("lives", [True, False])
@pytest.mark.parametrize("waits", [True, False])
async def test_without_a_living_holder_only_a_command_that_waits_is_put_back(
    book: Book, letters: DeadLetters, waits: bool, lives: bool
) -> None:
    await given_up(book, waits=waits)
    await book.client.hset(KEYS.registry, IMEI, "dead")
    await book.client.hset(KEYS.instances, "gw-3", "1")
    if lives:
        await book.client.set(KEYS.heartbeat("gw-3"), "1")
    [letter_id] = await letter_ids(book)
    done = await letters.requeue(letter_id)
    if waits and lives:
        assert (done.result, done.instance_id) == (Requeue.OK, "gw-3")
    else:
        assert done.result is Requeue.NOT_CONNECTED
        assert await letter_ids(book) == [letter_id]
    assert await requeued(book, "dead") == []


async def test_a_letter_is_deleted_with_what_is_kept(book: Book, letters: DeadLetters) -> None:
    for command_id in ("a", "b"):
        await given_up(book, command_id=command_id)
    first, second = await letter_ids(book)
    assert [await letters.drop(first) for _ in range(2)] == [True, False]
    assert await letter_ids(book) == [second]
    assert [fields[b"retry_of"] for _, fields in await book.client.xrange(KEYS.kept)] == [b"b"]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"error": "command_id: is missing"}, Requeue.INVALID),
        ({"error": "imei: is missing", "command_id": "c-1", "delivery": "not_sent"}, Requeue.INVALID),
        ({"error": "internal_error", "command_id": "c-1", "delivery": "maybe_sent"}, Requeue.SENT),
        ({"error": "internal_error", "command_id": "c-1"}, Requeue.NOT_KEPT),
        ({"error": "internal_error", "command_id": "c-1", "kept_id": "1-1"}, Requeue.NOT_KEPT),
    ],
)
async def test_a_letter_without_its_entry_stays(
    book: Book, letters: DeadLetters, fields: dict[Any, Any], why: Requeue
) -> None:
    letter_id = (await book.client.xadd(KEYS.deadletter, fields)).decode()
    await hold(book, "gw-2")
    assert (await letters.requeue(letter_id)).result is why
    assert await letter_ids(book) == [letter_id]


async def test_the_names_have_the_prefix_of_the_fleet(book: Book) -> None:
    keys = Keys("{north}:")
    for name, value in (("error", "x"), ("kept_id", "1-1")):
        await book.client.xadd(keys.deadletter, {name: value})
    first = (await book.client.xrange(keys.deadletter))[0][0].decode()
    assert await DeadLetters(book.client, keys).drop(first)
    assert await DeadLetters(book.client, KEYS).drop(first) is False
