"""Commands that are parked for a device which is connected nowhere, and taken up when it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from fsm.moves import Status, Transfer
from tests.transport.command_rig import IMEI, CommandRig, FakeLink
from tests.transport.fake_ledger import US, FakeLedger

Make = Callable[..., CommandRig]
LATER = "2026-01-02T00:00:00Z"
PARKED = ["queued not_sent"]


def nobody_is_expected(commands: CommandRig) -> None:
    """The registry has been read, and named no device."""
    commands.dispatcher.registry_read()


def park(commands: CommandRig, *command_ids: str) -> None:
    """Commands for a device that is connected nowhere are parked."""
    nobody_is_expected(commands)
    for command_id in command_ids:
        commands.ask(command_id, offline="wait", expires_at=LATER)
        commands.ledger.commit()
    assert [fields["command_id"] for fields in commands.ledger.parked_entries.values()] == list(command_ids)


async def wake(commands: CommandRig) -> FakeLink:
    """The device connects, and the registry answers."""
    link = commands.connect()
    commands.registered(link)
    await commands.settle()
    return link


# Parked


async def test_a_command_for_a_sleeping_device_is_parked(commands: CommandRig) -> None:
    park(commands, "a")
    assert (commands.life("a"), commands.notes()) == (PARKED, [("parked", "a", "")])
    [(entry, fields)] = commands.ledger.parked_entries.items()
    assert {name: fields[name] for name in ("imei", "offline", "expires_at")} == {
        "imei": IMEI,
        "offline": "wait",
        "expires_at": "1767312000000",
    }
    assert commands.ledger.rows["a"].entry.outbound_id == entry.outbound_id
    assert commands.ledger.rows["a"].entry.instance_id == ""
    assert commands.ledger.awaited == {IMEI: 1767312000000}
    assert (len(commands.dispatcher.entries), commands.ledger.stream) == (0, {})


async def test_without_the_wish_to_wait_it_is_refused(commands: CommandRig) -> None:
    nobody_is_expected(commands)
    commands.ask("a", offline="fail")
    commands.ledger.commit()
    assert commands.life("a") == ["failed device_not_connected not_sent"]


async def test_the_first_expiry_of_a_device_is_kept(commands: CommandRig) -> None:
    park(commands, "a")
    for command_id, at in (("b", "2026-01-01T12:00:00Z"), ("c", "2026-01-03T00:00:00Z")):
        commands.ask(command_id, offline="wait", expires_at=at)
        commands.ledger.commit()
    assert commands.ledger.awaited == {IMEI: 1767268800000}


async def test_a_command_is_parked_when_its_device_does_not_come_back(commands: CommandRig) -> None:
    nobody_is_expected(commands)
    commands.disconnect(commands.connect())
    commands.ledger.release(IMEI)
    commands.ask("a", offline="wait", expires_at=LATER)
    commands.ledger.commit()
    commands.at(59)
    commands.ledger.commit()
    assert commands.notes() == []
    commands.at(60)
    commands.ledger.commit()
    assert (commands.life("a"), commands.notes()) == (PARKED, [("parked", "a", "")])


async def test_commands_are_parked_when_the_gateway_stops(commands: CommandRig) -> None:
    link = commands.connect(ready=False)
    for command_id in ("a", "b"):
        commands.ask(command_id, offline="wait", expires_at=LATER)
    commands.ask("c")
    commands.ledger.release(IMEI)
    commands.dispatcher.stop()
    await commands.settle()
    assert [fields["command_id"] for fields in commands.ledger.parked_entries.values()] == ["a", "b"]
    assert commands.life("c") == ["queued not_sent", "failed gateway_shutdown not_sent"]
    assert not link.commands
    assert len(commands.dispatcher.entries) == 0


async def test_a_restarted_gateway_parks_what_it_finds(commands: CommandRig) -> None:
    commands.ask("a", offline="wait", expires_at=LATER)
    commands.ledger.commit()
    nobody_is_expected(commands)
    commands.sweep()
    commands.ledger.commit()
    assert commands.notes() == [("parked", "a", "")]


async def test_parked_commands_count_for_the_limit_of_the_queue(make_commands: Make) -> None:
    commands = make_commands(queue_limit=2)
    park(commands, "a", "b")
    commands.ask("c", offline="wait", expires_at=LATER)
    commands.ledger.commit()
    assert commands.life("c") == ["queued not_sent", "failed queue_full not_sent"]


async def test_a_repeated_parking_has_one_effect(commands: CommandRig) -> None:
    nobody_is_expected(commands)
    commands.ask("a", offline="wait", expires_at=LATER)
    commands.ledger.commit(1)
    commands.ledger.lose_reply()
    commands.ledger.commit()
    assert commands.notes() == [("parked", "a", "")]
    assert len(commands.ledger.parked_entries) == 1
    assert len(commands.dispatcher.entries) == 0


async def test_a_device_of_another_gateway_gets_the_command_there(commands: CommandRig) -> None:
    nobody_is_expected(commands)
    commands.ledger.hold(IMEI, "gw-2")
    commands.ledger.set_alive("gw-2")
    commands.ask("a", offline="wait", expires_at=LATER)
    commands.ledger.commit()
    assert commands.notes() == [("moved", "a", "gw-2")]
    assert [(e.instance_id, f["offline"]) for e, f in commands.ledger.stream.items()] == [("gw-2", "wait")]


async def test_a_parking_that_redis_refuses_ends_the_command(commands: CommandRig) -> None:
    nobody_is_expected(commands)
    commands.ask("a", offline="wait", expires_at=LATER)
    commands.ledger.commit(1)
    commands.ledger.refuse(Status.ERROR, wanted=object, detail="WRONGTYPE")
    commands.ledger.commit()
    assert commands.life("a") == ["queued not_sent", "failed device_not_connected not_sent"]


async def test_a_command_whose_ledger_is_lost_is_not_parked(commands: CommandRig) -> None:
    nobody_is_expected(commands)
    commands.ask("a", offline="wait", expires_at=LATER)
    commands.ledger.commit(1)
    commands.ledger.lose_rows()
    commands.ledger.commit()
    assert commands.life("a") == ["queued not_sent", "failed ledger_lost not_sent"]
    assert commands.ledger.parked_entries == {}


# Cancelled


async def test_a_parked_command_is_called_off(commands: CommandRig) -> None:
    nobody_is_expected(commands)
    commands.ask("a", offline="wait", expires_at=LATER, requested_by="ann", correlation_id="42")
    commands.ledger.commit()
    commands.cancel("a")
    await commands.settle()
    said = {"requested_by": "ann", "correlation_id": "42"}
    assert [dict(event.echo) for event in commands.ledger.events("a")] == [said, said]
    assert commands.life("a") == ["queued not_sent", "failed cancelled not_sent"]
    assert (commands.ledger.parked_entries, commands.ledger.awaited) == ({}, {})
    link = await wake(commands)
    assert link.commands == []


async def test_a_duplicate_of_a_parked_command_is_ignored(commands: CommandRig) -> None:
    park(commands, "a")
    commands.ask("a", offline="wait", expires_at=LATER)
    commands.ledger.commit()
    assert commands.notes()[1:] == [("duplicate_ignored", "a", "")]
    assert (len(commands.ledger.parked_entries), commands.ledger.stream) == (1, {})


# Taken up


async def test_the_device_gets_them_in_order_when_it_comes(commands: CommandRig) -> None:
    park(commands, "a", "b", "c")
    link = await wake(commands)
    for _ in range(3):
        commands.answer(link)
        await commands.settle()
    assert link.texts == ["a", "b", "c"]
    assert [commands.life(one)[-1] for one in "abc"] == ["responded answered"] * 3
    assert [note for note in commands.notes() if note[0] == "moved"] == [("moved", one, US) for one in "abc"]
    assert (commands.ledger.parked_entries, commands.ledger.awaited, commands.ledger.stream) == ({}, {}, {})


async def test_newer_commands_come_after_the_parked_ones(commands: CommandRig) -> None:
    park(commands, "a", "b")
    commands.at(1)
    link = commands.connect()
    commands.ask("new")
    commands.registered(link)
    for _ in range(3):
        await commands.settle()
        commands.answer(link)
    assert link.texts == ["a", "b", "new"]


async def test_parked_commands_that_nobody_told_of_come_first(commands: CommandRig) -> None:
    """They were parked by another gateway just before the device was registered here."""
    park(commands, "a", "b")
    commands.at(1)
    link = commands.connect()
    commands.ask("new")
    for _ in range(3):
        await commands.settle()
        commands.answer(link)
    assert link.texts == ["a", "b", "new"]
    assert commands.life("new") == ["queued not_sent", "sent maybe_sent"]


async def test_they_keep_their_place_after_a_restart(commands: CommandRig, make_commands: Make) -> None:
    park(commands, "a", "b")
    commands.at(1)
    link = commands.connect(ready=False)
    commands.ask("new")
    commands.registered(link)
    await commands.settle()
    after = make_commands(ledger=commands.ledger)
    after.redeliver()
    await after.settle()
    again = after.connect()
    for _ in range(3):
        await after.settle()
        after.answer(again)
    assert again.texts == ["a", "b", "new"]


async def test_the_order_holds_when_a_restart_comes_before_they_are_read(
    commands: CommandRig, make_commands: Make
) -> None:
    """The earlier process had taken "a" up behind "new", and its reader had delivered "new" only."""
    park(commands, "a")
    commands.at(1)
    new = commands.add("new", imei=IMEI, payload="new")
    link = commands.connect(ready=False)
    commands.read(new)
    commands.registered(link)
    for _ in range(3):
        commands.ledger.commit()
        await asyncio.sleep(0)
    _, taken_up = commands.ledger.stream
    after = make_commands(ledger=commands.ledger, starting=True)
    again = after.connect()
    after.read(new, fresh=False)
    after.ledger.commit()
    after.read(taken_up)
    after.dispatcher.caught_up()
    after.sweep()
    after.ledger.commit()
    assert again.texts == []
    for _ in range(2):
        after.sweep()
        await after.settle()
        after.answer(again)
    assert again.texts == ["a", "new"]


async def test_a_start_does_not_wait_for_what_is_not_read(make_commands: Make) -> None:
    """The reader delivers nothing while too many commands are held."""
    commands = make_commands(commands_limit=2, starting=True)
    link = commands.connect()
    commands.ask("a")
    commands.ledger.commit()
    commands.sweep()
    assert link.texts == []
    commands.ask("b")
    commands.ledger.commit()
    commands.sweep()
    commands.ledger.commit()
    assert link.texts == ["a"]


async def test_a_device_that_leaves_at_once_finds_them_next_time(commands: CommandRig) -> None:
    park(commands, "a")
    link = commands.connect(ready=False)
    commands.registered(link)
    await commands.settle()
    commands.disconnect(link)
    commands.ledger.release(IMEI)
    commands.at(60)
    await commands.settle()
    assert [name for name, _, _ in commands.notes()] == ["parked", "moved", "parked"]
    assert (await wake(commands)).texts == ["a"]


async def test_newer_commands_wait_also_on_another_connection(commands: CommandRig) -> None:
    park(commands, "a")
    commands.at(1)
    first = commands.connect(ready=False)
    commands.registered(first)
    for _ in range(3):
        commands.ledger.commit()
        await asyncio.sleep(0)
    assert commands.ledger.awaited == {}  # it is moved here, and not read yet
    second = commands.connect()
    commands.ask("new")
    for _ in range(2):
        await commands.settle()
        commands.answer(second)
    assert second.texts == ["a", "new"]


async def test_what_is_parked_while_others_are_taken_up_is_looked_for_again(
    commands: CommandRig, make_commands: Make
) -> None:
    """The device was away for a moment. Nothing else tells of that command, because no other one is sent."""
    nobody_is_expected(commands)
    commands.ask("a", offline="wait", expires_at="2026-01-01T00:00:02Z")
    commands.ledger.commit()
    link = commands.connect(ready=False)
    commands.registered(link)
    for _ in range(3):
        await asyncio.sleep(0)  # the stream is read
    commands.at(0.1)
    other = make_commands(ledger=commands.ledger)
    nobody_is_expected(other)
    other.ask("b", offline="wait", expires_at=LATER)
    commands.ledger.commit()
    commands.registered(link)
    for seconds in (1, 2, 3):
        commands.at(seconds)
        await commands.settle()
    commands.ready(link)
    await commands.settle()
    assert commands.life("a")[-1] == "timeout expired not_sent"
    assert link.texts == ["b"]


async def test_newer_commands_do_not_wait_for_ever(commands: CommandRig) -> None:
    """The reader delivers nothing while too many commands are held."""
    park(commands, "a")
    commands.at(1)
    link = commands.connect()
    commands.registered(link)
    commands.ask("new")
    for _ in range(3):
        commands.ledger.commit()
        await asyncio.sleep(0)
    commands.at(10.9)
    commands.ledger.commit()
    assert link.texts == []
    commands.at(11)
    commands.ledger.commit()
    assert link.texts == ["new"]


async def test_parked_ones_come_first_also_when_the_queue_is_full(make_commands: Make) -> None:
    commands = make_commands(queue_limit=1)
    park(commands, "a")
    commands.at(1)
    link = commands.connect(ready=False)
    commands.ask("new")
    commands.registered(link)
    for _ in range(3):
        commands.ledger.commit()
        await asyncio.sleep(0)
    commands.redeliver()
    commands.ready(link)
    for _ in range(2):
        await commands.settle()
        commands.answer(link)
    assert link.texts == ["a", "new"]


async def test_a_device_that_left_before_they_were_read_leaves_them_parked(commands: CommandRig) -> None:
    park(commands, "a")
    link = commands.connect()
    commands.registered(link)
    commands.disconnect(link)
    await commands.settle()
    assert len(commands.ledger.parked_entries) == 1


async def test_what_another_gateway_holds_is_not_taken(commands: CommandRig) -> None:
    park(commands, "a")
    link = commands.connect()
    commands.ledger.hold(IMEI, "gw-2")
    commands.ledger.set_alive("gw-2")
    commands.registered(link)
    await commands.settle()
    assert len(commands.ledger.parked_entries) == 1
    assert link.commands == []


async def test_a_read_that_fails_is_made_again(commands: CommandRig) -> None:
    park(commands, "a")
    commands.ledger.reachable = False
    link = await wake(commands)
    commands.ledger.reachable = True
    assert link.commands == []
    commands.at(1)
    await commands.settle()
    assert link.texts == ["a"]


async def test_a_repeated_move_delivers_it_once(commands: CommandRig) -> None:
    park(commands, "a")
    link = commands.connect()
    commands.registered(link)
    for _ in range(3):
        await asyncio.sleep(0)  # they are read, and their moves proposed
    commands.ledger.lose_reply()
    commands.redeliver()  # the reader is faster than the reply
    await commands.settle()
    assert link.texts == ["a"]
    assert [name for name, _, _ in commands.notes()] == ["parked", "moved"]


async def test_a_parked_command_without_its_ledger_is_not_sent(commands: CommandRig) -> None:
    park(commands, "a", "b")
    commands.ledger.lose("commands:state:a")
    link = await wake(commands)
    assert commands.life("a")[-1] == "failed ledger_lost not_sent"
    assert link.texts == ["b"]
    assert (commands.ledger.parked_entries, commands.ledger.awaited) == ({}, {})


@pytest.mark.parametrize("what", ["ended", "moved"])
async def test_an_entry_that_its_ledger_does_not_name_is_removed(commands: CommandRig, what: str) -> None:
    """A gateway of an older version cancels a parked command and leaves its entry."""
    park(commands, "a")
    row = commands.ledger.rows["a"]
    changed = {"state": "failed", "seq": 2} if what == "ended" else {"entry": type(row.entry)("gw-2", "1-1")}
    commands.ledger.set_row("a", type(row)(**{**row.__dict__, **changed}))
    link = await wake(commands)
    assert link.commands == []
    assert (commands.ledger.parked_entries, commands.ledger.awaited) == ({}, {})


async def test_an_unreadable_parked_entry_is_a_dead_letter(commands: CommandRig) -> None:
    park(commands, "a")
    spoil(commands.ledger)
    link = await wake(commands)
    commands.ask("b")
    await commands.settle()
    assert link.texts == ["b"]
    assert commands.life("a")[-1] == "failed internal_error not_sent"
    assert [letter["command_id"] for letter in commands.ledger.deadletters] == ["a"]
    assert "payload" not in commands.ledger.deadletters[0]


def spoil(ledger: FakeLedger) -> None:
    """Somebody has written nonsense over the parked entry."""
    [(entry, fields)] = ledger.parked_entries.items()
    ledger._do("DEL", f"commands:parked:{IMEI}")
    flat = [text for pair in {**fields, "response_timeout": "soon"}.items() for text in pair]
    ledger._do("XADD", f"commands:parked:{IMEI}", entry.outbound_id, *flat)


async def test_a_move_that_redis_refuses_ends_the_command(commands: CommandRig) -> None:
    park(commands, "a", "b")
    commands.ledger.refuse(Status.ERROR, wanted=Transfer, detail="WRONGTYPE")
    link = await wake(commands)
    assert commands.life("a")[-1] == "failed internal_error not_sent"
    assert link.texts == ["b"]


async def test_a_stopping_gateway_takes_nothing_up(commands: CommandRig) -> None:
    park(commands, "a")
    commands.dispatcher.stop()
    assert (await wake(commands)).commands == []
    assert len(commands.ledger.parked_entries) == 1
