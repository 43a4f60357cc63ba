"""An entry that is handed over again, after this process has refused it or an earlier one has begun it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fsm.moves import Entry, Status
from tests.transport.command_rig import IMEI, CommandRig
from tests.transport.fake_ledger import US, Row

MakeCommands = Callable[..., CommandRig]


def stale(commands: CommandRig, entry: Entry, command_id: str) -> None:
    """A reply that the server had made ready before the entry was removed comes in after that."""
    fields = {b"command_id": command_id.encode(), b"imei": IMEI.encode(), b"payload": command_id.encode()}
    commands.dispatcher.receive([(entry.outbound_id, fields)], False)
    commands.ledger.commit()


def test_a_command_refused_by_a_full_queue_stays_refused(make_commands: MakeCommands) -> None:
    commands = make_commands(queue_limit=1)
    link = commands.connect(ready=False)
    commands.ask("a")
    refused = commands.ask("b")
    commands.ledger.commit()
    commands.ready(link)
    commands.ledger.commit()
    commands.answer(link)
    commands.ledger.commit()
    stale(commands, refused, "b")
    assert link.texts == ["a"]
    assert commands.life("b") == ["failed queue_full not_sent"]
    assert len(commands.dispatcher.entries) == 0


def test_a_command_refused_without_device_stays_refused(commands: CommandRig) -> None:
    commands.at(61)
    refused = commands.ask()
    commands.ledger.commit()
    link = commands.connect()
    stale(commands, refused, "c-1")
    assert link.texts == []
    assert commands.life() == ["failed device_not_connected not_sent"]
    assert len(commands.dispatcher.entries) == 0


@pytest.mark.parametrize("moves", [1, 2], ids=["queued", "sent too"])
def test_a_begin_whose_reply_was_lost_is_still_believed(commands: CommandRig, moves: int) -> None:
    link = commands.connect()
    commands.ask()
    if moves == 2:
        opened, sent = list(commands.ledger._queue)
        assert [commands.ledger._carry_out(move).status for move in (opened, sent)] == [Status.OK] * 2
    else:
        commands.ledger.lose_reply()
    commands.ledger.commit()
    assert (link.texts, commands.life()) == (["c-1"], ["queued not_sent", "sent maybe_sent"])


def test_a_redelivery_reads_the_ledger_first(commands: CommandRig) -> None:
    """It may be out, and what is proposed for a command that is out is its verdict."""
    entry = Entry(US, "1767225600000-1")
    commands.ledger.set_row("c-1", Row("sent", 2, "boot-a:1", entry, IMEI))
    commands.ledger.put(entry, {"command_id": "c-1", "imei": IMEI, "payload": "c-1"})
    link = commands.connect()
    commands.redeliver()
    assert commands.ledger.depth == 1
    commands.ledger.commit()
    assert (commands.life(), link.texts) == (["failed gateway_restart maybe_sent"], [])


@pytest.mark.parametrize("fresh", [False, True], ids=["pending", "new"])
@pytest.mark.parametrize(("state", "seq"), [("failed", 1), ("timeout", 1), ("responded", 3)])
def test_an_entry_of_an_ended_command_is_removed(
    commands: CommandRig, state: str, seq: int, fresh: bool
) -> None:
    """Refused in one move, its ledger stands where that of a command stands that may be sent.

    Redis may deliver the entry as a new one, when it has lost the position of the group.
    """
    entry = Entry(US, "1767225600000-1")
    commands.ledger.set_row("c-1", Row(state, seq, "boot-a:1", entry, IMEI))
    commands.ledger.put(entry, {"command_id": "c-1", "imei": IMEI, "payload": "c-1"})
    link = commands.connect()
    commands.read(entry, fresh=fresh)
    commands.ledger.commit()
    assert (link.texts, commands.ledger.log) == ([], [])
    assert commands.ledger.stream == {}
