"""Every time limit of a command, a millisecond before, at, and after it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.transport.command_rig import CommandRig

MILLISECOND = 0.001
MakeCommands = Callable[..., CommandRig]

around = pytest.mark.parametrize(
    ("off", "due"), [(-MILLISECOND, False), (0.0, True), (MILLISECOND, True)], ids=["before", "at", "after"]
)


# Response timeout


@around
def test_a_command_without_an_answer_times_out(commands: CommandRig, off: float, due: bool) -> None:
    commands.connect()
    commands.ask()
    commands.ledger.commit()
    commands.at(30 + off)
    commands.ledger.commit()
    assert (commands.life()[-1] == "timeout response_timeout maybe_sent") is due


@around
def test_the_producer_sets_the_response_timeout(commands: CommandRig, off: float, due: bool) -> None:
    commands.connect()
    commands.ask(response_timeout="0.1")
    commands.ledger.commit()
    commands.at(0.1 + off)
    commands.ledger.commit()
    assert (commands.life()[-1] == "timeout response_timeout maybe_sent") is due


def test_the_response_timeout_runs_from_the_write(commands: CommandRig) -> None:
    link = commands.connect()
    commands.frame_begins(link)
    commands.ask()
    commands.ledger.commit()
    commands.at(29)
    commands.frame_acked(link)
    commands.ledger.commit()
    commands.at(58.999)
    commands.ledger.commit()
    assert commands.life()[-1] == "sent maybe_sent"
    commands.at(59)
    commands.ledger.commit()
    assert commands.life()[-1] == "timeout response_timeout maybe_sent"


def test_a_timeout_says_that_the_devices_tcp_had_the_command(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    link.acked = link.sent
    commands.at(30)
    commands.ledger.commit()
    assert commands.life()[-1] == "timeout response_timeout received"


def test_an_answer_before_the_sweep_wins_over_the_deadline(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    commands.answer(link)
    commands.at(30)
    commands.ledger.commit()
    assert commands.life()[-1] == "responded answered"
    assert commands.notes() == []


def test_an_answer_processed_after_the_deadline_is_late(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    commands.at(30)
    commands.answer(link, "too late")
    commands.ledger.commit()
    assert commands.life()[-1] == "timeout response_timeout maybe_sent"
    assert commands.notes() == [("late_response", "c-1", "too late")]


# Delivery without an answer


def test_without_an_answer_wanted_the_devices_tcp_decides(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask(expect_response="0")
    commands.ledger.commit()
    commands.sweep()
    commands.ledger.commit()
    assert commands.life()[-1] == "sent maybe_sent"
    link.acked = link.sent
    commands.sweep()
    commands.ledger.commit()
    assert commands.life()[-1] == "delivered received"


@around
def test_a_command_that_is_never_acknowledged_by_tcp_times_out(
    commands: CommandRig, off: float, due: bool
) -> None:
    commands.connect()
    commands.ask(expect_response="0")
    commands.ledger.commit()
    commands.at(30 + off)
    commands.ledger.commit()
    assert (commands.life()[-1] == "timeout delivery_timeout maybe_sent") is due


def test_the_last_sample_decides_between_delivered_and_its_timeout(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask(expect_response="0")
    commands.ledger.commit()
    link.acked = link.sent
    commands.at(30)
    commands.ledger.commit()
    assert commands.life()[-1] == "delivered received"


def test_a_delivered_command_still_owes_its_answer(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask(expect_response="0")
    commands.ledger.commit()
    link.acked = link.sent
    commands.sweep()
    commands.ask("c-2")
    commands.ledger.commit()
    assert (link.tainted, link.texts) == (True, ["c-1"])
    commands.answer(link, "done")
    commands.ledger.commit()
    assert commands.notes() == [("late_response", "c-1", "done")]
    assert link.texts == ["c-1", "c-2"]


def test_an_answer_before_the_sample_is_the_outcome(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask(expect_response="0")
    commands.ledger.commit()
    commands.answer(link, "done")
    link.acked = link.sent
    commands.sweep()
    commands.ledger.commit()
    assert commands.life()[-1] == "responded answered"


# Expiry


@around
def test_a_command_expires_while_it_waits_in_line(commands: CommandRig, off: float, due: bool) -> None:
    link = commands.connect()
    commands.ask("first", response_timeout="3600")
    commands.ask("c-1", expires_at="2026-01-01T00:01:00Z")
    commands.ledger.commit()
    commands.at(60 + off)
    commands.ledger.commit()
    assert (commands.life()[-1] == "timeout expired not_sent") is due
    assert link.texts == ["first"]


@around
def test_a_command_expires_while_its_device_is_offline(
    make_commands: MakeCommands, off: float, due: bool
) -> None:
    commands = make_commands(reconnect_grace=600)
    commands.ask(expires_at="1767225660000")
    commands.ledger.commit()
    commands.at(60 + off)
    commands.ledger.commit()
    assert (commands.life() == ["queued not_sent", "timeout expired not_sent"]) is due


@around
def test_a_command_expires_between_commit_and_write(commands: CommandRig, off: float, due: bool) -> None:
    link = commands.connect()
    commands.ask(expires_at="2026-01-01T00:01:00Z")
    commands.frame_begins(link)
    commands.ledger.commit()
    assert commands.life()[-1] == "sent maybe_sent"
    commands.at(60 + off)
    commands.ledger.commit()
    assert (commands.life()[-1] == "timeout expired not_sent") is due
    commands.frame_acked(link)
    assert link.texts == ([] if due else ["c-1"])


@around
def test_a_command_expiring_during_the_commit_is_not_written(
    commands: CommandRig, off: float, due: bool
) -> None:
    link = commands.connect()
    commands.ask(expires_at="2026-01-01T00:01:00Z")
    commands.at(60 + off)
    commands.ledger.commit()
    assert (commands.life()[1:] == ["sent maybe_sent", "timeout expired not_sent"]) is due
    assert link.texts == ([] if due else ["c-1"])


def test_the_expiry_of_a_written_command_changes_nothing(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask(expires_at="2026-01-01T00:00:10Z")
    commands.ledger.commit()
    commands.at(10)
    commands.answer(link)
    commands.ledger.commit()
    assert commands.life()[-1] == "responded answered"


@around
def test_a_command_without_expiry_gets_the_operators(
    make_commands: MakeCommands, off: float, due: bool
) -> None:
    commands = make_commands(command_ttl=45.0, reconnect_grace=600)
    commands.ask()
    commands.ledger.commit()
    commands.at(45 + off)
    commands.ledger.commit()
    assert (commands.life()[-1] == "timeout expired not_sent") is due
