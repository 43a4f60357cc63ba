"""What becomes of commands when their device's connection closes, is superseded, or comes back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fsm.reasons import DEVICE_CLOSED, PROTOCOL_ERROR, SUPERSEDED, WRITE_OVERFLOW
from tests.transport.desk import IMEI, Desk
from tests.transport.fake_ledger import US

MILLISECOND = 0.001
MakeDesk = Callable[..., Desk]

around = pytest.mark.parametrize(
    ("off", "due"), [(-MILLISECOND, False), (0.0, True), (MILLISECOND, True)], ids=["before", "at", "after"]
)


def held_by_another(desk: Desk) -> None:
    """The registry names another instance, which is alive."""
    desk.ledger.hold(IMEI, "gw-2")
    desk.ledger.set_alive("gw-2")


# The connection closes


@pytest.mark.parametrize(
    ("close_reason", "reason"),
    [
        (DEVICE_CLOSED, "connection_lost"),
        (PROTOCOL_ERROR, "protocol_error"),
        (SUPERSEDED, "session_superseded"),
        (WRITE_OVERFLOW, "write_error"),
    ],
)
def test_a_written_command_fails_with_its_connection(desk: Desk, close_reason: str, reason: str) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    link.close(close_reason)
    desk.ledger.settle()
    assert desk.life()[-1] == f"failed {reason} maybe_sent"
    assert link.taints == 0


def test_a_written_command_that_tcp_acknowledged_was_received(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    link.acked = link.sent
    desk.sweep()
    desk.hang_up(link)
    desk.ledger.settle()
    assert desk.life()[-1] == "failed connection_lost received"


def test_a_connection_closed_by_the_write_fails_the_command(desk: Desk) -> None:
    link = desk.connect()
    link.on_send = lambda: link.close(WRITE_OVERFLOW)
    desk.ask()
    desk.ledger.settle()
    assert desk.life()[-1] == "failed write_error maybe_sent"
    assert len(desk.dispatcher.entries) == 0
    desk.at(3600)
    assert desk.ledger.depth == 0


def test_what_a_write_causes_is_handled_when_the_write_has_ended(desk: Desk) -> None:
    link = desk.connect()
    submitted: list[int] = []

    def overflow() -> None:
        link.close(WRITE_OVERFLOW)
        submitted.append(desk.ledger.depth)

    link.on_send = overflow
    desk.ask()
    desk.ledger.settle(2)
    assert (submitted, desk.ledger.depth) == ([0], 1)


@pytest.mark.parametrize(
    ("close_reason", "reason"), [(DEVICE_CLOSED, "connection_lost"), (SUPERSEDED, "session_superseded")]
)
def test_a_close_before_the_commit_withdraws_the_command(desk: Desk, close_reason: str, reason: str) -> None:
    link = desk.connect()
    desk.ask()
    link.close(close_reason)
    desk.ledger.settle()
    assert desk.life() == ["queued not_sent", "sent maybe_sent", f"failed {reason} not_sent"]
    assert link.texts == []


@pytest.mark.parametrize(
    ("close_reason", "reason"), [(DEVICE_CLOSED, "connection_lost"), (SUPERSEDED, "session_superseded")]
)
def test_a_close_between_commit_and_write_withdraws(desk: Desk, close_reason: str, reason: str) -> None:
    link = desk.connect()
    desk.ask()
    desk.frame_begins(link)
    desk.ledger.settle()
    link.close(close_reason)
    desk.ledger.settle()
    assert desk.life() == ["queued not_sent", "sent maybe_sent", f"failed {reason} not_sent"]
    assert link.texts == []


def test_an_outcome_being_committed_outlives_the_connection(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    desk.answer(link)
    desk.hang_up(link)
    desk.ledger.settle()
    assert desk.life()[-1] == "responded answered"


def test_an_answer_on_a_new_connection_belongs_to_no_command(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    desk.hang_up(link)
    desk.answer(desk.connect(), "OK")
    desk.ledger.settle()
    assert desk.life()[-1] == "failed connection_lost maybe_sent"
    assert desk.notes() == [("unsolicited_response", "", "OK")]


# The device comes back, or does not


@around
def test_a_waiting_command_is_kept_for_the_grace(desk: Desk, off: float, due: bool) -> None:
    link = desk.connect(ready=False)
    desk.ask(expires_at="2026-01-01T01:00:00Z")
    desk.ledger.settle()
    desk.at(100)
    desk.hang_up(link)
    desk.at(160 + off)
    desk.ledger.settle()
    assert (desk.life()[-1] == "failed device_not_connected not_sent") is due


def test_the_grace_never_reaches_beyond_the_expiry(desk: Desk) -> None:
    link = desk.connect(ready=False)
    desk.ask(expires_at="2026-01-01T00:00:30Z")
    desk.ledger.settle()
    desk.hang_up(link)
    desk.at(30)
    desk.ledger.settle()
    assert desk.life()[-1] == "timeout expired not_sent"


def test_a_device_back_in_time_gets_its_commands_in_order(desk: Desk) -> None:
    link = desk.connect(ready=False)
    for name in "abc":
        desk.ask(name)
    desk.ledger.settle()
    desk.hang_up(link)
    desk.at(59)
    back = desk.connect()
    desk.at(3600 - 3540)
    for _ in "abc":
        desk.ledger.settle()
        desk.answer(back)
    assert back.texts == ["a", "b", "c"]


def test_a_device_that_comes_and_goes_has_the_whole_grace_again(desk: Desk) -> None:
    desk.hang_up(desk.connect(ready=False))
    desk.ask(expires_at="2026-01-01T01:00:00Z")
    desk.ledger.settle()
    desk.at(50)
    desk.hang_up(desk.connect(ready=False))
    desk.at(109.999)
    desk.ledger.settle()
    assert desk.life() == ["queued not_sent"]
    desk.at(110)
    desk.ledger.settle()
    assert desk.life()[-1] == "failed device_not_connected not_sent"


@around
def test_a_command_is_accepted_within_the_reconnect_grace(desk: Desk, off: float, due: bool) -> None:
    desk.at(1000)
    link = desk.connect()
    desk.at(2000)
    desk.hang_up(link)
    desk.at(2060 + off)
    desk.ask()
    desk.ledger.settle()
    assert desk.life() == (["failed device_not_connected not_sent"] if due else ["queued not_sent"])


@around
def test_a_command_is_accepted_within_the_grace_of_the_start(desk: Desk, off: float, due: bool) -> None:
    desk.at(60 + off)
    entry = desk.ask()
    desk.ledger.settle()
    assert desk.life() == (["failed device_not_connected not_sent"] if due else ["queued not_sent"])
    assert (entry in desk.ledger.stream) is not due


# Superseded


def test_the_line_moves_to_the_new_connection_in_order(desk: Desk) -> None:
    old = desk.connect()
    for name in "abcd":
        desk.ask(name)
    desk.ledger.settle()
    new = desk.connect()
    desk.ask("e")
    for _ in "bcde":
        desk.ledger.settle()
        desk.answer(new)
    desk.ledger.settle()
    assert (old.texts, new.texts) == (["a"], ["b", "c", "d", "e"])
    assert desk.life("a")[-1] == "failed session_superseded maybe_sent"


def test_a_withdrawn_hand_over_keeps_the_place_in_the_queue(desk: Desk) -> None:
    old = desk.connect()
    desk.ask("a")
    desk.ask("b")
    desk.ledger.settle(1)  # `queued` of a; its `sent` is on its way
    new = desk.connect()
    held_by_another(desk)
    desk.ledger.settle(1)
    desk.ledger.hold(IMEI, US)
    desk.ledger.settle()
    desk.answer(new)
    desk.ledger.settle()
    assert (old.texts, new.texts) == ([], ["a", "b"])
    assert desk.life("a") == ["queued not_sent", "sent maybe_sent", "responded answered"]


def test_a_device_held_by_another_instance_is_superseded(desk: Desk) -> None:
    link = desk.connect()
    held_by_another(desk)
    desk.ask("a")
    desk.ask("b")
    desk.ledger.settle()
    assert (link.close_reason, link.texts) == ("superseded", [])
    assert (desk.life("a"), desk.life("b")) == (["queued not_sent"], ["queued not_sent"])
    assert desk.dispatcher.offline.count(IMEI) == 2


def test_a_device_held_by_a_dead_instance_goes_on(desk: Desk) -> None:
    link = desk.connect()
    held_by_another(desk)
    desk.ledger.set_dead("gw-2")
    desk.ask()
    desk.ledger.settle()
    assert link.texts == ["c-1"]


def test_an_unregistered_device_gets_its_commands(desk: Desk) -> None:
    link = desk.connect()
    desk.ledger.release(IMEI)
    desk.ask()
    desk.ledger.settle()
    assert link.texts == ["c-1"]


def test_a_device_back_before_queued_is_committed_is_spared(
    desk: Desk,
) -> None:
    desk.ask()
    desk.at(60)
    link = desk.connect()
    desk.ledger.settle()
    desk.at(200)
    desk.ledger.settle()
    assert (link.texts, desk.life()[:2]) == (["c-1"], ["queued not_sent", "sent maybe_sent"])


def test_a_grace_ended_before_the_commit_ends_the_command_then(desk: Desk) -> None:
    desk.ask()
    desk.at(60)
    desk.ledger.settle()
    assert desk.life() == ["queued not_sent"]
    desk.at(61)
    desk.ledger.settle()
    assert desk.life()[-1] == "failed device_not_connected not_sent"


def test_commands_behind_one_held_elsewhere_wait_once(desk: Desk) -> None:
    link = desk.connect()
    desk.ask("a")
    desk.ask("b")
    desk.hang_up(link)
    desk.ledger.hold(IMEI, "gw-2")
    desk.ledger.set_alive("gw-2")
    desk.ledger.settle()
    waiting = [in_flight.request.command_id for in_flight in desk.dispatcher.offline.waiting(IMEI)]
    assert waiting == ["a", "b"]
