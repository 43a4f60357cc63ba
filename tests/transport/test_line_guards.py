"""The line of a device: each of its guards alone, in the order of events in which nothing else helps."""

from __future__ import annotations

import asyncio

from fsm.moves import Entry, Status
from tests.transport.desk import IMEI, Desk
from tests.transport.fake_ledger import Row

AHEAD = "2026-01-01T01:00:00Z"


def metric(desk: Desk, name: str) -> float | None:
    return desk.metrics.registry.get_sample_value(f"teltonika_{name}")


# A place in line


def test_a_command_does_not_take_the_place_of_one_whose_begin_is_on_its_way(desk: Desk) -> None:
    link = desk.connect()
    desk.frame_begins(link)
    desk.ask("a")
    desk.frame_acked(link)
    desk.ask("b")
    desk.ledger.settle()
    assert (link.texts, desk.life("b")) == (["a"], ["queued not_sent"])
    desk.answer(link)
    desk.ledger.settle()
    assert link.texts == ["a", "b"]


def test_who_leaves_the_line_does_not_undo_the_turn_of_the_first(desk: Desk) -> None:
    link = desk.connect()
    desk.ask("a")
    desk.ask("b")
    desk.frame_begins(link)
    desk.ledger.settle()
    desk.cancel("b")
    desk.ledger.settle()
    desk.frame_acked(link)
    assert link.texts == ["a"]


def test_what_waited_behind_a_command_that_is_held_elsewhere_waits_once(desk: Desk) -> None:
    link = desk.connect()
    desk.ask("a")
    desk.ask("b")
    desk.hang_up(link)
    desk.ledger.holders[IMEI] = "gw-2"
    desk.ledger.alive.add("gw-2")
    desk.ledger.settle()
    waiting = [in_flight.request.command_id for in_flight in desk.dispatcher.offline.waiting(IMEI)]
    assert waiting == ["a", "b"]


def test_nothing_is_begun_in_a_gateway_that_stops(desk: Desk) -> None:
    link = desk.connect(ready=False)
    desk.ask()
    desk.ledger.settle()
    desk.dispatcher.stopping = True
    desk.ready(link)
    assert (desk.dispatcher.queue_of(link).writes.slot, desk.ledger.depth) == (None, 0)


# What TCP says of a command


def test_of_a_command_that_is_not_written_tcp_says_nothing(desk: Desk) -> None:
    """Everything written so far is acknowledged, and the command is none of it."""
    link = desk.connect()
    desk.ask("a")
    desk.ask("b", expect_response="0")
    desk.ledger.settle()
    link.acked = link.sent
    desk.answer(link)
    desk.frame_begins(link)
    desk.sweep()
    desk.ledger.settle()
    desk.sweep()
    desk.ledger.settle()
    assert (link.texts, desk.life("b")) == (["a"], ["queued not_sent", "sent maybe_sent"])
    desk.frame_acked(link)
    desk.ledger.settle()
    assert (link.texts, desk.life("b")[-1]) == (["a", "b"], "sent maybe_sent")


def test_queues_are_looked_at_only_while_something_is_out(desk: Desk) -> None:
    link = desk.connect()
    looked_at = desk.dispatcher._out
    desk.ask("a")
    desk.ask("b")
    desk.ledger.settle()
    assert len(looked_at) == 1
    desk.frame_begins(link)
    desk.answer(link)
    desk.cancel("b")
    desk.ledger.settle()
    assert len(looked_at) == 0
    desk.frame_acked(link)
    desk.ask("c")
    desk.ledger.settle()
    assert len(looked_at) == 1
    desk.at(30)
    assert len(looked_at) == 1
    desk.answer(link, "late")
    assert len(looked_at) == 0
    desk.ask("d")
    desk.ledger.settle()
    desk.hang_up(link)
    assert len(looked_at) == 0


# A taint


def test_a_taint_counts_from_the_write_that_got_no_answer_whoever_leaves_the_line(desk: Desk) -> None:
    link = desk.connect()
    desk.ask("out", response_timeout="1")
    desk.ledger.settle()
    desk.at(1)
    desk.ask("leaves", expires_at=AHEAD)
    desk.ask("stays", expires_at=AHEAD)
    desk.ledger.settle()
    desk.at(20)
    desk.cancel("leaves")
    desk.ledger.settle()
    assert link.taints == 1
    desk.at(30.9)
    assert not link.closed
    desk.at(31)
    assert link.close_reason == "tainted"


# Inputs that wait


async def test_inputs_that_waited_are_heard_in_their_order(desk: Desk) -> None:
    desk.ask(expires_at="2026-01-01T00:00:10Z")
    desk.ledger.settle()
    desk.registry.holding[IMEI] = "gw-2"
    await desk.handover.look()
    desk.cancel()
    desk.at(10)
    desk.ledger.settle()
    assert (desk.life()[-1], desk.notes()) == ("failed cancelled not_sent", [])


# What was decided elsewhere


