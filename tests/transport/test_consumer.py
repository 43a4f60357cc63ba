"""Outbound entries become commands: once each, whatever was delivered twice or written by mistake."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fsm.entries import FIELDS_KEPT
from fsm.moves import Discard, Entry, Status
from tests.transport.command_rig import IMEI, CommandRig
from tests.transport.fake_ledger import US, Row

MakeCommands = Callable[..., CommandRig]


def left_behind(commands: CommandRig, command_id: str, state: str, seq: int, **fields: str) -> Entry:
    """An entry that an earlier process took as far as `state`."""
    entry = commands.add(command_id, **{"imei": IMEI, "payload": command_id} | fields)
    commands.ledger.set_row(
        command_id, Row(state, seq, "boot-a:7", entry, IMEI, "boot-a-1", 1_767_225_000_000)
    )
    return entry


# What is read twice


def test_an_entry_in_hand_says_nothing_new(commands: CommandRig) -> None:
    commands.connect(ready=False)
    commands.ask()
    commands.redeliver()
    commands.ledger.commit()
    commands.redeliver()
    commands.ledger.commit()
    assert commands.life() == ["queued not_sent"]


def test_a_queued_command_of_an_earlier_process_goes_on(commands: CommandRig) -> None:
    link = commands.connect()
    left_behind(commands, "c-1", "queued", 1)
    commands.redeliver()
    commands.ledger.commit()
    assert commands.life() == ["sent maybe_sent"]
    assert link.texts == ["c-1"]


def test_an_earlier_queued_command_waits_for_its_device(commands: CommandRig) -> None:
    left_behind(commands, "c-1", "queued", 1)
    commands.at(61)
    commands.redeliver()
    commands.ledger.commit()
    assert (commands.life(), commands.dispatcher.offline.count(IMEI)) == ([], 1)
    link = commands.connect()
    commands.ledger.commit()
    assert link.texts == ["c-1"]


def test_an_earlier_sent_command_is_never_written_again(commands: CommandRig) -> None:
    link = commands.connect()
    entry = left_behind(commands, "c-1", "sent", 2)
    commands.redeliver()
    commands.ledger.commit()
    assert commands.life() == ["failed gateway_restart maybe_sent"]
    assert (link.texts, entry in commands.ledger.stream) == ([], False)


@pytest.mark.parametrize("fields", [{}, {"expires_at": "never"}], ids=["readable", "unreadable"])
def test_a_command_in_a_state_of_another_version_is_left_alone(
    commands: CommandRig, fields: dict[str, str]
) -> None:
    link = commands.connect()
    entry = left_behind(commands, "c-1", "parked", 2, **fields)
    for _ in range(2):
        commands.redeliver()
        commands.ledger.commit()
    assert (commands.life(), link.texts, entry in commands.ledger.stream) == ([], [], True)
    commands.ask("c-2")
    commands.ledger.commit()
    assert link.texts == ["c-2"]


def test_a_sent_command_in_a_new_entry_is_not_written(commands: CommandRig) -> None:
    """After XGROUP DESTROY, old entries are delivered as if for the first time."""
    link = commands.connect()
    commands.read(left_behind(commands, "c-1", "sent", 2))
    commands.ledger.commit()
    assert link.texts == []
    commands.redeliver()
    commands.ledger.commit()
    assert commands.life() == ["failed gateway_restart maybe_sent"]


def test_a_queued_command_in_a_new_entry_goes_on(commands: CommandRig) -> None:
    link = commands.connect()
    commands.read(left_behind(commands, "c-1", "queued", 1))
    commands.ledger.commit()
    commands.answer(link)
    commands.ledger.commit()
    assert commands.life() == ["sent maybe_sent", "responded answered"]


def test_the_entry_of_an_ended_command_is_removed(commands: CommandRig) -> None:
    commands.connect()
    entry = left_behind(commands, "c-1", "failed", 2)
    commands.redeliver()
    commands.ledger.commit()
    assert (commands.life(), entry in commands.ledger.stream) == ([], False)
    assert len(commands.dispatcher.entries) == 0


def test_an_expired_command_of_an_earlier_process_expires(commands: CommandRig) -> None:
    left_behind(commands, "c-1", "queued", 1)
    commands.at(300)
    commands.redeliver()
    commands.ledger.commit()
    assert commands.life() == ["timeout expired not_sent"]


@pytest.mark.parametrize(
    ("state", "seq", "verdict"),
    [
        ("queued", 1, ["failed internal_error not_sent"]),
        ("sent", 2, ["failed gateway_restart maybe_sent"]),
        ("failed", 2, []),
    ],
)
def test_a_command_beyond_the_present_limits_still_ends(
    make_commands: MakeCommands, state: str, seq: int, verdict: list[str]
) -> None:
    commands = make_commands(max_payload=4)
    entry = left_behind(commands, "c-1", state, seq, payload="too long")
    commands.redeliver()
    commands.ledger.commit()
    assert (commands.life(), entry in commands.ledger.stream) == (verdict, False)


def test_a_command_id_that_is_used_again_is_ignored(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    again = commands.ask(payload="another text")
    commands.ledger.commit()
    commands.answer(link)
    commands.ledger.commit()
    late = commands.ask()
    commands.ledger.commit()
    assert link.texts == ["c-1"]
    assert commands.life() == ["queued not_sent", "sent maybe_sent", "responded answered"]
    assert commands.notes() == [("duplicate_ignored", "c-1", "")] * 2
    assert {again, late}.isdisjoint(commands.ledger.stream)
    assert len(commands.dispatcher.entries) == 0


def test_a_duplicate_does_not_hold_up_the_line(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask("a")
    commands.ledger.commit()
    commands.answer(link)
    commands.ledger.commit()
    commands.ask("a")
    commands.ask("b")
    commands.ledger.commit()
    assert link.texts == ["a", "b"]


# What cannot be taken


def test_a_line_that_is_full_refuses(make_commands: MakeCommands) -> None:
    commands = make_commands(queue_limit=2)
    commands.connect()
    for name in "abcd":
        commands.ask(name)
    commands.ledger.commit()
    assert commands.life("c") == ["queued not_sent"]
    assert commands.life("d") == ["failed queue_full not_sent"]
    assert [entry.outbound_id for entry in commands.ledger.stream] == sorted(
        entry.outbound_id for entry in commands.ledger.stream
    )
    assert len(commands.ledger.stream) == 3


def test_a_line_for_an_absent_device_is_as_long(make_commands: MakeCommands) -> None:
    commands = make_commands(queue_limit=2)
    for name in "abc":
        commands.ask(name)
    commands.ledger.commit()
    assert commands.life("c") == ["failed queue_full not_sent"]


def test_an_entry_that_expired_on_the_way_is_ended_at_once(commands: CommandRig) -> None:
    commands.connect()
    entry = commands.ask(expires_at="2025-12-31T23:59:59Z")
    commands.ledger.commit()
    assert (commands.life(), entry in commands.ledger.stream) == (["timeout expired not_sent"], False)


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
    commands: CommandRig, fields: dict[str, str], detail: str
) -> None:
    link = commands.connect()
    entry = commands.ask("bad", **fields)
    commands.ask("good")
    commands.ledger.commit()
    [event] = commands.ledger.events("bad")
    assert (event.state, event.reason, event.detail) == ("failed", "invalid_command", detail)
    assert (event.outbound_id, event.instance_id) == (entry.outbound_id, US)
    assert entry not in commands.ledger.stream
    assert link.texts == ["good"]


def test_an_entry_without_an_id_is_a_dead_letter(commands: CommandRig) -> None:
    link = commands.connect()
    entry = commands.ask("no such id!")
    commands.ask("good")
    commands.redeliver()
    commands.ledger.commit()
    [letter] = commands.ledger.deadletters
    assert letter["error"].startswith("command_id: ")
    assert letter["command_id"] == "no such id!"
    assert entry not in commands.ledger.stream
    assert link.texts == ["good"]


def test_an_entry_of_thousands_of_fields_is_cut(commands: CommandRig) -> None:
    commands.ask("!", **{f"field_{number}": "x" for number in range(5000)})
    commands.ledger.commit()
    [letter] = commands.ledger.deadletters
    assert (len(letter), letter["cut"]) == (FIELDS_KEPT + 2, "1"), "the fields kept, error and cut"


def test_a_bad_entry_without_ledger_is_a_dead_letter(commands: CommandRig) -> None:
    commands.ledger.refuse(Status.ERROR, "failed", detail="WRONGTYPE")
    entry = commands.ask(imei="123")
    commands.ledger.commit()
    assert commands.life() == ["failed invalid_command not_sent"]
    assert commands.ledger.deadletters[0]["error"] == "imei: is not 15 digits; WRONGTYPE"
    assert entry not in commands.ledger.stream


def test_what_is_not_answered_yet_is_not_answered_twice(commands: CommandRig) -> None:
    commands.ask(imei="123")
    commands.ask("!")
    commands.redeliver()
    assert commands.ledger.depth == 2
    commands.ledger.refuse(Status.FENCED, wanted=Discard)
    commands.ledger.commit()
    commands.redeliver()
    assert commands.ledger.depth == 1


# How much is held


def test_above_the_limit_nothing_new_is_read_until_a_tenth_is_free(make_commands: MakeCommands) -> None:
    commands = make_commands(commands_limit=10, queue_limit=100)
    link = commands.connect()
    for number in range(10):
        assert commands.dispatcher.may_read()
        commands.ask(f"c-{number}")
    commands.ledger.commit()
    assert not commands.dispatcher.may_read()
    commands.answer(link)
    commands.ledger.commit()
    assert not commands.dispatcher.may_read()
    commands.answer(link)
    commands.ledger.commit()
    assert commands.dispatcher.may_read()


def test_while_the_ledger_is_refused_nothing_new_is_read(commands: CommandRig) -> None:
    commands.ledger.healthy = False
    assert not commands.dispatcher.may_read()
    commands.ledger.healthy = True
    assert commands.dispatcher.may_read()


def test_the_clock_of_redis_is_followed(commands: CommandRig) -> None:
    commands.connect()
    commands.ledger.set_clock_ahead(3_600_000)
    commands.ask("a")
    commands.ledger.commit()
    commands.ask("b")
    commands.ledger.commit()
    assert commands.life("b") == ["timeout expired not_sent"]


def test_the_time_of_acceptance_is_not_read_from_the_entry(commands: CommandRig) -> None:
    commands.ask(hops="2", accepted_at="1767220000000")
    commands.ledger.commit()
    assert commands.ledger.rows["c-1"].accepted_at == 1_767_225_600_000


def test_a_copy_with_forged_fields_changes_no_ledger(commands: CommandRig) -> None:
    commands.ask()
    commands.ledger.commit()
    before = commands.ledger.rows["c-1"]
    commands.ask(hops="1", accepted_at="1767220000000", outbound_id=before.entry.outbound_id)
    commands.ledger.commit()
    assert commands.ledger.rows["c-1"] == before
    assert commands.notes() == [("duplicate_ignored", "c-1", "")]
