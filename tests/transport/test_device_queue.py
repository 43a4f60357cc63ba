"""One connection's commands: one out at a time, in stream order, and no answer given to another's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.transport.desk import Desk
from transport.teltonika.command import TYPE_COMMAND, Message
from transport.teltonika.frame import CODEC_12, CODEC_14

AHEAD = "2026-01-01T01:00:00Z"

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


def test_nothing_begins_during_or_before_ack_of_a_frame(desk: Desk) -> None:
    link = desk.connect()
    desk.frame_begins(link)
    desk.ask()
    desk.ledger.settle()
    assert desk.life() == ["queued not_sent"]
    desk.frame_acked(link)
    desk.ledger.settle()
    assert link.texts == ["c-1"]


def test_a_committed_command_is_not_written_into_a_frame(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.frame_begins(link)
    desk.ledger.settle()
    assert (desk.life()[-1], link.texts) == ("sent maybe_sent", [])
    desk.frame_acked(link)
    assert link.texts == ["c-1"]


def test_an_uncommitted_command_blocks_those_behind_it(desk: Desk) -> None:
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


def test_the_waiting_command_is_queued_after_a_reconnect(desk: Desk) -> None:
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


def test_a_missing_answer_is_forgotten_with_the_connection(desk: Desk) -> None:
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


def metric(desk: Desk, name: str) -> float | None:
    return desk.metrics.registry.get_sample_value(f"teltonika_{name}")


# A place in line


def test_a_command_does_not_overtake_one_being_accepted(desk: Desk) -> None:
    link = desk.connect()
    desk.frame_begins(link)
    desk.ask("a")
    desk.frame_acked(link)
    desk.ask("b")
    desk.ledger.settle()
    assert (link.texts, desk.life("b")) == (["a"], ["queued not_sent"])
    desk.answer(link)
    desk.ledger.settle()
    assert link.texts == ["a", "b"]


def test_leaving_the_queue_does_not_change_the_first(desk: Desk) -> None:
    link = desk.connect()
    desk.ask("a")
    desk.ask("b")
    desk.frame_begins(link)
    desk.ledger.settle()
    desk.cancel("b")
    desk.ledger.settle()
    desk.frame_acked(link)
    assert link.texts == ["a"]


def test_nothing_is_begun_in_a_gateway_that_stops(desk: Desk) -> None:
    link = desk.connect(ready=False)
    desk.ask()
    desk.ledger.settle()
    desk.dispatcher._commands.stopping = True
    desk.ready(link)
    assert (desk.dispatcher._queues.queue_of(link).writes.slot, desk.ledger.depth) == (None, 0)


# What TCP says of a command


def test_of_a_command_that_is_not_written_tcp_says_nothing(desk: Desk) -> None:
    """Everything written so far is acknowledged, and the command is none of it."""
    link = desk.connect()
    desk.ask("a")
    desk.ask("b", expect_response="0")
    desk.ledger.settle()
    link.acked = link.sent
    desk.answer(link)
    desk.frame_begins(link)
    desk.sweep()
    desk.ledger.settle()
    desk.sweep()
    desk.ledger.settle()
    assert (link.texts, desk.life("b")) == (["a"], ["queued not_sent", "sent maybe_sent"])
    desk.frame_acked(link)
    desk.ledger.settle()
    assert (link.texts, desk.life("b")[-1]) == (["a", "b"], "sent maybe_sent")


# A taint


def test_a_taint_counts_from_the_unanswered_command(desk: Desk) -> None:
    link = desk.connect()
    desk.ask("out", response_timeout="1")
    desk.ledger.settle()
    desk.at(1)
    desk.ask("leaves", expires_at=AHEAD)
    desk.ask("stays", expires_at=AHEAD)
    desk.ledger.settle()
    desk.at(20)
    desk.cancel("leaves")
    desk.ledger.settle()
    assert link.taints == 1
    desk.at(30.9)
    assert not link.closed
    desk.at(31)
    assert link.close_reason == "tainted"


def test_queues_are_swept_only_while_a_command_is_out(desk: Desk) -> None:
    link = desk.connect()
    looked_at = desk.dispatcher._queues.active
    desk.ask("a")
    desk.ask("b")
    desk.ledger.settle()
    assert len(looked_at) == 1
    desk.frame_begins(link)
    desk.answer(link)
    desk.cancel("b")
    desk.ledger.settle()
    assert len(looked_at) == 0
    desk.frame_acked(link)
    desk.ask("c")
    desk.ledger.settle()
    assert len(looked_at) == 1
    desk.at(30)
    assert len(looked_at) == 1
    desk.answer(link, "late")
    assert len(looked_at) == 0
    desk.ask("d")
    desk.ledger.settle()
    desk.hang_up(link)
    assert len(looked_at) == 0
