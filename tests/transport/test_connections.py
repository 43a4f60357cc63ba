"""What becomes of commands when their device's connection closes, is superseded, or comes back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fsm.reasons import DEVICE_CLOSED, PROTOCOL_ERROR, SUPERSEDED, WRITE_OVERFLOW
from tests.transport.command_rig import IMEI, CommandRig
from tests.transport.fake_ledger import US

MILLISECOND = 0.001
MakeCommands = Callable[..., CommandRig]

around = pytest.mark.parametrize(
    ("off", "due"), [(-MILLISECOND, False), (0.0, True), (MILLISECOND, True)], ids=["before", "at", "after"]
)


def held_by_another(commands: CommandRig) -> None:
    """The registry names another instance, which is alive."""
    commands.ledger.hold(IMEI, "gw-2")
    commands.ledger.set_alive("gw-2")


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
def test_a_written_command_fails_with_its_connection(
    commands: CommandRig, close_reason: str, reason: str
) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    link.close(close_reason)
    commands.ledger.commit()
    assert commands.life()[-1] == f"failed {reason} maybe_sent"
    assert link.taints == 0


def test_a_written_command_that_tcp_acknowledged_was_received(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    link.acked = link.sent
    commands.sweep()
    commands.disconnect(link)
    commands.ledger.commit()
    assert commands.life()[-1] == "failed connection_lost received"


def test_a_connection_closed_by_the_write_fails_the_command(commands: CommandRig) -> None:
    link = commands.connect()
    link.on_send = lambda: link.close(WRITE_OVERFLOW)
    commands.ask()
    commands.ledger.commit()
    assert commands.life()[-1] == "failed write_error maybe_sent"
    assert len(commands.dispatcher.entries) == 0
    commands.at(3600)
    assert commands.ledger.depth == 0


def test_what_a_write_causes_is_handled_when_the_write_has_ended(commands: CommandRig) -> None:
    link = commands.connect()
    submitted: list[int] = []

    def overflow() -> None:
        link.close(WRITE_OVERFLOW)
        submitted.append(commands.ledger.depth)

    link.on_send = overflow
    commands.ask()
    commands.ledger.commit(2)
    assert (submitted, commands.ledger.depth) == ([0], 1)


@pytest.mark.parametrize(
    ("close_reason", "reason"), [(DEVICE_CLOSED, "connection_lost"), (SUPERSEDED, "session_superseded")]
)
def test_a_close_before_the_commit_withdraws_the_command(
    commands: CommandRig, close_reason: str, reason: str
) -> None:
    link = commands.connect()
    commands.ask()
    link.close(close_reason)
    commands.ledger.commit()
    assert commands.life() == ["queued not_sent", "sent maybe_sent", f"failed {reason} not_sent"]
    assert link.texts == []


@pytest.mark.parametrize(
    ("close_reason", "reason"), [(DEVICE_CLOSED, "connection_lost"), (SUPERSEDED, "session_superseded")]
)
def test_a_close_between_commit_and_write_withdraws(
    commands: CommandRig, close_reason: str, reason: str
) -> None:
    link = commands.connect()
    commands.ask()
    commands.frame_begins(link)
    commands.ledger.commit()
    link.close(close_reason)
    commands.ledger.commit()
    assert commands.life() == ["queued not_sent", "sent maybe_sent", f"failed {reason} not_sent"]
    assert link.texts == []


def test_an_outcome_being_committed_outlives_the_connection(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    commands.answer(link)
    commands.disconnect(link)
    commands.ledger.commit()
    assert commands.life()[-1] == "responded answered"


def test_an_answer_on_a_new_connection_belongs_to_no_command(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    commands.disconnect(link)
    commands.answer(commands.connect(), "OK")
    commands.ledger.commit()
    assert commands.life()[-1] == "failed connection_lost maybe_sent"
    assert commands.notes() == [("unsolicited_response", "", "OK")]


# The device comes back, or does not


@around
def test_a_waiting_command_is_kept_for_the_grace(commands: CommandRig, off: float, due: bool) -> None:
    link = commands.connect(ready=False)
    commands.ask(expires_at="2026-01-01T01:00:00Z")
    commands.ledger.commit()
    commands.at(100)
    commands.disconnect(link)
    commands.at(160 + off)
    commands.ledger.commit()
    assert (commands.life()[-1] == "failed device_not_connected not_sent") is due


def test_the_grace_never_reaches_beyond_the_expiry(commands: CommandRig) -> None:
    link = commands.connect(ready=False)
    commands.ask(expires_at="2026-01-01T00:00:30Z")
    commands.ledger.commit()
    commands.disconnect(link)
    commands.at(30)
    commands.ledger.commit()
    assert commands.life()[-1] == "timeout expired not_sent"


def test_a_device_back_in_time_gets_its_commands_in_order(commands: CommandRig) -> None:
    link = commands.connect(ready=False)
    for name in "abc":
        commands.ask(name)
    commands.ledger.commit()
    commands.disconnect(link)
    commands.at(59)
    back = commands.connect()
    commands.at(3600 - 3540)
    for _ in "abc":
        commands.ledger.commit()
        commands.answer(back)
    assert back.texts == ["a", "b", "c"]


def test_a_device_that_comes_and_goes_has_the_whole_grace_again(commands: CommandRig) -> None:
    commands.disconnect(commands.connect(ready=False))
    commands.ask(expires_at="2026-01-01T01:00:00Z")
    commands.ledger.commit()
    commands.at(50)
    commands.disconnect(commands.connect(ready=False))
    commands.at(109.999)
    commands.ledger.commit()
    assert commands.life() == ["queued not_sent"]
    commands.at(110)
    commands.ledger.commit()
    assert commands.life()[-1] == "failed device_not_connected not_sent"


@around
def test_a_command_is_accepted_within_the_reconnect_grace(
    commands: CommandRig, off: float, due: bool
) -> None:
    commands.at(1000)
    link = commands.connect()
    commands.at(2000)
    commands.disconnect(link)
    commands.at(2060 + off)
    commands.ask()
    commands.ledger.commit()
    assert commands.life() == (["failed device_not_connected not_sent"] if due else ["queued not_sent"])


@around
def test_a_command_is_accepted_within_the_grace_of_the_start(
    commands: CommandRig, off: float, due: bool
) -> None:
    commands.at(60 + off)
    entry = commands.ask()
    commands.ledger.commit()
    assert commands.life() == (["failed device_not_connected not_sent"] if due else ["queued not_sent"])
    assert (entry in commands.ledger.stream) is not due


# Superseded


def test_the_line_moves_to_the_new_connection_in_order(commands: CommandRig) -> None:
    old = commands.connect()
    for name in "abcd":
        commands.ask(name)
    commands.ledger.commit()
    new = commands.connect()
    commands.ask("e")
    for _ in "bcde":
        commands.ledger.commit()
        commands.answer(new)
    commands.ledger.commit()
    assert (old.texts, new.texts) == (["a"], ["b", "c", "d", "e"])
    assert commands.life("a")[-1] == "failed session_superseded maybe_sent"


def test_a_withdrawn_hand_over_keeps_the_place_in_the_queue(commands: CommandRig) -> None:
    old = commands.connect()
    commands.ask("a")
    commands.ask("b")
    commands.ledger.commit(1)  # `queued` of a; its `sent` is on its way
    new = commands.connect()
    held_by_another(commands)
    commands.ledger.commit(1)
    commands.ledger.hold(IMEI, US)
    commands.ledger.commit()
    commands.answer(new)
    commands.ledger.commit()
    assert (old.texts, new.texts) == ([], ["a", "b"])
    assert commands.life("a") == ["queued not_sent", "sent maybe_sent", "responded answered"]


def test_a_device_held_by_another_instance_is_superseded(commands: CommandRig) -> None:
    link = commands.connect()
    held_by_another(commands)
    commands.ask("a")
    commands.ask("b")
    commands.ledger.commit()
    assert (link.close_reason, link.texts) == ("superseded", [])
    assert (commands.life("a"), commands.life("b")) == (["queued not_sent"], ["queued not_sent"])
    assert commands.dispatcher.offline.count(IMEI) == 2


def test_a_device_held_by_a_dead_instance_goes_on(commands: CommandRig) -> None:
    link = commands.connect()
    held_by_another(commands)
    commands.ledger.set_dead("gw-2")
    commands.ask()
    commands.ledger.commit()
    assert link.texts == ["c-1"]


def test_an_unregistered_device_gets_its_commands(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ledger.release(IMEI)
    commands.ask()
    commands.ledger.commit()
    assert link.texts == ["c-1"]


def test_a_device_back_before_queued_is_committed_is_spared(
    commands: CommandRig,
) -> None:
    commands.ask()
    commands.at(60)
    link = commands.connect()
    commands.ledger.commit()
    commands.at(200)
    commands.ledger.commit()
    assert (link.texts, commands.life()[:2]) == (["c-1"], ["queued not_sent", "sent maybe_sent"])


def test_a_grace_ended_before_the_commit_ends_the_command_then(commands: CommandRig) -> None:
    commands.ask()
    commands.at(60)
    commands.ledger.commit()
    assert commands.life() == ["queued not_sent"]
    commands.at(61)
    commands.ledger.commit()
    assert commands.life()[-1] == "failed device_not_connected not_sent"


def test_commands_behind_one_held_elsewhere_wait_once(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask("a")
    commands.ask("b")
    commands.disconnect(link)
    commands.ledger.hold(IMEI, "gw-2")
    commands.ledger.set_alive("gw-2")
    commands.ledger.commit()
    waiting = [in_flight.request.command_id for in_flight in commands.dispatcher.offline.waiting(IMEI)]
    assert waiting == ["a", "b"]
