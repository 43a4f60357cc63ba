"""An entry that is handed over again, after this process has refused it or an earlier one has begun it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fsm.moves import Entry, Status
from tests.transport.desk import IMEI, Desk
from tests.transport.fake_ledger import US, Row

MakeDesk = Callable[..., Desk]


def stale(desk: Desk, entry: Entry, command_id: str) -> None:
    """A reply that the server had made ready before the entry was removed comes in after that."""
    fields = {b"command_id": command_id.encode(), b"imei": IMEI.encode(), b"payload": command_id.encode()}
    desk.dispatcher.receive([(entry.outbound_id, fields)], False)
    desk.ledger.settle()


def test_a_command_refused_by_a_full_queue_stays_refused(make_desk: MakeDesk) -> None:
    desk = make_desk(queue_limit=1)
    link = desk.connect(ready=False)
    desk.ask("a")
    refused = desk.ask("b")
    desk.ledger.settle()
    desk.ready(link)
    desk.ledger.settle()
    desk.answer(link)
    desk.ledger.settle()
    stale(desk, refused, "b")
    assert link.texts == ["a"]
    assert desk.life("b") == ["failed queue_full not_sent"]
    assert len(desk.dispatcher.entries) == 0


def test_a_command_refused_without_device_stays_refused(desk: Desk) -> None:
    desk.at(61)
    refused = desk.ask()
    desk.ledger.settle()
    link = desk.connect()
    stale(desk, refused, "c-1")
    assert link.texts == []
    assert desk.life() == ["failed device_not_connected not_sent"]
    assert len(desk.dispatcher.entries) == 0


@pytest.mark.parametrize("moves", [1, 2], ids=["queued", "sent too"])
def test_a_begin_whose_reply_was_lost_is_still_believed(desk: Desk, moves: int) -> None:
    link = desk.connect()
    desk.ask()
    if moves == 2:
        opened, sent = list(desk.ledger._queue)
        assert [desk.ledger._carry_out(move).status for move in (opened, sent)] == [Status.OK] * 2
    else:
        desk.ledger.lose_reply()
    desk.ledger.settle()
    assert (link.texts, desk.life()) == (["c-1"], ["queued not_sent", "sent maybe_sent"])


def test_a_redelivery_reads_the_ledger_first(desk: Desk) -> None:
    """It may be out, and what is proposed for a command that is out is its verdict."""
    entry = Entry(US, "1767225600000-1")
    desk.ledger.set_row("c-1", Row("sent", 2, "boot-a:1", entry, IMEI))
    desk.ledger.put(entry, {"command_id": "c-1", "imei": IMEI, "payload": "c-1"})
    link = desk.connect()
    desk.redeliver()
    assert desk.ledger.depth == 1
    desk.ledger.settle()
    assert (desk.life(), link.texts) == (["failed gateway_restart maybe_sent"], [])


@pytest.mark.parametrize("fresh", [False, True], ids=["pending", "new"])
@pytest.mark.parametrize(("state", "seq"), [("failed", 1), ("timeout", 1), ("responded", 3)])
def test_an_entry_of_an_ended_command_is_removed(desk: Desk, state: str, seq: int, fresh: bool) -> None:
    """Refused in one move, its ledger stands where that of a command stands that may be sent.

    Redis may deliver the entry as a new one, when it has lost the position of the group.
    """
    entry = Entry(US, "1767225600000-1")
    desk.ledger.set_row("c-1", Row(state, seq, "boot-a:1", entry, IMEI))
    desk.ledger.put(entry, {"command_id": "c-1", "imei": IMEI, "payload": "c-1"})
    link = desk.connect()
    desk.read(entry, fresh=fresh)
    desk.ledger.settle()
    assert (link.texts, desk.ledger.log) == ([], [])
    assert desk.ledger.stream == {}
