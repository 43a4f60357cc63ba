"""Queued commands follow their device to the instance that holds it now."""

from __future__ import annotations

from dataclasses import replace

from fsm.moves import Status, Transfer
from tests.transport.command_rig import IMEI, OTHER_IMEI, CommandRig
from tests.transport.fake_ledger import US, Row


def away(commands: CommandRig, *command_ids: str) -> None:
    """Commands wait for a device that is at another instance by now."""
    for command_id in command_ids:
        commands.ask(command_id, expires_at="2026-01-01T01:00:00Z", requested_by="me")
    commands.ledger.commit()
    commands.ledger.hold(IMEI, "gw-2")
    commands.ledger.set_alive("gw-2")


def moved_in(commands: CommandRig, command_id: str, hops: int) -> None:
    """Another instance has handed over a command, whose device is expected here."""
    commands.dispatcher.offline.expect([IMEI])
    entry = commands.add(command_id=command_id, imei=IMEI, payload=command_id)
    row = Row("queued", 1, "theirs:1", entry, IMEI, accepted_at=1767225500000, hops=hops)
    commands.ledger.set_row(command_id, row)
    commands.read(entry)
    commands.ledger.commit()


async def test_commands_move_to_the_holder_in_order(commands: CommandRig) -> None:
    away(commands, "a", "b")
    await commands.look()
    commands.ledger.commit()
    assert commands.notes() == [("moved", "a", "gw-2"), ("moved", "b", "gw-2")]
    assert (len(commands.dispatcher.entries), commands.dispatcher.offline.imeis) == (0, [])
    assert {entry.instance_id for entry in commands.ledger.stream} == {"gw-2"}
    [first, second] = commands.ledger.stream.values()
    assert first == {
        "command_id": "a",
        "imei": IMEI,
        "payload": "a",
        "expires_at": "1767229200000",
        "response_timeout": "30",
        "expect_response": "1",
        "requested_by": "me",
    }
    row = commands.ledger.rows["a"]
    assert (row.accepted_at, row.hops) == (1767225600000, 1)
    assert second["command_id"] == "b"
    commands.at(3600)
    assert commands.ledger.depth == 0


async def test_the_registry_is_asked_once_for_all_waiting_devices(commands: CommandRig) -> None:
    await commands.look()
    commands.ask("a")
    commands.ask("b", OTHER_IMEI)
    await commands.look()
    assert commands.registry.asked == [[IMEI, OTHER_IMEI]]


async def test_a_device_without_another_holder_is_waited_for(commands: CommandRig) -> None:
    away(commands, "a")
    commands.ledger.hold(IMEI, US)
    await commands.look()
    commands.ledger.release(IMEI)
    await commands.look()
    assert (commands.ledger.depth, commands.dispatcher.offline.count(IMEI)) == (0, 1)


async def test_a_holder_without_heartbeat_gets_nothing_at_first(commands: CommandRig) -> None:
    away(commands, "a")
    commands.ledger.set_dead("gw-2")
    for _ in range(3):
        await commands.look()
        commands.ledger.commit()
    assert commands.life("a") == ["queued not_sent"]
    commands.ledger.set_alive("gw-2")
    await commands.look()
    commands.ledger.commit()
    assert commands.notes() == [("moved", "a", "gw-2")]


async def test_a_command_is_handed_over_once_at_a_time(commands: CommandRig) -> None:
    away(commands, "a")
    await commands.look()
    await commands.look()
    assert commands.ledger.depth == 1


async def test_a_command_whose_queued_is_not_committed_is_not_moved_yet(commands: CommandRig) -> None:
    commands.ask("a")
    commands.ledger.hold(IMEI, "gw-2")
    await commands.look()
    assert commands.ledger.depth == 1


async def test_a_command_moves_three_times_at_most(commands: CommandRig) -> None:
    moved_in(commands, "a", hops=3)
    moved_in(commands, "b", hops=2)
    commands.ledger.hold(IMEI, "gw-2")
    commands.ledger.set_alive("gw-2")
    await commands.look()
    commands.ledger.commit()
    commands.at(60)
    commands.ledger.commit()
    assert commands.life("a")[-1] == "failed device_not_connected not_sent"
    assert commands.notes() == [("moved", "b", "gw-2")]


