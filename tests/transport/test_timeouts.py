"""Every time limit of a command, a millisecond before, at, and after it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.transport.desk import Desk

MILLISECOND = 0.001
MakeDesk = Callable[..., Desk]

around = pytest.mark.parametrize(
    ("off", "due"), [(-MILLISECOND, False), (0.0, True), (MILLISECOND, True)], ids=["before", "at", "after"]
)


# Response timeout


@around
def test_a_command_without_an_answer_times_out(desk: Desk, off: float, due: bool) -> None:
    desk.connect()
    desk.ask()
    desk.ledger.settle()
    desk.at(30 + off)
    desk.ledger.settle()
    assert (desk.life()[-1] == "timeout response_timeout maybe_sent") is due


@around
def test_the_producer_sets_the_response_timeout(desk: Desk, off: float, due: bool) -> None:
    desk.connect()
    desk.ask(response_timeout="0.1")
    desk.ledger.settle()
    desk.at(0.1 + off)
    desk.ledger.settle()
    assert (desk.life()[-1] == "timeout response_timeout maybe_sent") is due


def test_the_response_timeout_runs_from_the_write(desk: Desk) -> None:
    link = desk.connect()
    desk.frame_begins(link)
    desk.ask()
    desk.ledger.settle()
    desk.at(29)
    desk.frame_acked(link)
    desk.ledger.settle()
    desk.at(58.999)
    desk.ledger.settle()
    assert desk.life()[-1] == "sent maybe_sent"
    desk.at(59)
    desk.ledger.settle()
    assert desk.life()[-1] == "timeout response_timeout maybe_sent"


def test_a_timeout_says_that_the_devices_tcp_had_the_command(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    link.acked = link.sent
    desk.at(30)
    desk.ledger.settle()
    assert desk.life()[-1] == "timeout response_timeout received"


def test_an_answer_before_the_sweep_wins_over_the_deadline(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    desk.answer(link)
    desk.at(30)
    desk.ledger.settle()
    assert desk.life()[-1] == "responded answered"
    assert desk.notes() == []


def test_an_answer_processed_after_the_deadline_is_late(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    desk.at(30)
    desk.answer(link, "too late")
    desk.ledger.settle()
    assert desk.life()[-1] == "timeout response_timeout maybe_sent"
    assert desk.notes() == [("late_response", "c-1", "too late")]


# Delivery without an answer


def test_without_an_answer_wanted_the_devices_tcp_decides(desk: Desk) -> None:
    link = desk.connect()
    desk.ask(expect_response="0")
    desk.ledger.settle()
    desk.sweep()
    desk.ledger.settle()
    assert desk.life()[-1] == "sent maybe_sent"
    link.acked = link.sent
    desk.sweep()
    desk.ledger.settle()
    assert desk.life()[-1] == "delivered received"


@around
def test_a_command_that_is_never_acknowledged_by_tcp_times_out(desk: Desk, off: float, due: bool) -> None:
    desk.connect()
    desk.ask(expect_response="0")
    desk.ledger.settle()
    desk.at(30 + off)
    desk.ledger.settle()
    assert (desk.life()[-1] == "timeout delivery_timeout maybe_sent") is due


def test_the_last_sample_decides_between_delivered_and_its_timeout(desk: Desk) -> None:
    link = desk.connect()
    desk.ask(expect_response="0")
    desk.ledger.settle()
    link.acked = link.sent
    desk.at(30)
    desk.ledger.settle()
    assert desk.life()[-1] == "delivered received"


def test_a_delivered_command_still_owes_its_answer(desk: Desk) -> None:
    link = desk.connect()
    desk.ask(expect_response="0")
    desk.ledger.settle()
    link.acked = link.sent
    desk.sweep()
    desk.ask("c-2")
    desk.ledger.settle()
    assert (link.tainted, link.texts) == (True, ["c-1"])
    desk.answer(link, "done")
    desk.ledger.settle()
    assert desk.notes() == [("late_response", "c-1", "done")]
    assert link.texts == ["c-1", "c-2"]


def test_an_answer_before_the_sample_is_the_outcome(desk: Desk) -> None:
    link = desk.connect()
    desk.ask(expect_response="0")
    desk.ledger.settle()
    desk.answer(link, "done")
    link.acked = link.sent
    desk.sweep()
    desk.ledger.settle()
    assert desk.life()[-1] == "responded answered"


# Expiry


@around
def test_a_command_expires_while_it_waits_in_line(desk: Desk, off: float, due: bool) -> None:
    link = desk.connect()
    desk.ask("first", response_timeout="3600")
    desk.ask("c-1", expires_at="2026-01-01T00:01:00Z")
    desk.ledger.settle()
    desk.at(60 + off)
    desk.ledger.settle()
    assert (desk.life()[-1] == "timeout expired not_sent") is due
    assert link.texts == ["first"]


@around
def test_a_command_expires_while_its_device_is_offline(make_desk: MakeDesk, off: float, due: bool) -> None:
    desk = make_desk(reconnect_grace=600)
    desk.ask(expires_at="1767225660000")
    desk.ledger.settle()
    desk.at(60 + off)
    desk.ledger.settle()
    assert (desk.life() == ["queued not_sent", "timeout expired not_sent"]) is due


@around
def test_a_command_expires_between_commit_and_write(desk: Desk, off: float, due: bool) -> None:
    link = desk.connect()
    desk.ask(expires_at="2026-01-01T00:01:00Z")
    desk.frame_begins(link)
    desk.ledger.settle()
    assert desk.life()[-1] == "sent maybe_sent"
    desk.at(60 + off)
    desk.ledger.settle()
    assert (desk.life()[-1] == "timeout expired not_sent") is due
    desk.frame_acked(link)
    assert link.texts == ([] if due else ["c-1"])


@around
def test_a_command_expiring_during_the_commit_is_not_written(desk: Desk, off: float, due: bool) -> None:
    link = desk.connect()
    desk.ask(expires_at="2026-01-01T00:01:00Z")
    desk.at(60 + off)
    desk.ledger.settle()
    assert (desk.life()[1:] == ["sent maybe_sent", "timeout expired not_sent"]) is due
    assert link.texts == ([] if due else ["c-1"])


def test_the_expiry_of_a_written_command_changes_nothing(desk: Desk) -> None:
    link = desk.connect()
    desk.ask(expires_at="2026-01-01T00:00:10Z")
    desk.ledger.settle()
    desk.at(10)
    desk.answer(link)
    desk.ledger.settle()
    assert desk.life()[-1] == "responded answered"


@around
def test_a_command_without_expiry_gets_the_operators(make_desk: MakeDesk, off: float, due: bool) -> None:
    desk = make_desk(command_ttl=45.0, reconnect_grace=600)
    desk.ask()
    desk.ledger.settle()
    desk.at(45 + off)
    desk.ledger.settle()
    assert (desk.life()[-1] == "timeout expired not_sent") is due
