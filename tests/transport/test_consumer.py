"""Outbound entries become commands: once each, whatever was delivered twice or written by mistake."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fsm.entries import FIELDS_KEPT
from fsm.moves import Discard, Entry, Status
from tests.transport.desk import IMEI, Desk
from tests.transport.fake_ledger import US, Row

MakeDesk = Callable[..., Desk]


def left_behind(desk: Desk, command_id: str, state: str, seq: int, **fields: str) -> Entry:
    """An entry that an earlier process took as far as `state`."""
    entry = desk.add(command_id, **{"imei": IMEI, "payload": command_id} | fields)
    desk.ledger.set_row(command_id, Row(state, seq, "boot-a:7", entry, IMEI, "boot-a-1", 1_767_225_000_000))
    return entry


# What is read twice


def test_an_entry_in_hand_says_nothing_new(desk: Desk) -> None:
    desk.connect(ready=False)
    desk.ask()
    desk.redeliver()
    desk.ledger.settle()
    desk.redeliver()
    desk.ledger.settle()
    assert desk.life() == ["queued not_sent"]


def test_a_queued_command_of_an_earlier_process_goes_on(desk: Desk) -> None:
    link = desk.connect()
    left_behind(desk, "c-1", "queued", 1)
    desk.redeliver()
    desk.ledger.settle()
    assert desk.life() == ["sent maybe_sent"]
    assert link.texts == ["c-1"]


def test_an_earlier_queued_command_waits_for_its_device(desk: Desk) -> None:
    left_behind(desk, "c-1", "queued", 1)
    desk.at(61)
    desk.redeliver()
    desk.ledger.settle()
    assert (desk.life(), desk.dispatcher.offline.count(IMEI)) == ([], 1)
    link = desk.connect()
    desk.ledger.settle()
    assert link.texts == ["c-1"]


def test_an_earlier_sent_command_is_never_written_again(desk: Desk) -> None:
    link = desk.connect()
    entry = left_behind(desk, "c-1", "sent", 2)
    desk.redeliver()
    desk.ledger.settle()
    assert desk.life() == ["failed gateway_restart maybe_sent"]
    assert (link.texts, entry in desk.ledger.stream) == ([], False)


@pytest.mark.parametrize("fields", [{}, {"expires_at": "never"}], ids=["readable", "unreadable"])
def test_a_command_in_a_state_of_another_version_is_left_alone(desk: Desk, fields: dict[str, str]) -> None:
    link = desk.connect()
    entry = left_behind(desk, "c-1", "parked", 2, **fields)
    for _ in range(2):
        desk.redeliver()
        desk.ledger.settle()
    assert (desk.life(), link.texts, entry in desk.ledger.stream) == ([], [], True)
    desk.ask("c-2")
    desk.ledger.settle()
    assert link.texts == ["c-2"]


def test_a_sent_command_in_a_new_entry_is_not_written(desk: Desk) -> None:
    """After XGROUP DESTROY, old entries are delivered as if for the first time."""
    link = desk.connect()
    desk.read(left_behind(desk, "c-1", "sent", 2))
    desk.ledger.settle()
    assert link.texts == []
    desk.redeliver()
    desk.ledger.settle()
    assert desk.life() == ["failed gateway_restart maybe_sent"]


def test_a_queued_command_in_a_new_entry_goes_on(desk: Desk) -> None:
    link = desk.connect()
    desk.read(left_behind(desk, "c-1", "queued", 1))
    desk.ledger.settle()
    desk.answer(link)
    desk.ledger.settle()
    assert desk.life() == ["sent maybe_sent", "responded answered"]


def test_the_entry_of_an_ended_command_is_removed(desk: Desk) -> None:
    desk.connect()
    entry = left_behind(desk, "c-1", "failed", 2)
    desk.redeliver()
    desk.ledger.settle()
    assert (desk.life(), entry in desk.ledger.stream) == ([], False)
    assert len(desk.dispatcher.entries) == 0


def test_an_expired_command_of_an_earlier_process_expires(desk: Desk) -> None:
    left_behind(desk, "c-1", "queued", 1)
    desk.at(300)
    desk.redeliver()
    desk.ledger.settle()
    assert desk.life() == ["timeout expired not_sent"]


@pytest.mark.parametrize(
    ("state", "seq", "verdict"),
    [
        ("queued", 1, ["failed internal_error not_sent"]),
        ("sent", 2, ["failed gateway_restart maybe_sent"]),
        ("failed", 2, []),
    ],
)
def test_a_command_beyond_the_present_limits_still_ends(
    make_desk: MakeDesk, state: str, seq: int, verdict: list[str]
) -> None:
    desk = make_desk(max_payload=4)
    entry = left_behind(desk, "c-1", state, seq, payload="too long")
    desk.redeliver()
    desk.ledger.settle()
    assert (desk.life(), entry in desk.ledger.stream) == (verdict, False)


def test_a_command_id_that_is_used_again_is_ignored(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    again = desk.ask(payload="another text")
    desk.ledger.settle()
    desk.answer(link)
    desk.ledger.settle()
    late = desk.ask()
    desk.ledger.settle()
    assert link.texts == ["c-1"]
    assert desk.life() == ["queued not_sent", "sent maybe_sent", "responded answered"]
    assert desk.notes() == [("duplicate_ignored", "c-1", "")] * 2
    assert {again, late}.isdisjoint(desk.ledger.stream)
    assert len(desk.dispatcher.entries) == 0


def test_a_duplicate_does_not_hold_up_the_line(desk: Desk) -> None:
    link = desk.connect()
    desk.ask("a")
    desk.ledger.settle()
    desk.answer(link)
    desk.ledger.settle()
    desk.ask("a")
    desk.ask("b")
    desk.ledger.settle()
    assert link.texts == ["a", "b"]


# What cannot be taken


def test_a_line_that_is_full_refuses(make_desk: MakeDesk) -> None:
    desk = make_desk(queue_limit=2)
    desk.connect()
    for name in "abcd":
        desk.ask(name)
    desk.ledger.settle()
    assert desk.life("c") == ["queued not_sent"]
    assert desk.life("d") == ["failed queue_full not_sent"]
    assert [entry.outbound_id for entry in desk.ledger.stream] == sorted(
        entry.outbound_id for entry in desk.ledger.stream
    )
    assert len(desk.ledger.stream) == 3


def test_a_line_for_an_absent_device_is_as_long(make_desk: MakeDesk) -> None:
    desk = make_desk(queue_limit=2)
    for name in "abc":
        desk.ask(name)
    desk.ledger.settle()
    assert desk.life("c") == ["failed queue_full not_sent"]


def test_an_entry_that_expired_on_the_way_is_ended_at_once(desk: Desk) -> None:
    desk.connect()
    entry = desk.ask(expires_at="2025-12-31T23:59:59Z")
    desk.ledger.settle()
    assert (desk.life(), entry in desk.ledger.stream) == (["timeout expired not_sent"], False)


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"imei": "123"}, "imei: is not 15 digits"),
        ({"payload": "caf\xe9"}, "payload: is not UTF-8"),
        ({"codec": "13"}, "codec: is not one of 12, 14"),
        ({"payload": ""}, "payload: is missing"),
        ({"type": "reboot"}, "type: is not one of command, cancel"),
    ],
)
def test_a_bad_entry_ends_as_invalid_and_the_next_is_served(
    desk: Desk, fields: dict[str, str], detail: str
) -> None:
    link = desk.connect()
    entry = desk.ask("bad", **fields)
    desk.ask("good")
    desk.ledger.settle()
    [event] = desk.ledger.events("bad")
    assert (event.state, event.reason, event.detail) == ("failed", "invalid_command", detail)
    assert (event.outbound_id, event.instance_id) == (entry.outbound_id, US)
    assert entry not in desk.ledger.stream
    assert link.texts == ["good"]


def test_an_entry_without_an_id_is_a_dead_letter(desk: Desk) -> None:
    link = desk.connect()
    entry = desk.ask("no such id!")
    desk.ask("good")
    desk.redeliver()
    desk.ledger.settle()
    [letter] = desk.ledger.deadletters
    assert letter["error"].startswith("command_id: ")
    assert letter["command_id"] == "no such id!"
    assert entry not in desk.ledger.stream
    assert link.texts == ["good"]


def test_an_entry_of_thousands_of_fields_is_cut(desk: Desk) -> None:
    desk.ask("!", **{f"field_{number}": "x" for number in range(5000)})
    desk.ledger.settle()
    [letter] = desk.ledger.deadletters
    assert (len(letter), letter["cut"]) == (FIELDS_KEPT + 2, "1"), "the fields kept, error and cut"


def test_a_bad_entry_without_ledger_is_a_dead_letter(desk: Desk) -> None:
    desk.ledger.refuse(Status.ERROR, "failed", detail="WRONGTYPE")
    entry = desk.ask(imei="123")
    desk.ledger.settle()
    assert desk.life() == ["failed invalid_command not_sent"]
    assert desk.ledger.deadletters[0]["error"] == "imei: is not 15 digits; WRONGTYPE"
    assert entry not in desk.ledger.stream


def test_what_is_not_answered_yet_is_not_answered_twice(desk: Desk) -> None:
    desk.ask(imei="123")
    desk.ask("!")
    desk.redeliver()
    assert desk.ledger.depth == 2
    desk.ledger.refuse(Status.FENCED, wanted=Discard)
    desk.ledger.settle()
    desk.redeliver()
    assert desk.ledger.depth == 1


# How much is held


def test_above_the_limit_nothing_new_is_read_until_a_tenth_is_free(make_desk: MakeDesk) -> None:
    desk = make_desk(commands_limit=10, queue_limit=100)
    link = desk.connect()
    for number in range(10):
        assert desk.dispatcher.may_read()
        desk.ask(f"c-{number}")
    desk.ledger.settle()
    assert not desk.dispatcher.may_read()
    desk.answer(link)
    desk.ledger.settle()
    assert not desk.dispatcher.may_read()
    desk.answer(link)
    desk.ledger.settle()
    assert desk.dispatcher.may_read()


def test_while_the_ledger_is_refused_nothing_new_is_read(desk: Desk) -> None:
    desk.ledger.healthy = False
    assert not desk.dispatcher.may_read()
    desk.ledger.healthy = True
    assert desk.dispatcher.may_read()


def test_the_clock_of_redis_is_followed(desk: Desk) -> None:
    desk.connect()
    desk.ledger.set_clock_ahead(3_600_000)
    desk.ask("a")
    desk.ledger.settle()
    desk.ask("b")
    desk.ledger.settle()
    assert desk.life("b") == ["timeout expired not_sent"]


def test_a_moved_command_keeps_its_first_accepted_time(desk: Desk) -> None:
    desk.ask(hops="2", accepted_at="1767220000000")
    desk.ledger.settle()
    assert desk.ledger.rows["c-1"].accepted_at == 1_767_220_000_000
