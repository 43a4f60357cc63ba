"""What one call of the script does: each move whole or not at all, and the same once or twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from fsm.moves import SPEAKS, Entry, Status
from fsm.reasons import CANCELLED, CONNECTION_LOST, DEVICE_NOT_CONNECTED, INVALID_COMMAND
from store.keys import GROUP
from tests.redis.book import ANSWER, BOOT, IMEI, KEYS, US, Book

OK, ALREADY = Status.OK, Status.ALREADY


# Begin


async def test_an_entry_that_was_begun_before_is_redelivered(book: Book) -> None:
    case = await book.sent()
    again = type(case)(case.request)
    [result] = await book.ledger.execute(again.open())
    assert (result.status, result.state, result.seq) == (Status.REDELIVERED, "sent", 2)
    assert (result.session_id, result.token.startswith(BOOT)) == ("s-1", True)
    assert result.accepted_at > 1_767_225_600_000
    assert await book.states() == ["queued", "sent"]
    assert await book.pending() == [case.entry.outbound_id]


async def test_an_open_with_a_lost_reply_is_known_by_its_token(book: Book) -> None:
    opened = (await book.case()).open()
    assert await book.statuses(opened) == [OK]
    [result] = await book.ledger.execute(opened)
    assert (result.status, result.token) == (Status.REDELIVERED, opened.token)
    assert await book.states() == ["queued"]


async def test_another_entry_with_the_same_id_is_noted_once_and_removed(book: Book) -> None:
    first = await book.sent()
    second = (await book.case()).open()
    for _ in range(3):
        assert await book.statuses(second) == [Status.DUPLICATE]
    notes = [e for e in await book.log() if e["kind"] == "note"]
    assert [(e["note"], e["command_id"], e["outbound_id"]) for e in notes] == [
        ("duplicate_ignored", "c-1", second.entry.outbound_id)
    ]
    assert notes[0]["note_id"] == second.token
    assert await book.pending() == [first.entry.outbound_id]
    assert (await book.row())["state"] == "sent"


async def test_a_refusal_is_a_whole_life_in_one_move(book: Book) -> None:
    case = await book.case()
    assert await book.statuses(case.open("refuse", reason=INVALID_COMMAND, detail="imei: is missing")) == [OK]
    [event] = await book.log()
    assert (event["seq"], event["terminal"], event["outcome"]) == ("1", "1", "failed")
    assert await book.pending() == []
    assert 0 < await book.client.pttl(KEYS.ledger("c-1")) <= 7 * 86400 * 1000


# Devices whose serial port speaks


async def test_a_serial_device_gets_no_codec_12_by_default(book: Book) -> None:
    case = await book.case()
    await book.statuses(case.open())
    default = case.step("send", session_id="s-1", held_imei=IMEI, by_default=True)
    await cast(Any, book.client).sadd(KEYS.serial, IMEI)
    [result] = await book.ledger.execute(default)
    assert (result.status, result.state, result.detail) == (Status.SERIAL, "queued", SPEAKS)
    assert await book.states() == ["queued"]
    chosen = replace(default, event=replace(default.event, codec="14"), by_default=False, token="")
    for status in (OK, ALREADY):
        [result] = await book.ledger.execute(chosen)
        assert (result.status, result.detail) == (status, SPEAKS)
    assert (await book.row())["codec"] == "14"
    [again] = await book.ledger.execute(type(case)(case.request).open())
    assert again.command("c-1").codec == "14"


@pytest.mark.parametrize("key_is", ["absent", "of another type"])
async def test_an_unknown_device_type_prevents_no_sending(book: Book, key_is: str) -> None:
    if key_is != "absent":
        await book.client.set(KEYS.serial, "no set")
    case = await book.case()
    send = case.open(), case.step("send", session_id="s-1", held_imei=IMEI, by_default=True)
    assert [r.detail for r in await book.ledger.execute(*send)] == ["", ""]
    assert await book.states() == ["queued", "sent"]


# Step


async def test_a_terminal_step_removes_the_entry_and_sets_the_expiry(book: Book) -> None:
    case = await book.sent()
    kept = await book.sent("c-2")
    await book.statuses(case.step("respond", answer=ANSWER))
    assert await book.pending() == [kept.entry.outbound_id]
    week = 7 * 86400 * 1000
    assert week - 5000 < await book.client.pttl(KEYS.ledger("c-1")) <= week


async def test_a_step_whose_reply_was_lost_is_taken_once(book: Book) -> None:
    case = await book.sent()
    step = case.step("respond", answer=ANSWER)
    assert await book.statuses(step) == [OK]
    assert await book.statuses(step) == [ALREADY]
    assert await book.states() == ["queued", "sent", "responded"]


async def test_two_verdicts_of_which_one_comes_first(book: Book) -> None:
    case = await book.sent()
    lost = type(case)(case.request)
    lost.command = case.command
    assert await book.statuses(case.step("respond", answer=ANSWER)) == [OK]
    [result] = await book.ledger.execute(lost.step("fail", reason=CONNECTION_LOST))
    assert (result.status, result.state, result.seq) == (Status.CONFLICT, "responded", 3)
    assert await book.states() == ["queued", "sent", "responded"]


@pytest.mark.parametrize(("field", "value"), [("seq", "5"), ("state", "failed")])
async def test_a_step_from_where_the_command_is_not_conflicts(book: Book, field: str, value: str) -> None:
    case = await book.sent()
    before = await book.row()
    await book.client.hset(KEYS.ledger("c-1"), field, value)
    assert await book.statuses(case.step("respond", answer=ANSWER)) == [Status.CONFLICT]
    await book.client.hset(KEYS.ledger("c-1"), field, before[field])
    assert await book.row() == before


async def test_a_command_ended_by_another_process_is_not_sent(book: Book) -> None:
    case = await book.case()
    late = type(case)(case.request)
    await book.statuses(case.open("refuse", reason=DEVICE_NOT_CONNECTED))
    assert await book.statuses(late.open(), late.step("send", session_id="s-1")) == [
        Status.REDELIVERED,
        Status.CONFLICT,
    ]
    assert await book.states() == ["failed"]


async def test_a_step_of_an_entry_without_ownership_conflicts(book: Book) -> None:
    case = await book.sent()
    case.entry = Entry("gw-2", case.entry.outbound_id)
    assert await book.statuses(case.step("respond", answer=ANSWER)) == [Status.CONFLICT]


async def test_a_step_without_a_ledger_is_refused_unless_it_may_recover(book: Book) -> None:
    case = await book.sent()
    await book.client.delete(KEYS.ledger("c-1"))
    before = case.command
    assert await book.statuses(case.step("respond", answer=ANSWER)) == [Status.MISSING]
    assert await book.states() == ["queued", "sent"]
    case.command = before
    step = case.step("respond", allow_missing=True, answer=ANSWER)
    assert await book.statuses(step) == [OK]
    assert await book.statuses(step) == [ALREADY]
    event = (await book.log())[-1]
    assert (event["recovered"], event["state"], event["seq"]) == ("1", "responded", "3")
    assert int(event["age_ms"]) > 0
    assert await book.pending() == []
    row = await book.row()
    assert (row["first"], row["imei"], row["accepted_at"]) == (row["last"], IMEI, "1767225600000")


async def test_a_step_takes_other_entries_with_it(book: Book) -> None:
    case = await book.case()
    cancel = await book.entry("cancel")
    await book.statuses(case.open())
    assert await book.statuses(case.step("fail", reason=CANCELLED, remove=(cancel,))) == [OK]
    assert await book.pending() == []


# The holder


@pytest.mark.parametrize(
    ("holder", "alive", "status", "detail"),
    [
        (None, False, OK, ""),
        (US, False, OK, ""),
        (US, True, OK, ""),
        ("gw-2", False, OK, ""),
        ("gw-2", True, Status.HELD_ELSEWHERE, "gw-2"),
    ],
)
async def test_sent_is_refused_if_a_live_instance_holds_the_device(
    book: Book, holder: str | None, alive: bool, status: Status, detail: str
) -> None:
    case = await book.case()
    await book.statuses(case.open())
    if holder:
        await book.client.hset(KEYS.registry, IMEI, holder)
    if holder and alive:
        await book.client.set(KEYS.heartbeat(holder), "1")
    [result] = await book.ledger.execute(case.step("send", session_id="s-1", held_imei=IMEI))
    assert (result.status, result.detail) == (status, detail)
    assert await book.states() == ["queued", "sent"][: 1 + (status is OK)]


async def test_an_old_session_token_does_not_displace_a_device(book: Book) -> None:
    """The one registration call of the newer session may have failed."""
    case = await book.case()
    await book.client.hset(KEYS.registry, IMEI, US)
    await book.client.hset(KEYS.sessions, IMEI, "s-0")
    await book.client.set(KEYS.heartbeat(US), "1")
    sent = case.open(), case.step("send", session_id="s-1", held_imei=IMEI)
    assert await book.statuses(*sent) == [OK, OK]


# Who may


async def test_a_process_whose_instance_id_was_taken_over_does_nothing(book: Book) -> None:
    case = await book.case()
    await book.client.set(KEYS.boot(US), "boot-2")
    [result] = await book.ledger.execute(case.open())
    assert (result.status, result.now_ms > 0, book.fenced) == (Status.FENCED, True, 1)
    assert await book.log() == []


async def test_a_process_whose_boot_key_is_its_own_or_gone_goes_on(book: Book) -> None:
    case = await book.case()
    await book.client.set(KEYS.boot(US), BOOT)
    assert await book.statuses(case.open()) == [OK]
    await book.client.delete(KEYS.boot(US))
    assert await book.statuses(case.step("send", session_id="s-1")) == [OK]


async def test_an_adopter_moves_nothing_of_an_instance_that_is_alive(book: Book) -> None:
    case = await book.sent()
    adopter = book.of("gw-2", "boot-9", dead=US)
    verdict = case.step("fail", reason="instance_lost")
    await book.client.set(KEYS.heartbeat(US), "1")
    assert await book.statuses(verdict, ledger=adopter) == [Status.ALIVE]
    await book.client.delete(KEYS.heartbeat(US))
    assert await book.statuses(verdict, ledger=adopter) == [OK]
    assert await book.pending() == []


# Hand over


async def test_a_command_is_handed_to_an_instance_that_is_alive(book: Book) -> None:
    case = await book.case()
    await book.statuses(case.open())
    move = case.transfer("gw-2", (("command_id", "c-1"),))
    assert await book.statuses(move) == [Status.HELD_ELSEWHERE]
    await book.client.set(KEYS.heartbeat("gw-2"), "1")
    assert await book.statuses(move) == [OK]
    assert await book.statuses(move) == [ALREADY]
    [(outbound_id, fields)] = await book.client.xrange(KEYS.outbound("gw-2"))
    assert fields == {b"command_id": b"c-1"}
    row = await book.row()
    assert row["hops"] == "1"
    assert (row["instance_id"], row["outbound_id"], row["seq"]) == ("gw-2", outbound_id.decode(), "1")
    assert await book.pending() == []
    assert [e["note"] for e in await book.log() if e["kind"] == "note"] == ["moved"]
    assert await book.statuses(case.step("fail", reason=CANCELLED)) == [Status.CONFLICT]


async def test_a_command_that_is_out_is_not_handed_over(book: Book) -> None:
    case = await book.sent()
    await book.client.set(KEYS.heartbeat("gw-2"), "1")
    move = case.transfer("gw-2")
    move.seq = 1
    assert await book.statuses(move) == [Status.CONFLICT]
    assert await book.pending() == [case.entry.outbound_id]


async def test_a_command_without_a_ledger_is_not_handed_over(book: Book) -> None:
    case = await book.case()
    assert await book.statuses(case.transfer("gw-2")) == [Status.MISSING]


# Entries that are no command


async def test_a_dead_letter_is_written_once(book: Book) -> None:
    case = await book.case()
    events = (case.open("refuse", reason=INVALID_COMMAND).event,)
    letter = case.discard("imei: is missing", fields=(("payload_hex", "ff"),), events=events)
    assert await book.statuses(letter) == [OK]
    assert await book.statuses(letter) == [ALREADY]
    [(_, fields)] = await book.client.xrange(KEYS.deadletter)
    assert fields == {
        **{b"error": b"imei: is missing", b"payload_hex": b"ff"},
        **{b"delivery": b"not_sent", b"outbound_id": case.entry.outbound_id.encode()},
    }
    assert await book.states() == ["failed"]
    assert await book.pending() == []


async def test_an_entry_is_dropped_without_a_letter(book: Book) -> None:
    case = await book.case()
    assert await book.statuses(case.discard()) == [OK]
    assert await book.client.exists(KEYS.deadletter) == 0
    assert await book.pending() == []


async def test_a_note_that_answers_an_entry_is_written_once(book: Book) -> None:
    case = await book.sent()
    cancel = await book.entry("c-1")
    remark = case.remark("n-1", remove=cancel)
    assert await book.statuses(remark, remark) == [OK, ALREADY]
    assert [e["note_id"] for e in await book.log() if e["kind"] == "note"] == ["n-1"]
    assert await book.pending() == [case.entry.outbound_id]


# What goes wrong with one of many


async def test_an_error_on_one_key_does_not_stop_the_others(book: Book) -> None:
    await book.client.set(KEYS.ledger("bad"), "not a hash")
    bad, good = await book.case("bad"), await book.case("good")
    statuses = await book.statuses(
        bad.open(), bad.step("send", session_id="s-1"), good.open(), good.step("send", session_id="s-1")
    )
    assert statuses == [Status.ERROR, Status.ERROR, OK, OK]
    assert await book.states("bad") == []
    assert await book.states("good") == ["queued", "sent"]


async def test_a_hash_that_is_no_ledger_of_ours_is_a_conflict(book: Book) -> None:
    await book.client.hset(KEYS.ledger("c-1"), "state", "unheard of")
    case = await book.case()
    assert await book.statuses(case.open()) == [Status.DUPLICATE]
    await book.client.delete(KEYS.ledger("c-1"))


async def test_the_pending_list_is_the_set_of_commands_in_flight(book: Book) -> None:
    cases = [await book.case(f"c-{number}") for number in range(30)]
    await book.statuses(*(case.open() for case in cases))
    await book.statuses(*(case.step("send", session_id="s-1") for case in cases[:20]))
    await book.statuses(*(case.step("respond", answer=ANSWER) for case in cases[:10]))
    assert await book.pending() == [case.entry.outbound_id for case in cases[10:]]
    assert (await book.client.xinfo_groups(KEYS.outbound(US)))[0]["name"] == GROUP.encode()
