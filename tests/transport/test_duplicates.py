"""Entries that ask again for what this process has in hand or has ended, while Redis forgets and others act.

What the ledger answers was asked some time ago: in between verdicts are given, and entries are read again.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fsm.moves import Entry
from tests.transport.command_rig import IMEI, CommandRig, FakeLink
from tests.transport.fake_ledger import US, Row

ENDS: dict[str, Callable[[CommandRig, FakeLink], object]] = {
    "an answer": lambda commands, link: commands.answer(link),
    "silence": lambda commands, link: commands.at(31),
    "a hang-up": lambda commands, link: link.close("device_closed"),
}


def forget(commands: CommandRig) -> None:
    """Redis comes back empty."""
    commands.ledger.forget()
    commands.ledger.lose_log()


def moved_here(commands: CommandRig) -> None:
    """Another instance has begun the command, which Redis had forgotten, and has handed it on to us."""
    entry = Entry(US, "1767225660000-7")
    commands.ledger.set_row("c-1", Row("queued", 1, "theirs:1", entry, IMEI, hops=1))
    commands.ledger.put(entry, {"command_id": "c-1", "imei": IMEI, "payload": "c-1"})


def test_a_command_moved_here_while_restored_is_not_written(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    forget(commands)
    moved_here(commands)
    commands.answer(link)
    commands.ledger.commit(1)  # it finds that it is lost
    commands.redeliver()
    commands.ledger.commit()
    assert link.texts == ["c-1"]
    assert commands.ledger.stream == {}


def test_a_forgotten_duplicate_after_the_outcome_is_not_written(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    commands.answer(link)
    commands.ask()
    commands.ledger.commit(1)
    commands.ledger.lose_rows()
    commands.ledger.lose_log()
    commands.ledger.commit()
    assert link.texts == ["c-1"]


def test_a_command_refused_here_is_accepted_when_moved_here(commands: CommandRig) -> None:
    commands.at(61)
    commands.ask()
    commands.ledger.commit()
    forget(commands)
    link = commands.connect()
    moved_here(commands)
    commands.redeliver()
    commands.ledger.commit()
    commands.answer(link)
    commands.ledger.commit()
    assert link.texts == ["c-1"]
    assert commands.ledger.stream == {}


@pytest.mark.parametrize("read_again_from", range(6))
def test_a_duplicate_being_sent_is_written_once(commands: CommandRig, read_again_from: int) -> None:
    link = commands.connect(ready=False)
    commands.ask()
    commands.ledger.call()
    forget(commands)
    commands.ready(link)
    commands.ask()
    for turn in range(12):
        if turn >= read_again_from:
            commands.redeliver()
        commands.ledger.call()
    commands.answer(link)
    for _ in range(12):
        commands.redeliver()
        commands.ledger.call()
    assert link.texts == ["c-1"]
    assert commands.life() == ["queued not_sent", "sent maybe_sent", "responded answered"]
    assert (commands.ledger.stream, len(commands.dispatcher.entries)) == ({}, 0)


@pytest.mark.parametrize("read_again_from", range(8))
@pytest.mark.parametrize("end", ENDS)
def test_a_duplicate_of_a_sent_command_gets_its_outcome(
    commands: CommandRig, end: str, read_again_from: int
) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.call()
    forget(commands)
    commands.ask()
    for turn in range(15):
        if turn >= read_again_from:
            commands.redeliver()
        commands.ledger.call()
        if turn == 0:
            ENDS[end](commands, link)
    assert link.texts == ["c-1"]
    assert (len(commands.life()), commands.life()[:2]) == (3, ["queued not_sent", "sent maybe_sent"])
    assert (commands.ledger.stream, len(commands.dispatcher.entries)) == ({}, 0)


def test_a_redelivery_while_restoring_keeps_the_connection(
    commands: CommandRig,
) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    forget(commands)
    commands.ask()
    commands.ledger.commit()
    commands.at(31)
    for _ in range(4):
        commands.redeliver()
        commands.ledger.call()
    commands.ledger.commit()
    assert commands.life()[-1] == "timeout response_timeout maybe_sent"
    commands.at(62)
    commands.ledger.commit()
    assert (len(commands.dispatcher.entries), link.close_reason) == (0, "")
