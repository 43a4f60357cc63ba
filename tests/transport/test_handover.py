"""Queued commands follow their device to the instance that holds it now."""

from __future__ import annotations

from dataclasses import replace

from fsm.moves import Status, Transfer
from tests.transport.desk import IMEI, OTHER_IMEI, Desk
from tests.transport.fake_ledger import US


def away(desk: Desk, *command_ids: str) -> None:
    """Commands wait for a device that is at another instance by now."""
    for command_id in command_ids:
        desk.ask(command_id, expires_at="2026-01-01T01:00:00Z", requested_by="me")
    desk.ledger.settle()
    desk.ledger.hold(IMEI, "gw-2")
    desk.ledger.set_alive("gw-2")


async def test_commands_move_to_the_holder_in_order(desk: Desk) -> None:
    away(desk, "a", "b")
    await desk.look()
    desk.ledger.settle()
    assert desk.notes() == [("moved", "a", "gw-2"), ("moved", "b", "gw-2")]
    assert (len(desk.dispatcher.entries), desk.dispatcher.offline.imeis) == (0, [])
    assert {entry.instance_id for entry in desk.ledger.stream} == {"gw-2"}
    [first, second] = desk.ledger.stream.values()
    assert first == {
        "command_id": "a",
        "imei": IMEI,
        "payload": "a",
        "expires_at": "1767229200000",
        "response_timeout": "30",
        "expect_response": "1",
        "accepted_at": "1767225600000",
        "hops": "1",
        "requested_by": "me",
    }
    assert second["command_id"] == "b"
    desk.at(3600)
    assert desk.ledger.depth == 0


async def test_the_registry_is_asked_once_for_all_waiting_devices(desk: Desk) -> None:
    await desk.look()
    desk.ask("a")
    desk.ask("b", OTHER_IMEI)
    await desk.look()
    assert desk.registry.asked == [[IMEI, OTHER_IMEI]]


async def test_a_device_without_another_holder_is_waited_for(desk: Desk) -> None:
    away(desk, "a")
    desk.ledger.hold(IMEI, US)
    await desk.look()
    desk.ledger.release(IMEI)
    await desk.look()
    assert (desk.ledger.depth, desk.dispatcher.offline.count(IMEI)) == (0, 1)


async def test_a_holder_without_heartbeat_gets_nothing_at_first(desk: Desk) -> None:
    away(desk, "a")
    desk.ledger.set_dead("gw-2")
    for _ in range(3):
        await desk.look()
        desk.ledger.settle()
    assert desk.life("a") == ["queued not_sent"]
    desk.ledger.set_alive("gw-2")
    await desk.look()
    desk.ledger.settle()
    assert desk.notes() == [("moved", "a", "gw-2")]


async def test_a_command_is_handed_over_once_at_a_time(desk: Desk) -> None:
    away(desk, "a")
    await desk.look()
    await desk.look()
    assert desk.ledger.depth == 1


async def test_a_command_whose_queued_is_not_committed_is_not_moved_yet(desk: Desk) -> None:
    desk.ask("a")
    desk.ledger.hold(IMEI, "gw-2")
    await desk.look()
    assert desk.ledger.depth == 1


async def test_a_command_moves_three_times_at_most(desk: Desk) -> None:
    desk.ask("a", hops="3")
    desk.ledger.settle()
    desk.ledger.hold(IMEI, "gw-2")
    await desk.look()
    assert desk.ledger.depth == 0
    desk.at(60)
    desk.ledger.settle()
    assert desk.life("a")[-1] == "failed device_not_connected not_sent"


async def test_a_device_back_in_a_failed_hand_over_gets_the_command(desk: Desk) -> None:
    away(desk, "a", "b")
    desk.ledger.set_dead("gw-2")
    await desk.look()
    link = desk.connect()
    desk.ledger.settle()
    desk.answer(link)
    desk.ledger.settle()
    assert link.texts == ["a", "b"]


async def test_a_device_back_in_a_hand_over_gets_no_moved_command(desk: Desk) -> None:
    away(desk, "a")
    await desk.look()
    link = desk.connect()
    desk.ask("b")
    desk.ledger.settle()
    assert link.texts == ["b"]
    assert desk.notes() == [("moved", "a", "gw-2")]


async def test_the_grace_ends_during_the_hand_over(desk: Desk) -> None:
    away(desk, "a")
    desk.at(59)
    await desk.look()
    desk.at(60)
    desk.ledger.settle()
    assert desk.life("a") == ["queued not_sent"]
    assert desk.notes() == [("moved", "a", "gw-2")]


async def test_the_grace_ends_during_a_hand_over_that_fails(desk: Desk) -> None:
    away(desk, "a")
    desk.ledger.set_dead("gw-2")
    await desk.look()
    desk.at(60)
    desk.ledger.settle()
    assert desk.life("a") == ["queued not_sent"]
    desk.at(61)
    desk.ledger.settle()
    assert desk.life("a")[-1] == "failed device_not_connected not_sent"


async def test_a_command_whose_ledger_is_lost_is_not_moved(desk: Desk) -> None:
    away(desk, "a")
    desk.ledger.lose_rows()
    await desk.look()
    desk.ledger.settle()
    assert desk.life("a")[-1] == "failed ledger_lost not_sent"


async def test_a_command_taken_by_another_instance_is_dropped(desk: Desk) -> None:
    away(desk, "a")
    desk.ledger.refuse(Status.CONFLICT, wanted=Transfer)
    await desk.look()
    desk.ledger.settle()
    assert len(desk.dispatcher.entries) == 0


async def test_a_moved_command_goes_on_where_it_arrives(desk: Desk) -> None:
    """The other side: an entry whose ledger was opened, and last touched, by another instance."""
    away(desk, "a")
    await desk.look()
    desk.ledger.settle()
    [(entry, fields)] = desk.ledger.stream.items()
    link = desk.connect()
    ours = desk.add(**fields)
    desk.ledger.set_row("a", replace(desk.ledger.rows["a"], token="boot-z:9", entry=ours))
    desk.ledger.remove(entry)
    desk.read(ours)
    desk.ledger.settle()
    desk.answer(link)
    desk.ledger.settle()
    assert desk.life("a") == ["queued not_sent", "sent maybe_sent", "responded answered"]
    assert link.texts == ["a"]


async def test_a_grace_ended_in_a_failed_hand_over_spares_the_device(desk: Desk) -> None:
    away(desk, "a")
    desk.ledger.set_dead("gw-2")
    await desk.look()
    desk.at(60)
    link = desk.connect()
    desk.ledger.settle()
    desk.at(61)
    desk.ledger.settle()
    assert (link.texts, desk.life("a")) == (["a"], ["queued not_sent", "sent maybe_sent"])
