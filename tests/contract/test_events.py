"""The entries of the log and the ledgers, field by field."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from freezegun.api import FrozenDateTimeFactory
from redis.asyncio import Redis

from fsm.moves import Status
from store.ledger.ledger import Ledger
from store.streams.events import COMMAND_NAMES, command_fields
from tests.redis.book import ANSWER, BOOT, IMEI, KEYS, US, Book, Case

OK = Status.OK


async def test_the_entries_of_a_commands_life_are_as_documented(book: Book) -> None:
    case = await book.case()
    opened, sent = case.open(), case.step("send", session_id="s-1")
    answered = case.step("respond", session_id="s-1", answer=ANSWER, rtt_ms=1234)
    assert await book.statuses(opened, sent, answered) == [OK, OK, OK]
    first, second, third = await book.log()
    assert first["at"] == second["at"] == third["at"]
    same = {
        "v": "1",
        "kind": "command",
        "command_id": "c-1",
        "detail": "",
        "imei": IMEI,
        "codec": "12",
        "instance_id": US,
        "outbound_id": case.entry.outbound_id,
        "requested_by": "me",
        "reason": "",
        "at": first["at"],
        "age_ms": "0",
    }
    assert first == same | {
        "seq": "1",
        "state": "queued",
        "prev": "",
        "trigger": "accept",
        "terminal": "0",
        "outcome": "",
        "delivery": "not_sent",
        "session_id": "",
    }
    assert second == same | {
        "seq": "2",
        "state": "sent",
        "prev": "queued",
        "trigger": "send",
        "terminal": "0",
        "outcome": "",
        "delivery": "maybe_sent",
        "session_id": "s-1",
    }
    assert third == same | {
        "seq": "3",
        "state": "responded",
        "prev": "sent",
        "trigger": "respond",
        "terminal": "1",
        "outcome": "responded",
        "delivery": "answered",
        "session_id": "s-1",
        "response": "Ver:03.27.07 \r\nGPS:AXN",
        "rtt_ms": "1234",
        "attribution": "certain",
    }


async def test_the_fields_of_an_entry_keep_their_order(book: Book) -> None:
    case = await book.case()
    await book.statuses(case.open(), case.step("send", session_id="s-1"))
    answered = case.step("respond", answer=ANSWER, rtt_ms=1234)
    await book.statuses(answered)
    opened, _, responded = await book.log()
    assert [*opened] == [*COMMAND_NAMES, "requested_by", "at", "age_ms"]
    assert [*responded] == [*command_fields(answered.event)[::2], "at", "age_ms"]


async def test_the_size_of_the_log_is_known_within_a_fifth(book: Book) -> None:
    told: list[tuple[int, int]] = []
    append = {"on_appended": lambda entries, size: told.append((entries, size))}
    ledger = Ledger(book.client, KEYS, US, BOOT, retention=60.0, on_error=[].append, on_fenced=list, **append)
    case = await book.case()
    await ledger.execute(case.open(), case.step("send", session_id="s-1", held_imei=IMEI))
    await ledger.execute(case.step("respond", answer=ANSWER, rtt_ms=1234))
    size = sum(len(name) + len(value) for entry in await book.log() for name, value in entry.items())
    assert sum(entries for entries, _ in told) == 3
    assert 0.8 < sum(size for _, size in told) / size < 1.2


async def test_the_ledger_of_a_command_is_as_documented(book: Book) -> None:
    case = await book.case()
    await book.statuses(case.open())
    [(first, _)] = await book.client.xrange(KEYS.responses)
    row = await book.row()
    accepted = int(row.pop("accepted_at"))
    seconds, _ = await book.client.time()
    assert abs(accepted - seconds * 1000) < 5000
    assert row.pop("token").startswith(BOOT)
    assert row == {
        "state": "queued",
        "seq": "1",
        "instance_id": US,
        "outbound_id": case.entry.outbound_id,
        "session_id": "",
        "imei": IMEI,
        "codec": "12",
        "expires_at": "4000000000000",
        "first": first.decode(),
        "last": first.decode(),
    }
    assert await book.client.pttl(KEYS.ledger("c-1")) == -1


async def test_first_and_last_enclose_everything_about_a_command(book: Book) -> None:
    case = await book.sent()
    other = await book.sent("c-2")
    await book.statuses(case.step("time_out", reason="response_timeout"), case.remark("n-1"))
    await book.statuses(other.step("respond", answer=ANSWER))
    row = await book.row()
    entries = await book.client.xrange(KEYS.responses, row["first"], row["last"])
    mine = [fields for _, fields in entries if fields[b"command_id"] == b"c-1"]
    assert [fields[b"kind"] for fields in mine] == [b"command", b"command", b"command", b"note"]


async def test_a_note_is_as_documented_and_changes_no_state(book: Book) -> None:
    case = await book.sent()
    before = await book.row()
    assert await book.statuses(case.remark("n-1")) == [OK]
    note = (await book.log())[-1]
    assert {name: value for name, value in note.items() if value and name != "at"} == {
        "v": "1",
        "kind": "note",
        "note": "late_response",
        "note_id": "n-1",
        "command_id": "c-1",
    }
    after = await book.row()
    assert before.pop("last") != after.pop("last")
    assert before == after


async def test_a_note_about_no_command_makes_no_ledger(book: Book) -> None:
    case = await book.case()
    await book.statuses(case.remark("n-1", command_id=""), case.remark("n-2", command_id="unknown"))
    assert await book.client.keys("commands:state:*") == []


@pytest.mark.parametrize(
    "moment",
    [
        "2004-02-29T23:59:59.999",
        "2026-01-01T00:00:00.000",
        "2026-12-31T23:59:59.001",
        "2027-03-01T00:00:00.010",
        "2028-02-28T12:00:00.100",
        "2028-02-29T00:00:00.000",
        "2028-03-01T00:00:00.500",
        "2028-12-31T23:59:59.999",
        "2099-12-31T23:59:59.999",
        "2100-02-28T23:59:59.999",
        "2100-03-01T00:00:00.000",
    ],
)
async def test_the_time_of_an_event_is_right_on_every_date(
    frozen: FrozenDateTimeFactory, fake_redis: Redis, moment: str
) -> None:
    when = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    frozen.move_to(when)
    book = Book(fake_redis)
    await book.statuses((await book.case()).open())
    assert (await book.log())[0]["at"] == f"{moment}Z"


async def test_the_age_of_an_event_counts_from_the_first_acceptance(
    frozen: FrozenDateTimeFactory, fake_redis: Redis
) -> None:
    book = Book(fake_redis)
    case = await book.case()
    await book.statuses(case.open())
    frozen.tick(1.5)
    await book.statuses(case.step("send", session_id="s-1"))
    frozen.tick(30)
    await book.statuses(case.step("respond", answer=ANSWER))
    assert [e["age_ms"] for e in await book.log()] == ["0", "1500", "31500"]


async def test_a_moved_command_keeps_its_age(frozen: FrozenDateTimeFactory, fake_redis: Redis) -> None:
    book = Book(fake_redis)
    case = await book.case()
    await book.client.set(KEYS.heartbeat("gw-2"), "1")
    await book.statuses(case.open(), case.transfer("gw-2"))
    frozen.tick(10)
    there = {"instance_id": "gw-2", "outbound_id": (await book.row())["outbound_id"]}
    moved = Case(replace(case.request, accepted_at=1, **there))
    [found] = await book.ledger.execute(moved.open())
    assert (found.accepted_at, found.hops) == (1_767_225_600_000, 1)
    await book.statuses(moved.step("send", session_id="s-1"))
    assert (await book.log())[-1]["age_ms"] == "10000"


async def test_the_time_is_the_servers(book: Book) -> None:
    await book.statuses((await book.case()).open())
    [(entry_id, fields)] = await book.client.xrange(KEYS.responses)
    at = datetime.fromisoformat(fields[b"at"].decode().replace("Z", "+00:00")).timestamp() * 1000
    assert abs(at - int(entry_id.partition(b"-")[0])) < 1000