async def test_a_forged_number_of_hops_does_not_hold_a_command_back(commands: CommandRig) -> None:
    commands.ask("a", hops="3", accepted_at="1767220000000")
    commands.ledger.commit()
    commands.ledger.hold(IMEI, "gw-2")
    commands.ledger.set_alive("gw-2")
    await commands.look()
    commands.ledger.commit()
    row = commands.ledger.rows["a"]
    assert commands.notes() == [("moved", "a", "gw-2")]
    assert (row.accepted_at, row.hops) == (1767225600000, 1)


async def test_a_device_back_in_a_failed_hand_over_gets_the_command(commands: CommandRig) -> None:
    away(commands, "a", "b")
    commands.ledger.set_dead("gw-2")
    await commands.look()
    link = commands.connect()
    commands.ledger.commit()
    commands.answer(link)
    commands.ledger.commit()
    assert link.texts == ["a", "b"]


async def test_a_device_back_in_a_hand_over_gets_no_moved_command(commands: CommandRig) -> None:
    away(commands, "a")
    await commands.look()
    link = commands.connect()
    commands.ask("b")
    commands.ledger.commit()
    assert link.texts == ["b"]
    assert commands.notes() == [("moved", "a", "gw-2")]


async def test_the_grace_ends_during_the_hand_over(commands: CommandRig) -> None:
    away(commands, "a")
    commands.at(59)
    await commands.look()
    commands.at(60)
    commands.ledger.commit()
    assert commands.life("a") == ["queued not_sent"]
    assert commands.notes() == [("moved", "a", "gw-2")]


async def test_the_grace_ends_during_a_hand_over_that_fails(commands: CommandRig) -> None:
    away(commands, "a")
    commands.ledger.set_dead("gw-2")
    await commands.look()
    commands.at(60)
    commands.ledger.commit()
    assert commands.life("a") == ["queued not_sent"]
    commands.at(61)
    commands.ledger.commit()
    assert commands.life("a")[-1] == "failed device_not_connected not_sent"


async def test_a_command_whose_ledger_is_lost_is_not_moved(commands: CommandRig) -> None:
    away(commands, "a")
    commands.ledger.lose_rows()
    await commands.look()
    commands.ledger.commit()
    assert commands.life("a")[-1] == "failed ledger_lost not_sent"


async def test_a_command_taken_by_another_instance_is_dropped(commands: CommandRig) -> None:
    away(commands, "a")
    commands.ledger.refuse(Status.CONFLICT, wanted=Transfer)
    await commands.look()
    commands.ledger.commit()
    assert len(commands.dispatcher.entries) == 0


async def test_a_moved_command_goes_on_where_it_arrives(commands: CommandRig) -> None:
    """The other side: an entry whose ledger was opened, and last touched, by another instance."""
    away(commands, "a")
    await commands.look()
    commands.ledger.commit()
    [(entry, fields)] = commands.ledger.stream.items()
    link = commands.connect()
    ours = commands.add(**fields)
    commands.ledger.set_row("a", replace(commands.ledger.rows["a"], token="boot-z:9", entry=ours))
    commands.ledger.remove(entry)
    commands.read(ours)
    commands.ledger.commit()
    commands.answer(link)
    commands.ledger.commit()
    assert commands.life("a") == ["queued not_sent", "sent maybe_sent", "responded answered"]
    assert link.texts == ["a"]


async def test_a_grace_ended_in_a_failed_hand_over_spares_the_device(commands: CommandRig) -> None:
    away(commands, "a")
    commands.ledger.set_dead("gw-2")
    await commands.look()
    commands.at(60)
    link = commands.connect()
    commands.ledger.commit()
    commands.at(61)
    commands.ledger.commit()
    assert (link.texts, commands.life("a")) == (["a"], ["queued not_sent", "sent maybe_sent"])
