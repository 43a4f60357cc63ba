"""Entries that ask again for what this process has in hand or has ended, while Redis forgets and others act.

What the ledger answers was asked some time ago: in between verdicts are given, and entries are read again.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fsm.moves import Entry
from tests.transport.desk import IMEI, Desk, FakeLink
from tests.transport.fake_ledger import US, Row

ENDS: dict[str, Callable[[Desk, FakeLink], object]] = {
    "an answer": lambda desk, link: desk.answer(link),
    "silence": lambda desk, link: desk.at(31),
    "a hang-up": lambda desk, link: link.close("device_closed"),
}


def forget(desk: Desk) -> None:
    """Redis comes back empty."""
    desk.ledger.forget()
    desk.ledger.lose_log()


def moved_here(desk: Desk) -> None:
    """Another instance has begun the command, which Redis had forgotten, and has handed it on to us."""
    entry = Entry(US, "1767225660000-7")
    desk.ledger.set_row("c-1", Row("queued", 1, "theirs:1", entry, IMEI))
    desk.ledger.put(entry, {"command_id": "c-1", "imei": IMEI, "payload": "c-1", "hops": "1"})


def test_a_command_moved_here_while_restored_is_not_written(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    forget(desk)
    moved_here(desk)
    desk.answer(link)
    desk.ledger.settle(1)  # it finds that it is lost
    desk.redeliver()
    desk.ledger.settle()
    assert link.texts == ["c-1"]
    assert desk.ledger.stream == {}


def test_a_forgotten_duplicate_after_the_outcome_is_not_written(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    desk.answer(link)
    desk.ask()
    desk.ledger.settle(1)
    desk.ledger.lose_rows()
    desk.ledger.lose_log()
    desk.ledger.settle()
    assert link.texts == ["c-1"]


def test_a_command_refused_here_is_accepted_when_moved_here(desk: Desk) -> None:
    desk.at(61)
    desk.ask()
    desk.ledger.settle()
    forget(desk)
    link = desk.connect()
    moved_here(desk)
    desk.redeliver()
    desk.ledger.settle()
    desk.answer(link)
    desk.ledger.settle()
    assert link.texts == ["c-1"]
    assert desk.ledger.stream == {}


@pytest.mark.parametrize("read_again_from", range(6))
def test_a_duplicate_being_sent_is_written_once(desk: Desk, read_again_from: int) -> None:
    link = desk.connect(ready=False)
    desk.ask()
    desk.ledger.call()
    forget(desk)
    desk.ready(link)
    desk.ask()
    for turn in range(12):
        if turn >= read_again_from:
            desk.redeliver()
        desk.ledger.call()
    desk.answer(link)
    for _ in range(12):
        desk.redeliver()
        desk.ledger.call()
    assert link.texts == ["c-1"]
    assert desk.life() == ["queued not_sent", "sent maybe_sent", "responded answered"]
    assert (desk.ledger.stream, len(desk.dispatcher.entries)) == ({}, 0)


@pytest.mark.parametrize("read_again_from", range(8))
@pytest.mark.parametrize("end", ENDS)
def test_a_duplicate_of_a_sent_command_gets_its_outcome(desk: Desk, end: str, read_again_from: int) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.call()
    forget(desk)
    desk.ask()
    for turn in range(15):
        if turn >= read_again_from:
            desk.redeliver()
        desk.ledger.call()
        if turn == 0:
            ENDS[end](desk, link)
    assert link.texts == ["c-1"]
    assert (len(desk.life()), desk.life()[:2]) == (3, ["queued not_sent", "sent maybe_sent"])
    assert (desk.ledger.stream, len(desk.dispatcher.entries)) == ({}, 0)


def test_a_redelivery_while_restoring_keeps_the_connection(
    desk: Desk,
) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    forget(desk)
    desk.ask()
    desk.ledger.settle()
    desk.at(31)
    for _ in range(4):
        desk.redeliver()
        desk.ledger.call()
    desk.ledger.settle()
    assert desk.life()[-1] == "timeout response_timeout maybe_sent"
    desk.at(62)
    desk.ledger.settle()
    assert (len(desk.dispatcher.entries), link.close_reason) == (0, "")
