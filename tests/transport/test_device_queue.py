"""One connection's commands: one out at a time, in stream order, and no answer given to another's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.transport.desk import Desk
from transport.teltonika.command import TYPE_COMMAND, Message
from transport.teltonika.frame import CODEC_12, CODEC_14

MILLISECOND = 0.001
MakeDesk = Callable[..., Desk]


# One at a time, in order


def test_of_twenty_commands_one_is_out_at_any_time(desk: Desk) -> None:
    link = desk.connect()
    names = [f"c-{number}" for number in range(20)]
    for name in names:
        desk.ask(name)
    for number in range(20):
        desk.ledger.settle()
        assert link.texts == names[: number + 1]
        desk.answer(link, f"answer to {names[number]}")
    desk.ledger.settle()
    for name in names:
        assert desk.ledger.events(name)[-1].response == f"answer to {name}"
    assert desk.notes() == []


def test_commands_wait_for_the_first_acknowledged_frame(desk: Desk) -> None:
    link = desk.connect(ready=False)
    desk.ask("a")
    desk.ask("b")
    desk.ledger.settle()
    assert (desk.life("a"), link.texts) == (["queued not_sent"], [])
    desk.ready(link)
    desk.ledger.settle()
    assert link.texts == ["a"]


def test_nothing_is_begun_while_a_frame_is_arriving_or_unacknowledged(desk: Desk) -> None:
    link = desk.connect()
    desk.frame_begins(link)
    desk.ask()
    desk.ledger.settle()
    assert desk.life() == ["queued not_sent"]
    desk.frame_acked(link)
    desk.ledger.settle()
    assert link.texts == ["c-1"]


def test_a_committed_command_is_not_written_into_a_frame_that_has_begun(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.frame_begins(link)
    desk.ledger.settle()
    assert (desk.life()[-1], link.texts) == ("sent maybe_sent", [])
    desk.frame_acked(link)
    assert link.texts == ["c-1"]


def test_a_command_whose_queued_is_not_committed_holds_up_those_behind_it(desk: Desk) -> None:
    link = desk.connect()
    desk.frame_begins(link)
    desk.ask("a")
    desk.ask("b")
    desk.frame_acked(link)
    assert link.texts == []
    desk.ledger.settle()
    desk.answer(link)
    desk.ledger.settle()
    assert link.texts == ["a", "b"]


def test_the_text_is_sent_byte_for_byte_in_the_codec_asked_for(desk: Desk) -> None:
    link = desk.connect()
    desk.ask("a", payload="  getparam 2001 ", codec="12")
    desk.ledger.settle()
    desk.answer(link)
    desk.ask("b", payload="getver", codec="14")
    desk.ledger.settle()
    assert link.commands == [
        Message(CODEC_12, TYPE_COMMAND, b"  getparam 2001 "),
        Message(CODEC_14, TYPE_COMMAND, b"getver", link.imei),
    ]


# Late answers


def test_a_late_answer_is_never_given_to_the_next_command(desk: Desk) -> None:
    link = desk.connect()
    desk.ask("old")
    desk.ledger.settle()
    desk.at(30)
    desk.ask("new")
    desk.ledger.settle()
    assert link.texts == ["old"]
    desk.answer(link, "answer to old")
    desk.ledger.settle()
    assert link.texts == ["old", "new"]
    desk.answer(link, "answer to new")
    desk.ledger.settle()
    assert desk.ledger.events("new")[-1].response == "answer to new"
    assert desk.notes() == [("late_response", "old", "answer to old")]
    assert desk.ledger.notes()[0].rtt_ms == 30_000


@pytest.mark.parametrize(
    ("off", "due"), [(-MILLISECOND, False), (0.0, True), (MILLISECOND, True)], ids=["before", "at", "after"]
)
def test_a_tainted_connection_is_closed_when_a_command_waits(desk: Desk, off: float, due: bool) -> None:
    link = desk.connect()
    desk.ask("old")
    desk.ask("new")
    desk.ledger.settle()
    desk.at(30)
    desk.ledger.settle()
    desk.at(60 + off)
    assert link.closed is due
    assert link.close_reason == ("tainted" if due else "")


def test_the_waiting_command_is_still_queued_when_the_device_comes_back_clean(desk: Desk) -> None:
    link = desk.connect()
    desk.ask("old")
    desk.ask("new")
    desk.ledger.settle()
    desk.at(30)
    desk.ledger.settle()
    desk.at(60)
    desk.ledger.settle()
    assert (link.close_reason, desk.life("new")) == ("tainted", ["queued not_sent"])
    clean = desk.connect()
    desk.ledger.settle()
    assert clean.texts == ["new"]


def test_a_tainted_connection_stays_open_while_nothing_waits(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    desk.at(30)
    desk.at(3000)
    assert not link.closed
    desk.ask("c-2")
    desk.at(3001)
    assert link.closed


def test_the_answer_that_never_came_is_forgotten_with_the_connection(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    desk.at(30)
    desk.hang_up(link)
    fresh = desk.connect()
    desk.answer(fresh, "who asked?")
    desk.ledger.settle()
    assert desk.notes() == [("unsolicited_response", "", "who asked?")]


def test_a_tainted_queue_is_forgotten_once_the_late_answer_came(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    desk.at(30)
    desk.answer(link)
    desk.at(1000)
    assert not link.closed
    assert (link.taints, link.tainted) == (1, False)