def test_a_verdict_that_finds_another_one_is_told_once(desk: Desk) -> None:
    link = desk.connect()
    entry = desk.ask()
    desk.ledger.settle()
    desk.ledger.rows["c-1"] = Row("failed", 3, "boot-z:9", entry, IMEI)
    desk.answer(link, "done")
    desk.ledger.settle(10)
    assert (desk.ledger.depth, desk.notes()) == (0, [("late_outcome", "c-1", "responded")])


def test_a_command_that_another_has_decided_does_not_time_out_here(desk: Desk) -> None:
    link = desk.connect()
    entry = desk.ask(response_timeout="10")
    desk.ledger.settle()
    desk.ledger.rows["c-1"] = Row("failed", 3, "boot-z:9", entry, IMEI)
    desk.answer(link, "done")
    desk.ledger.settle()
    desk.at(10)
    assert (desk.ledger.depth, len(desk.ledger.notes())) == (0, 1)


def test_what_was_done_with_a_command_that_another_has_decided_is_remembered(desk: Desk) -> None:
    link = desk.connect()
    entry = desk.ask()
    desk.ledger.settle()
    desk.ledger.rows["c-1"] = Row("failed", 3, "boot-z:9", entry, IMEI)
    desk.answer(link, "done")
    desk.ledger.settle()
    desk.ledger.rows.clear()
    desk.ask()
    desk.ledger.settle()
    assert link.texts == ["c-1"]


# What cannot be stored


def test_a_command_that_cannot_be_stored_is_given_up_once(desk: Desk) -> None:
    desk.connect()
    desk.ledger.refuse(Status.ERROR, times=2, detail="WRONGTYPE")
    desk.ask()
    desk.ledger.settle()
    assert metric(desk, "deadletters_total") == 1
    assert desk.life() == ["queued not_sent", "failed internal_error not_sent"]


def test_a_command_that_was_given_up_is_not_sent_when_it_is_asked_for_again(desk: Desk) -> None:
    """Redis has forgotten it meanwhile; the verdict that it was not sent has been told."""
    link = desk.connect()
    desk.ledger.refuse(Status.ERROR, "sent", detail="WRONGTYPE")
    desk.ask()
    desk.ledger.settle()
    assert desk.life()[-1] == "failed internal_error not_sent"
    desk.ledger.rows.clear()
    desk.ledger.log.clear()
    desk.ask()
    desk.ledger.settle()
    assert link.texts == []


# A stop


def test_a_stop_does_not_wait_for_what_is_answered_already(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    assert desk.dispatcher.draining == 1
    desk.answer(link)
    assert desk.dispatcher.draining == 0


# Cancels


async def test_a_cancel_that_is_being_answered_is_not_taken_again(desk: Desk) -> None:
    """Neither while its command is looked up, nor while it is being called off."""
    entry = Entry("gw-2", "1767225000000-0")
    desk.ledger.rows["c-1"] = Row("queued", 1, "boot-z:1", entry, IMEI)
    cancel = desk.cancel()
    desk.read(cancel, fresh=False)
    for _ in range(3):
        await asyncio.sleep(0)
    assert desk.ledger.depth == 1
    desk.read(cancel, fresh=False)
    for _ in range(3):
        await asyncio.sleep(0)
    assert desk.ledger.depth == 1
    desk.ledger.settle()
    assert (desk.life(), desk.notes()) == (["failed cancelled not_sent"], [])


async def test_a_cancel_whose_command_is_forgotten_meanwhile_finds_it_unknown(desk: Desk) -> None:
    desk.ledger.rows["c-1"] = Row("queued", 1, "boot-z:1", Entry("gw-2", "1767225000000-0"), IMEI)
    desk.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    desk.ledger.rows.clear()
    for _ in range(5):
        desk.ledger.settle()
        await asyncio.sleep(0)
    desk.ledger.settle()
    assert desk.notes() == [("cancel_rejected", "c-1", "unknown")]


async def test_a_cancel_that_could_not_be_carried_out_is_taken_when_it_is_read_again(desk: Desk) -> None:
    desk.ledger.rows["c-1"] = Row("queued", 1, "boot-z:1", Entry("gw-2", "1767225000000-0"), IMEI)
    desk.ledger.refuse(Status.ERROR, "failed", detail="WRONGTYPE")
    cancel = desk.cancel()
    for _ in range(2):
        for _ in range(3):
            await asyncio.sleep(0)
        desk.ledger.settle()
        desk.read(cancel, fresh=False)
    for _ in range(3):
        await asyncio.sleep(0)
    desk.ledger.settle()
    assert desk.life() == ["failed cancelled not_sent"]


def test_a_verdict_that_finds_an_earlier_one_is_told_once(desk: Desk) -> None:
    """Redis has lost the command, and its id was refused since for another entry."""
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    desk.ledger.rows["c-1"] = Row("failed", 1, "boot-z:9", Entry("gw-2", "1-1"), IMEI)
    desk.answer(link, "done")
    desk.ledger.settle(10)
    assert (desk.ledger.depth, desk.notes()) == (0, [("late_outcome", "c-1", "responded")])
