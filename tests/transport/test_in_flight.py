"""A command in hand: one move at a time, one verdict, and what others have decided meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from fsm.errors import UnknownTrigger
from fsm.events import CommandEvent
from fsm.moves import Entry, Status
from tests.transport.desk import IMEI, Desk
from tests.transport.fake_ledger import Row
from transport.commands import verdict_log
from transport.commands.in_flight_command import Proposal

SAID = "setparam 2004:secret"


# Inputs that wait


async def test_waiting_inputs_are_handled_in_order(desk: Desk) -> None:
    desk.ask(expires_at="2026-01-01T00:00:10Z")
    desk.ledger.settle()
    desk.ledger.hold(IMEI, "gw-2")
    await desk.look()
    desk.cancel()
    desk.at(10)
    desk.ledger.settle()
    assert (desk.life()[-1], desk.notes()) == ("failed cancelled not_sent", [])


def test_an_unknown_trigger_raises_behind_an_uncommitted_event(desk: Desk) -> None:
    desk.connect()
    desk.ask()
    in_flight = desk.dispatcher.entries.find("c-1")
    assert in_flight is not None
    assert in_flight.pending is not None
    with pytest.raises(UnknownTrigger, match="'respnd'"):
        desk.dispatcher._commands.propose(Proposal(in_flight, "respnd", {}))
    desk.ledger.settle()
    with pytest.raises(UnknownTrigger, match="'respnd'"):
        desk.dispatcher._commands.propose(Proposal(in_flight, "respnd", {}))
    assert in_flight.backlog == []


# What was decided elsewhere


def test_an_outcome_in_conflict_is_published_once(desk: Desk) -> None:
    link = desk.connect()
    entry = desk.ask()
    desk.ledger.settle()
    desk.ledger.set_row("c-1", Row("failed", 3, "boot-z:9", entry, IMEI))
    desk.answer(link, "done")
    desk.ledger.settle(10)
    assert (desk.ledger.depth, desk.notes()) == (0, [("late_outcome", "c-1", "responded")])


def test_a_command_that_another_has_decided_does_not_time_out_here(desk: Desk) -> None:
    link = desk.connect()
    entry = desk.ask(response_timeout="10")
    desk.ledger.settle()
    desk.ledger.set_row("c-1", Row("failed", 3, "boot-z:9", entry, IMEI))
    desk.answer(link, "done")
    desk.ledger.settle()
    desk.at(10)
    assert (desk.ledger.depth, len(desk.ledger.notes())) == (0, 1)


def test_work_on_a_command_ended_elsewhere_is_remembered(desk: Desk) -> None:
    link = desk.connect()
    entry = desk.ask()
    desk.ledger.settle()
    desk.ledger.set_row("c-1", Row("failed", 3, "boot-z:9", entry, IMEI))
    desk.answer(link, "done")
    desk.ledger.settle()
    desk.ledger.lose_rows()
    desk.ask()
    desk.ledger.settle()
    assert link.texts == ["c-1"]


# What cannot be stored


def test_a_command_that_cannot_be_stored_is_given_up_once(desk: Desk) -> None:
    desk.connect()
    desk.ledger.refuse(Status.ERROR, times=2, detail="WRONGTYPE")
    desk.ask()
    desk.ledger.settle()
    assert desk.metrics.registry.get_sample_value("teltonika_deadletters_total") == 1
    assert desk.life() == ["queued not_sent", "failed internal_error not_sent"]


def test_a_command_given_up_is_not_sent_when_asked_again(desk: Desk) -> None:
    """Redis has forgotten it meanwhile; the verdict that it was not sent has been told."""
    link = desk.connect()
    desk.ledger.refuse(Status.ERROR, "sent", detail="WRONGTYPE")
    desk.ask()
    desk.ledger.settle()
    assert desk.life()[-1] == "failed internal_error not_sent"
    desk.ledger.lose_rows()
    desk.ledger.lose_log()
    desk.ask()
    desk.ledger.settle()
    assert link.texts == []


def test_an_outcome_after_an_earlier_one_is_published_once(desk: Desk) -> None:
    """Redis has lost the command, and its id was refused since for another entry."""
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    desk.ledger.set_row("c-1", Row("failed", 1, "boot-z:9", Entry("gw-2", "1-1"), IMEI))
    desk.answer(link, "done")
    desk.ledger.settle(10)
    assert (desk.ledger.depth, desk.notes()) == (0, [("late_outcome", "c-1", "responded")])


def test_the_log_line_of_an_outcome_holds_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[dict[str, Any]] = []

    class Log:
        def info(self, event: str, **fields: Any) -> None:
            lines.append({"event": event} | fields)

    monkeypatch.setattr(verdict_log, "log", Log())
    event = CommandEvent(
        "c-1",
        3,
        "responded",
        "sent",
        "respond",
        terminal=True,
        response=SAID,
        response_hex=SAID.encode().hex(),
        detail=SAID,
        echo=(("requested_by", SAID),),
    )
    verdict_log.log_verdict(event)
    [line] = lines
    assert (line["command_id"], line["state"]) == ("c-1", "responded")
    assert not any(text in str(line) for text in (SAID, SAID.encode().hex()))
