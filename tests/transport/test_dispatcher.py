"""Commands and connections brought together: a command's life, and what the ledger may say to it."""

from __future__ import annotations

from functools import partial

import pytest

from fsm.moves import Status
from tests.transport.desk import OTHER_IMEI, Desk

# A command's life


def test_a_command_is_queued_sent_and_responded(desk: Desk) -> None:
    link = desk.connect()
    entry = desk.ask()
    desk.ledger.settle()
    assert link.texts == ["c-1"]
    desk.at(1.5)
    desk.answer(link, "Ver:03.27.07")
    desk.ledger.settle()
    assert desk.life() == ["queued not_sent", "sent maybe_sent", "responded answered"]
    event = desk.ledger.events("c-1")[-1]
    assert (event.response, event.rtt_ms, event.session_id) == ("Ver:03.27.07", 1500, link.session_id)
    assert entry not in desk.ledger.stream
    assert len(desk.dispatcher.entries) == 0


def test_nothing_is_written_before_sent_is_committed(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle(1)
    assert (desk.life(), link.texts) == (["queued not_sent"], [])
    desk.ledger.settle(1)
    assert (desk.life()[-1], link.texts) == ("sent maybe_sent", ["c-1"])


def test_to_a_free_device_queued_and_sent_travel_in_one_call(desk: Desk) -> None:
    desk.connect()
    desk.ask()
    assert desk.ledger.depth == 2


def test_a_lost_reply_changes_nothing(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    for _ in range(2):
        desk.ledger.lose_reply()
        desk.ledger.settle(1)
    desk.answer(link)
    desk.ledger.lose_reply()
    desk.ledger.settle()
    assert desk.life() == ["queued not_sent", "sent maybe_sent", "responded answered"]
    assert link.texts == ["c-1"]


def test_two_devices_do_not_wait_for_each_other(desk: Desk) -> None:
    one, other = desk.connect(), desk.connect(OTHER_IMEI)
    desk.ask("a")
    desk.ask("b", OTHER_IMEI)
    desk.ledger.settle()
    assert (one.texts, other.texts) == (["a"], ["b"])


def test_an_error_in_one_effect_spares_the_others(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down() -> None:
        raise RuntimeError

    one, _ = desk.connect(), desk.connect(OTHER_IMEI)
    desk.ask("a")
    desk.ask("b", OTHER_IMEI)
    desk.ledger.settle()
    monkeypatch.setattr(one, "taint", break_down)
    with pytest.raises(RuntimeError):
        desk.at(30)
    assert desk.ledger.depth == 2
    desk.ledger.settle()
    assert (desk.life("a")[-1], desk.life("b")[-1]) == ("timeout response_timeout maybe_sent",) * 2


# What the ledger may answer


def test_a_queued_command_whose_ledger_is_lost_is_not_sent(desk: Desk) -> None:
    link = desk.connect(ready=False)
    desk.ask()
    desk.ledger.settle()
    desk.ledger.forget()
    desk.ready(link)
    desk.ledger.settle()
    assert desk.life()[-1] == "failed ledger_lost not_sent"
    assert desk.ledger.events("c-1")[-1].recovered
    assert link.texts == []


def test_a_sent_command_without_ledger_keeps_its_outcome(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    desk.ledger.forget()
    desk.answer(link, "here")
    desk.ledger.settle()
    event = desk.ledger.events("c-1")[-1]
    assert (event.state, event.response, event.recovered) == ("responded", "here", True)


def test_an_outcome_after_that_of_another_is_a_note(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    desk.ledger.refuse(Status.CONFLICT, "responded")
    desk.answer(link, "I did it")
    desk.ledger.settle()
    assert desk.notes() == [("late_outcome", "c-1", "responded")]
    assert desk.ledger.notes()[0].response == "I did it"
    assert len(desk.dispatcher.entries) == 0


def test_a_command_ended_by_an_adopter_is_not_written(desk: Desk) -> None:
    link = desk.connect()
    desk.ledger.refuse(Status.CONFLICT, "sent")
    desk.ask()
    desk.ask("c-2")
    desk.ledger.settle()
    assert link.texts == ["c-2"]
    assert desk.notes() == []


def test_what_the_ledger_refuses_is_counted_and_nothing_else(desk: Desk) -> None:
    desk.connect()
    desk.ledger.refuse(Status.DUPLICATE, "queued")
    for command_id in ("c-1", "c-2"):
        desk.ask(command_id)
        desk.ledger.settle()
    count = partial(desk.metrics.registry.get_sample_value, "teltonika_ledger_refusals_total")
    assert [count({"status": status}) for status in ("DUPLICATE", "OK")] == [1, None]


def test_a_command_that_an_adopter_ended_still_owes_its_answer(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    desk.ledger.refuse(Status.CONFLICT, "timeout")
    desk.at(30)
    desk.ask("c-2")
    desk.ledger.settle()
    assert (link.tainted, link.texts) == (True, ["c-1"])
    desk.answer(link, "late")
    desk.ledger.settle()
    assert desk.notes() == [("late_outcome", "c-1", "response_timeout"), ("late_response", "c-1", "late")]
    assert link.texts == ["c-1", "c-2"]


def test_a_command_refused_by_the_store_is_a_dead_letter(desk: Desk) -> None:
    link = desk.connect()
    desk.ledger.refuse(Status.ERROR, times=2, detail="WRONGTYPE")
    desk.ask()
    desk.ask("c-2")
    desk.ledger.settle()
    assert desk.life() == ["queued not_sent", "failed internal_error not_sent"]
    [letter] = desk.ledger.deadletters
    assert letter["command_id"] == "c-1"
    assert link.texts == ["c-2"]


def test_a_refused_outcome_is_published_with_the_dead_letter(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    desk.ledger.refuse(Status.ERROR, "responded")
    desk.answer(link, "the answer")
    desk.ledger.settle()
    assert desk.life() == ["queued not_sent", "sent maybe_sent", "responded answered"]
    assert desk.ledger.events("c-1")[-1].response == "the answer"
    assert len(desk.ledger.deadletters) == 1


def test_a_fenced_process_writes_nothing(desk: Desk) -> None:
    link = desk.connect()
    desk.ledger.refuse(Status.FENCED, times=9)
    desk.ask()
    desk.ledger.settle()
    assert (link.texts, desk.ledger.log) == ([], [])


def test_a_silent_ledger_delays_the_one_write(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    for seconds in range(1, 300):
        desk.at(seconds)
    assert (link.texts, desk.life()) == ([], [])
    desk.ledger.settle()
    assert link.texts == ["c-1"]
