"""A command in hand: one move at a time, one verdict, and what others have decided meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from fsm.errors import UnknownTrigger
from fsm.events import CommandEvent
from fsm.moves import Entry, Status
from tests.transport.command_rig import IMEI, CommandRig
from tests.transport.fake_ledger import Row
from transport.commands import verdict_log
from transport.commands.in_flight_command import Proposal

SAID = "setparam 2004:secret"


# Inputs that wait


async def test_waiting_inputs_are_handled_in_order(commands: CommandRig) -> None:
    commands.ask(expires_at="2026-01-01T00:00:10Z")
    commands.ledger.commit()
    commands.ledger.hold(IMEI, "gw-2")
    await commands.look()
    commands.cancel()
    commands.at(10)
    commands.ledger.commit()
    assert (commands.life()[-1], commands.notes()) == ("failed cancelled not_sent", [])


def test_an_unknown_trigger_raises_behind_an_uncommitted_event(commands: CommandRig) -> None:
    commands.connect()
    commands.ask()
    in_flight = commands.dispatcher.entries.find("c-1")
    assert in_flight is not None
    assert in_flight.pending is not None
    with pytest.raises(UnknownTrigger, match="'respnd'"):
        commands.dispatcher._commands.propose(Proposal(in_flight, "respnd", {}))
    commands.ledger.commit()
    with pytest.raises(UnknownTrigger, match="'respnd'"):
        commands.dispatcher._commands.propose(Proposal(in_flight, "respnd", {}))
    assert in_flight.backlog == []


# What was decided elsewhere


def test_an_outcome_in_conflict_is_published_once(commands: CommandRig) -> None:
    link = commands.connect()
    entry = commands.ask()
    commands.ledger.commit()
    commands.ledger.set_row("c-1", Row("failed", 3, "boot-z:9", entry, IMEI))
    commands.answer(link, "done")
    commands.ledger.commit(10)
    assert (commands.ledger.depth, commands.notes()) == (0, [("late_outcome", "c-1", "responded")])


def test_a_command_that_another_has_decided_does_not_time_out_here(commands: CommandRig) -> None:
    link = commands.connect()
    entry = commands.ask(response_timeout="10")
    commands.ledger.commit()
    commands.ledger.set_row("c-1", Row("failed", 3, "boot-z:9", entry, IMEI))
    commands.answer(link, "done")
    commands.ledger.commit()
    commands.at(10)
    assert (commands.ledger.depth, len(commands.ledger.notes())) == (0, 1)


def test_work_on_a_command_ended_elsewhere_is_remembered(commands: CommandRig) -> None:
    link = commands.connect()
    entry = commands.ask()
    commands.ledger.commit()
    commands.ledger.set_row("c-1", Row("failed", 3, "boot-z:9", entry, IMEI))
    commands.answer(link, "done")
    commands.ledger.commit()
    commands.ledger.lose_rows()
    commands.ask()
    commands.ledger.commit()
    assert link.texts == ["c-1"]


# What cannot be stored


def test_a_command_that_cannot_be_stored_is_given_up_once(commands: CommandRig) -> None:
    commands.connect()
    commands.ledger.refuse(Status.ERROR, times=2, detail="WRONGTYPE")
    commands.ask()
    commands.ledger.commit()
    assert commands.metrics.registry.get_sample_value("teltonika_deadletters_total") == 1
    assert commands.life() == ["queued not_sent", "failed internal_error not_sent"]


def test_a_command_given_up_is_not_sent_when_asked_again(commands: CommandRig) -> None:
    """Redis has forgotten it meanwhile; the verdict that it was not sent has been told."""
    link = commands.connect()
    commands.ledger.refuse(Status.ERROR, "sent", detail="WRONGTYPE")
    commands.ask()
    commands.ledger.commit()
    assert commands.life()[-1] == "failed internal_error not_sent"
    commands.ledger.lose_rows()
    commands.ledger.lose_log()
    commands.ask()
    commands.ledger.commit()
    assert link.texts == []


def test_an_outcome_after_an_earlier_one_is_published_once(commands: CommandRig) -> None:
    """Redis has lost the command, and its id was refused since for another entry."""
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    commands.ledger.set_row("c-1", Row("failed", 1, "boot-z:9", Entry("gw-2", "1-1"), IMEI))
    commands.answer(link, "done")
    commands.ledger.commit(10)
    assert (commands.ledger.depth, commands.notes()) == (0, [("late_outcome", "c-1", "responded")])


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
