"""One connection's commands: one out at a time, in stream order, and no answer given to another's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.transport.command_rig import CommandRig
from transport.teltonika.command import TYPE_COMMAND, Message
from transport.teltonika.frame import CODEC_12, CODEC_14

AHEAD = "2026-01-01T01:00:00Z"

MILLISECOND = 0.001
MakeCommands = Callable[..., CommandRig]


# One at a time, in order


def test_of_twenty_commands_one_is_out_at_any_time(commands: CommandRig) -> None:
    link = commands.connect()
    names = [f"c-{number}" for number in range(20)]
    for name in names:
        commands.ask(name)
    for number in range(20):
        commands.ledger.commit()
        assert link.texts == names[: number + 1]
        commands.answer(link, f"answer to {names[number]}")
    commands.ledger.commit()
    for name in names:
        assert commands.ledger.events(name)[-1].response == f"answer to {name}"
    assert commands.notes() == []


def test_commands_wait_for_the_first_acknowledged_frame(commands: CommandRig) -> None:
    link = commands.connect(ready=False)
    commands.ask("a")
    commands.ask("b")
    commands.ledger.commit()
    assert (commands.life("a"), link.texts) == (["queued not_sent"], [])
    commands.ready(link)
    commands.ledger.commit()
    assert link.texts == ["a"]


def test_nothing_begins_during_or_before_ack_of_a_frame(commands: CommandRig) -> None:
    link = commands.connect()
    commands.frame_begins(link)
    commands.ask()
    commands.ledger.commit()
    assert commands.life() == ["queued not_sent"]
    commands.frame_acked(link)
    commands.ledger.commit()
    assert link.texts == ["c-1"]


def test_a_committed_command_is_not_written_into_a_frame(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.frame_begins(link)
    commands.ledger.commit()
    assert (commands.life()[-1], link.texts) == ("sent maybe_sent", [])
    commands.frame_acked(link)
    assert link.texts == ["c-1"]


def test_an_uncommitted_command_blocks_those_behind_it(commands: CommandRig) -> None:
    link = commands.connect()
    commands.frame_begins(link)
    commands.ask("a")
    commands.ask("b")
    commands.frame_acked(link)
    assert link.texts == []
    commands.ledger.commit()
    commands.answer(link)
    commands.ledger.commit()
    assert link.texts == ["a", "b"]


def test_the_text_is_sent_byte_for_byte_in_the_codec_asked_for(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask("a", payload="  getparam 2001 ", codec="12")
    commands.ledger.commit()
    commands.answer(link)
    commands.ask("b", payload="getver", codec="14")
    commands.ledger.commit()
    assert link.commands == [
        Message(CODEC_12, TYPE_COMMAND, b"  getparam 2001 "),
        Message(CODEC_14, TYPE_COMMAND, b"getver", link.imei),
    ]


# Late answers


def test_a_late_answer_is_never_given_to_the_next_command(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask("old")
    commands.ledger.commit()
    commands.at(30)
    commands.ask("new")
    commands.ledger.commit()
    assert link.texts == ["old"]
    commands.answer(link, "answer to old")
    commands.ledger.commit()
    assert link.texts == ["old", "new"]
    commands.answer(link, "answer to new")
    commands.ledger.commit()
    assert commands.ledger.events("new")[-1].response == "answer to new"
    assert commands.notes() == [("late_response", "old", "answer to old")]
    assert commands.ledger.notes()[0].rtt_ms == 30_000


@pytest.mark.parametrize(
    ("off", "due"), [(-MILLISECOND, False), (0.0, True), (MILLISECOND, True)], ids=["before", "at", "after"]
)
def test_a_tainted_connection_is_closed_when_a_command_waits(
    commands: CommandRig, off: float, due: bool
) -> None:
    link = commands.connect()
    commands.ask("old")
    commands.ask("new")
    commands.ledger.commit()
    commands.at(30)
    commands.ledger.commit()
    commands.at(60 + off)
    assert link.closed is due
    assert link.close_reason == ("tainted" if due else "")


def test_the_waiting_command_is_queued_after_a_reconnect(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask("old")
    commands.ask("new")
    commands.ledger.commit()
    commands.at(30)
    commands.ledger.commit()
    commands.at(60)
    commands.ledger.commit()
    assert (link.close_reason, commands.life("new")) == ("tainted", ["queued not_sent"])
    clean = commands.connect()
    commands.ledger.commit()
    assert clean.texts == ["new"]


def test_a_tainted_connection_stays_open_while_nothing_waits(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    commands.at(30)
    commands.at(3000)
    assert not link.closed
    commands.ask("c-2")
    commands.at(3001)
    assert link.closed


def test_a_missing_answer_is_forgotten_with_the_connection(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    commands.at(30)
    commands.disconnect(link)
    fresh = commands.connect()
    commands.answer(fresh, "who asked?")
    commands.ledger.commit()
    assert commands.notes() == [("unsolicited_response", "", "who asked?")]


def test_a_tainted_queue_is_forgotten_once_the_late_answer_came(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    commands.at(30)
    commands.answer(link)
    commands.at(1000)
    assert not link.closed
    assert (link.taints, link.tainted) == (1, False)


def metric(commands: CommandRig, name: str) -> float | None:
    return commands.metrics.registry.get_sample_value(f"teltonika_{name}")


# A place in line


def test_a_command_does_not_overtake_one_being_accepted(commands: CommandRig) -> None:
    link = commands.connect()
    commands.frame_begins(link)
    commands.ask("a")
    commands.frame_acked(link)
    commands.ask("b")
    commands.ledger.commit()
    assert (link.texts, commands.life("b")) == (["a"], ["queued not_sent"])
    commands.answer(link)
    commands.ledger.commit()
    assert link.texts == ["a", "b"]


def test_leaving_the_queue_does_not_change_the_first(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask("a")
    commands.ask("b")
    commands.frame_begins(link)
    commands.ledger.commit()
    commands.cancel("b")
    commands.ledger.commit()
    commands.frame_acked(link)
    assert link.texts == ["a"]


def test_nothing_is_begun_in_a_gateway_that_stops(commands: CommandRig) -> None:
    link = commands.connect(ready=False)
    commands.ask()
    commands.ledger.commit()
    commands.dispatcher._commands.stopping = True
    commands.ready(link)
    assert (commands.dispatcher._queues.queue_of(link).writes.slot, commands.ledger.depth) == (None, 0)


# What TCP says of a command


def test_of_a_command_that_is_not_written_tcp_says_nothing(commands: CommandRig) -> None:
    """Everything written so far is acknowledged, and the command is none of it."""
    link = commands.connect()
    commands.ask("a")
    commands.ask("b", expect_response="0")
    commands.ledger.commit()
    link.acked = link.sent
    commands.answer(link)
    commands.frame_begins(link)
    commands.sweep()
    commands.ledger.commit()
    commands.sweep()
    commands.ledger.commit()
    assert (link.texts, commands.life("b")) == (["a"], ["queued not_sent", "sent maybe_sent"])
    commands.frame_acked(link)
    commands.ledger.commit()
    assert (link.texts, commands.life("b")[-1]) == (["a", "b"], "sent maybe_sent")


# A taint


def test_a_taint_counts_from_the_unanswered_command(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask("out", response_timeout="1")
    commands.ledger.commit()
    commands.at(1)
    commands.ask("leaves", expires_at=AHEAD)
    commands.ask("stays", expires_at=AHEAD)
    commands.ledger.commit()
    commands.at(20)
    commands.cancel("leaves")
    commands.ledger.commit()
    assert link.taints == 1
    commands.at(30.9)
    assert not link.closed
    commands.at(31)
    assert link.close_reason == "tainted"


def test_queues_are_swept_only_while_a_command_is_out(commands: CommandRig) -> None:
    link = commands.connect()
    looked_at = commands.dispatcher._queues.active
    commands.ask("a")
    commands.ask("b")
    commands.ledger.commit()
    assert len(looked_at) == 1
    commands.frame_begins(link)
    commands.answer(link)
    commands.cancel("b")
    commands.ledger.commit()
    assert len(looked_at) == 0
    commands.frame_acked(link)
    commands.ask("c")
    commands.ledger.commit()
    assert len(looked_at) == 1
    commands.at(30)
    assert len(looked_at) == 1
    commands.answer(link, "late")
    assert len(looked_at) == 0
    commands.ask("d")
    commands.ledger.commit()
    commands.disconnect(link)
    assert len(looked_at) == 0
