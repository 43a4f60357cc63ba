"""Cancels: a command that is not out is called off, wherever it waits; any other cancel gets a note."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from fsm.moves import Entry, Open, Status
from store.client.errors import StoreRefused
from tests.transport.command_rig import IMEI, CommandRig
from tests.transport.fake_ledger import Row


async def answered(commands: CommandRig) -> None:
    """Wait until look-ups, and the moves that follow from them, are answered."""
    for _ in range(5):
        await asyncio.sleep(0)
        commands.ledger.commit()


def elsewhere(commands: CommandRig, state: str, seq: int) -> Entry:
    """A command that another instance holds."""
    entry = Entry("gw-2", "1767225000000-0")
    commands.ledger.put(entry, {"command_id": "c-1"})
    commands.ledger.set_row("c-1", Row(state, seq, "boot-z:1", entry, IMEI))
    return entry


def test_a_queued_command_is_called_off(commands: CommandRig) -> None:
    link = commands.connect(ready=False)
    entry = commands.ask()
    commands.ledger.commit()
    cancel = commands.cancel()
    commands.ledger.commit()
    commands.ready(link)
    commands.ledger.commit()
    assert commands.life() == ["queued not_sent", "failed cancelled not_sent"]
    assert {entry, cancel}.isdisjoint(commands.ledger.stream)
    assert link.texts == []


def test_a_command_that_waits_for_its_device_is_called_off(commands: CommandRig) -> None:
    commands.ask()
    commands.ledger.commit()
    commands.cancel()
    commands.ledger.commit()
    assert commands.life()[-1] == "failed cancelled not_sent"
    assert commands.dispatcher.offline.imeis == []


def test_one_of_several_waiting_commands_is_cancelled(commands: CommandRig) -> None:
    for command_id in ("c-1", "c-2"):
        commands.ask(command_id)
    commands.ledger.commit()
    commands.cancel("c-1")
    commands.ledger.commit()
    link = commands.connect()
    commands.ledger.commit()
    assert (commands.life("c-1")[-1], link.texts) == ("failed cancelled not_sent", ["c-2"])


def test_a_cancel_before_queued_is_committed_comes_first(commands: CommandRig) -> None:
    link = commands.connect()
    commands.frame_begins(link)
    commands.ask()
    commands.cancel()
    commands.frame_acked(link)
    commands.ledger.commit()
    assert commands.life() == ["queued not_sent", "failed cancelled not_sent"]
    assert link.texts == []


def test_the_next_in_line_is_sent_when_the_first_is_called_off(commands: CommandRig) -> None:
    link = commands.connect(ready=False)
    commands.ask("a")
    commands.ask("b")
    commands.ledger.commit()
    commands.cancel("a")
    commands.ready(link)
    commands.ledger.commit()
    assert link.texts == ["b"]


def test_a_cancel_while_sent_is_committed_is_too_late(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    cancel = commands.cancel()
    commands.ledger.commit()
    assert (link.texts, commands.life()[-1]) == (["c-1"], "sent maybe_sent")
    assert commands.notes() == [("cancel_rejected", "c-1", "sent")]
    assert cancel not in commands.ledger.stream


def test_a_committed_unwritten_command_counts_as_sent(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.frame_begins(link)
    commands.ledger.commit()
    commands.cancel()
    commands.ledger.commit()
    assert commands.notes() == [("cancel_rejected", "c-1", "sent")]


def test_a_command_that_is_out_is_not_called_off(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    commands.cancel()
    commands.ledger.commit()
    commands.answer(link)
    commands.ledger.commit()
    assert commands.notes() == [("cancel_rejected", "c-1", "sent")]
    assert commands.life()[-1] == "responded answered"


def test_a_cancel_after_the_outcome_finds_the_command_ended(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    commands.answer(link)
    commands.cancel()
    commands.ledger.commit()
    assert commands.notes() == [("cancel_rejected", "c-1", "terminal")]


def test_a_cancel_that_is_read_twice_is_answered_once(commands: CommandRig) -> None:
    commands.connect()
    commands.ask()
    commands.ledger.commit()
    commands.cancel()
    commands.redeliver()
    commands.ledger.commit()
    assert commands.notes() == [("cancel_rejected", "c-1", "sent")]


def test_a_command_without_ledger_can_be_cancelled(commands: CommandRig) -> None:
    commands.connect(ready=False)
    commands.ask()
    commands.ledger.commit()
    commands.ledger.forget()
    commands.cancel()
    commands.ledger.commit()
    assert commands.life()[-1] == "failed cancelled not_sent"
    assert commands.ledger.events("c-1")[-1].recovered


async def test_an_unknown_command_cannot_be_called_off(commands: CommandRig) -> None:
    cancel = commands.cancel("never-seen")
    commands.redeliver()
    await answered(commands)
    assert commands.notes() == [("cancel_rejected", "never-seen", "unknown")]
    assert cancel not in commands.ledger.stream


async def test_a_command_of_the_past_cannot_be_called_off(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    commands.answer(link)
    commands.ledger.commit()
    commands.cancel()
    await answered(commands)
    assert commands.notes() == [("cancel_rejected", "c-1", "terminal")]


async def test_a_command_that_waits_at_another_instance_is_called_off(commands: CommandRig) -> None:
    held = elsewhere(commands, "queued", 1)
    cancel = commands.cancel()
    await answered(commands)
    [event] = commands.ledger.events("c-1")
    assert (event.seq, event.reason, event.instance_id) == (2, "cancelled", "gw-2")
    assert {held, cancel}.isdisjoint(commands.ledger.stream)


@pytest.mark.parametrize(("state", "seq", "detail"), [("sent", 2, "sent"), ("responded", 3, "terminal")])
async def test_a_command_sent_by_another_instance_is_not_cancelled(
    commands: CommandRig, state: str, seq: int, detail: str
) -> None:
    held = elsewhere(commands, state, seq)
    commands.cancel()
    await answered(commands)
    assert commands.notes() == [("cancel_rejected", "c-1", detail)]
    assert held in commands.ledger.stream


async def test_a_command_changed_during_the_look_up_is_read_again(commands: CommandRig) -> None:
    elsewhere(commands, "queued", 1)
    commands.cancel()
    await asyncio.sleep(0)
    commands.ledger.set_row("c-1", replace(commands.ledger.rows["c-1"], seq=2, state="sent"))
    await answered(commands)
    assert commands.notes() == [("cancel_rejected", "c-1", "sent")]


async def test_a_failed_look_up_is_repeated_with_the_entry(commands: CommandRig) -> None:
    elsewhere(commands, "queued", 1)
    commands.ledger.reachable = False
    cancel = commands.cancel()
    await answered(commands)
    assert cancel in commands.ledger.stream
    commands.ledger.reachable = True
    commands.redeliver()
    await answered(commands)
    assert commands.life() == ["failed cancelled not_sent"]


async def test_a_cancel_at_the_end_of_a_look_up_is_looked_up(
    commands: CommandRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(command_id: str) -> dict[str, str]:
        if command_id == "first":
            asyncio.get_running_loop().call_soon(commands.cancel, "second")
        return {}

    monkeypatch.setattr(commands.ledger, "read", read)
    commands.cancel("first")
    await answered(commands)
    assert [note[1:] for note in commands.notes()] == [("first", "unknown"), ("second", "unknown")]


async def test_a_cancel_of_a_command_ended_elsewhere_uses_the_ledger(commands: CommandRig) -> None:
    """The command was moved while the cancel waited for its turn: it is not ended, but elsewhere."""
    commands.ask()
    commands.ledger.commit()
    cancel = commands.cancel()
    row, moved = commands.ledger.rows["c-1"], Entry("gw-2", "1767225600001-0")
    commands.ledger.set_row("c-1", replace(row, entry=moved))
    commands.ledger.put(moved, commands.ledger.stream[row.entry])
    commands.ledger.remove(row.entry)
    commands.ledger.commit()
    assert cancel in commands.ledger.stream
    commands.redeliver()
    await answered(commands)
    assert commands.life()[-1] == "failed cancelled not_sent"
    assert commands.notes() == []
    assert commands.ledger.stream == {}


def test_a_refused_first_move_leaves_its_cancel_pending(commands: CommandRig) -> None:
    commands.connect(ready=False)
    commands.ledger.refuse(Status.DUPLICATE, wanted=Open)
    commands.ask()
    cancel = commands.cancel()
    commands.ledger.commit()
    assert cancel in commands.ledger.stream


async def test_an_unreadable_ledger_delays_no_other_cancel(
    commands: CommandRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(command_id: str) -> dict[str, str]:
        if command_id == "bad":
            raise StoreRefused("WRONGTYPE")
        return {}

    monkeypatch.setattr(commands.ledger, "read", read)
    bad = commands.cancel("bad")
    commands.cancel("first")
    commands.cancel("second")
    await answered(commands)
    assert [note[1:] for note in commands.notes()] == [("first", "unknown"), ("second", "unknown")]
    assert list(commands.ledger.stream) == [bad]
    assert bad.outbound_id not in commands.dispatcher.entries


async def test_many_cancels_make_one_look_up_at_a_time(
    commands: CommandRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = 0

    async def read(command_id: str) -> dict[str, str]:
        nonlocal reading
        reading += 1
        assert reading == 1
        await asyncio.sleep(0)
        reading -= 1
        return {}

    monkeypatch.setattr(commands.ledger, "read", read)
    for number in range(100):
        commands.cancel(f"c-{number}")
    for _ in range(300):
        await asyncio.sleep(0)
    commands.ledger.commit()
    assert [note[1] for note in commands.notes()] == [f"c-{number}" for number in range(100)]
