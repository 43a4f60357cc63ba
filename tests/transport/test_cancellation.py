"""Cancels: a command that is not out is called off, wherever it waits; any other cancel gets a note."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from fsm.moves import Entry, Open, Status
from store.client.errors import StoreRefused
from tests.transport.desk import IMEI, Desk
from tests.transport.fake_ledger import Row


async def settled(desk: Desk) -> None:
    """Look-ups have been answered, and so have the moves that follow from them."""
    for _ in range(5):
        await asyncio.sleep(0)
        desk.ledger.settle()


def elsewhere(desk: Desk, state: str, seq: int) -> Entry:
    """A command that another instance holds."""
    entry = Entry("gw-2", "1767225000000-0")
    desk.ledger.put(entry, {"command_id": "c-1"})
    desk.ledger.set_row("c-1", Row(state, seq, "boot-z:1", entry, IMEI))
    return entry


def test_a_queued_command_is_called_off(desk: Desk) -> None:
    link = desk.connect(ready=False)
    entry = desk.ask()
    desk.ledger.settle()
    cancel = desk.cancel()
    desk.ledger.settle()
    desk.ready(link)
    desk.ledger.settle()
    assert desk.life() == ["queued not_sent", "failed cancelled not_sent"]
    assert {entry, cancel}.isdisjoint(desk.ledger.stream)
    assert link.texts == []


def test_a_command_that_waits_for_its_device_is_called_off(desk: Desk) -> None:
    desk.ask()
    desk.ledger.settle()
    desk.cancel()
    desk.ledger.settle()
    assert desk.life()[-1] == "failed cancelled not_sent"
    assert desk.dispatcher.offline.imeis == []


def test_one_of_several_waiting_commands_is_cancelled(desk: Desk) -> None:
    for command_id in ("c-1", "c-2"):
        desk.ask(command_id)
    desk.ledger.settle()
    desk.cancel("c-1")
    desk.ledger.settle()
    link = desk.connect()
    desk.ledger.settle()
    assert (desk.life("c-1")[-1], link.texts) == ("failed cancelled not_sent", ["c-2"])


def test_a_cancel_before_queued_is_committed_comes_first(desk: Desk) -> None:
    link = desk.connect()
    desk.frame_begins(link)
    desk.ask()
    desk.cancel()
    desk.frame_acked(link)
    desk.ledger.settle()
    assert desk.life() == ["queued not_sent", "failed cancelled not_sent"]
    assert link.texts == []


def test_the_next_in_line_is_sent_when_the_first_is_called_off(desk: Desk) -> None:
    link = desk.connect(ready=False)
    desk.ask("a")
    desk.ask("b")
    desk.ledger.settle()
    desk.cancel("a")
    desk.ready(link)
    desk.ledger.settle()
    assert link.texts == ["b"]


def test_a_cancel_while_sent_is_committed_is_too_late(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    cancel = desk.cancel()
    desk.ledger.settle()
    assert (link.texts, desk.life()[-1]) == (["c-1"], "sent maybe_sent")
    assert desk.notes() == [("cancel_rejected", "c-1", "sent")]
    assert cancel not in desk.ledger.stream


def test_a_committed_unwritten_command_counts_as_sent(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.frame_begins(link)
    desk.ledger.settle()
    desk.cancel()
    desk.ledger.settle()
    assert desk.notes() == [("cancel_rejected", "c-1", "sent")]


def test_a_command_that_is_out_is_not_called_off(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    desk.cancel()
    desk.ledger.settle()
    desk.answer(link)
    desk.ledger.settle()
    assert desk.notes() == [("cancel_rejected", "c-1", "sent")]
    assert desk.life()[-1] == "responded answered"


def test_a_cancel_after_the_outcome_finds_the_command_ended(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    desk.answer(link)
    desk.cancel()
    desk.ledger.settle()
    assert desk.notes() == [("cancel_rejected", "c-1", "terminal")]


def test_a_cancel_that_is_read_twice_is_answered_once(desk: Desk) -> None:
    desk.connect()
    desk.ask()
    desk.ledger.settle()
    desk.cancel()
    desk.redeliver()
    desk.ledger.settle()
    assert desk.notes() == [("cancel_rejected", "c-1", "sent")]


def test_a_command_without_ledger_can_be_cancelled(desk: Desk) -> None:
    desk.connect(ready=False)
    desk.ask()
    desk.ledger.settle()
    desk.ledger.forget()
    desk.cancel()
    desk.ledger.settle()
    assert desk.life()[-1] == "failed cancelled not_sent"
    assert desk.ledger.events("c-1")[-1].recovered


async def test_an_unknown_command_cannot_be_called_off(desk: Desk) -> None:
    cancel = desk.cancel("never-seen")
    desk.redeliver()
    await settled(desk)
    assert desk.notes() == [("cancel_rejected", "never-seen", "unknown")]
    assert cancel not in desk.ledger.stream


async def test_a_command_of_the_past_cannot_be_called_off(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    desk.answer(link)
    desk.ledger.settle()
    desk.cancel()
    await settled(desk)
    assert desk.notes() == [("cancel_rejected", "c-1", "terminal")]


async def test_a_command_that_waits_at_another_instance_is_called_off(desk: Desk) -> None:
    held = elsewhere(desk, "queued", 1)
    cancel = desk.cancel()
    await settled(desk)
    [event] = desk.ledger.events("c-1")
    assert (event.seq, event.reason, event.instance_id) == (2, "cancelled", "gw-2")
    assert {held, cancel}.isdisjoint(desk.ledger.stream)


@pytest.mark.parametrize(("state", "seq", "detail"), [("sent", 2, "sent"), ("responded", 3, "terminal")])
async def test_a_command_sent_by_another_instance_is_not_cancelled(
    desk: Desk, state: str, seq: int, detail: str
) -> None:
    held = elsewhere(desk, state, seq)
    desk.cancel()
    await settled(desk)
    assert desk.notes() == [("cancel_rejected", "c-1", detail)]
    assert held in desk.ledger.stream


async def test_a_command_changed_during_the_look_up_is_read_again(desk: Desk) -> None:
    elsewhere(desk, "queued", 1)
    desk.cancel()
    await asyncio.sleep(0)
    desk.ledger.set_row("c-1", replace(desk.ledger.rows["c-1"], seq=2, state="sent"))
    await settled(desk)
    assert desk.notes() == [("cancel_rejected", "c-1", "sent")]


async def test_a_failed_look_up_is_repeated_with_the_entry(desk: Desk) -> None:
    elsewhere(desk, "queued", 1)
    desk.ledger.reachable = False
    cancel = desk.cancel()
    await settled(desk)
    assert cancel in desk.ledger.stream
    desk.ledger.reachable = True
    desk.redeliver()
    await settled(desk)
    assert desk.life() == ["failed cancelled not_sent"]


async def test_a_cancel_at_the_end_of_a_look_up_is_looked_up(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(command_id: str) -> dict[str, str]:
        if command_id == "first":
            asyncio.get_running_loop().call_soon(desk.cancel, "second")
        return {}

    monkeypatch.setattr(desk.ledger, "read", read)
    desk.cancel("first")
    await settled(desk)
    assert [note[1:] for note in desk.notes()] == [("first", "unknown"), ("second", "unknown")]


async def test_a_cancel_of_a_command_ended_elsewhere_uses_the_ledger(desk: Desk) -> None:
    """The command was moved while the cancel waited for its turn: it is not ended, but elsewhere."""
    desk.ask()
    desk.ledger.settle()
    cancel = desk.cancel()
    row, moved = desk.ledger.rows["c-1"], Entry("gw-2", "1767225600001-0")
    desk.ledger.set_row("c-1", replace(row, entry=moved))
    desk.ledger.put(moved, desk.ledger.stream[row.entry])
    desk.ledger.remove(row.entry)
    desk.ledger.settle()
    assert cancel in desk.ledger.stream
    desk.redeliver()
    await settled(desk)
    assert desk.life()[-1] == "failed cancelled not_sent"
    assert desk.notes() == []
    assert desk.ledger.stream == {}


def test_a_refused_first_move_leaves_its_cancel_pending(desk: Desk) -> None:
    desk.connect(ready=False)
    desk.ledger.refuse(Status.DUPLICATE, wanted=Open)
    desk.ask()
    cancel = desk.cancel()
    desk.ledger.settle()
    assert cancel in desk.ledger.stream


async def test_an_unreadable_ledger_delays_no_other_cancel(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(command_id: str) -> dict[str, str]:
        if command_id == "bad":
            raise StoreRefused("WRONGTYPE")
        return {}

    monkeypatch.setattr(desk.ledger, "read", read)
    bad = desk.cancel("bad")
    desk.cancel("first")
    desk.cancel("second")
    await settled(desk)
    assert [note[1:] for note in desk.notes()] == [("first", "unknown"), ("second", "unknown")]
    assert list(desk.ledger.stream) == [bad]
    assert bad.outbound_id not in desk.dispatcher.entries


async def test_many_cancels_make_one_look_up_at_a_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = 0

    async def read(command_id: str) -> dict[str, str]:
        nonlocal reading
        reading += 1
        assert reading == 1
        await asyncio.sleep(0)
        reading -= 1
        return {}

    monkeypatch.setattr(desk.ledger, "read", read)
    for number in range(100):
        desk.cancel(f"c-{number}")
    for _ in range(300):
        await asyncio.sleep(0)
    desk.ledger.settle()
    assert [note[1] for note in desk.notes()] == [f"c-{number}" for number in range(100)]
