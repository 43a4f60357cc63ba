"""Commands and connections brought together: a command's life, and what the ledger may say to it."""

from __future__ import annotations

from functools import partial

import pytest

from fsm.moves import Status
from tests.transport.command_rig import OTHER_IMEI, CommandRig

# A command's life


def test_a_command_is_queued_sent_and_responded(commands: CommandRig) -> None:
    link = commands.connect()
    entry = commands.ask()
    commands.ledger.commit()
    assert link.texts == ["c-1"]
    commands.at(1.5)
    commands.answer(link, "Ver:03.27.07")
    commands.ledger.commit()
    assert commands.life() == ["queued not_sent", "sent maybe_sent", "responded answered"]
    event = commands.ledger.events("c-1")[-1]
    assert (event.response, event.rtt_ms, event.session_id) == ("Ver:03.27.07", 1500, link.session_id)
    assert entry not in commands.ledger.stream
    assert len(commands.dispatcher.entries) == 0


def test_nothing_is_written_before_sent_is_committed(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit(1)
    assert (commands.life(), link.texts) == (["queued not_sent"], [])
    commands.ledger.commit(1)
    assert (commands.life()[-1], link.texts) == ("sent maybe_sent", ["c-1"])


def test_to_a_free_device_queued_and_sent_travel_in_one_call(commands: CommandRig) -> None:
    commands.connect()
    commands.ask()
    assert commands.ledger.depth == 2


def test_a_lost_reply_changes_nothing(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    for _ in range(2):
        commands.ledger.lose_reply()
        commands.ledger.commit(1)
    commands.answer(link)
    commands.ledger.lose_reply()
    commands.ledger.commit()
    assert commands.life() == ["queued not_sent", "sent maybe_sent", "responded answered"]
    assert link.texts == ["c-1"]


def test_two_devices_do_not_wait_for_each_other(commands: CommandRig) -> None:
    one, other = commands.connect(), commands.connect(OTHER_IMEI)
    commands.ask("a")
    commands.ask("b", OTHER_IMEI)
    commands.ledger.commit()
    assert (one.texts, other.texts) == (["a"], ["b"])


def test_an_error_in_one_effect_spares_the_others(
    commands: CommandRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down() -> None:
        raise RuntimeError

    one, _ = commands.connect(), commands.connect(OTHER_IMEI)
    commands.ask("a")
    commands.ask("b", OTHER_IMEI)
    commands.ledger.commit()
    monkeypatch.setattr(one, "taint", break_down)
    with pytest.raises(RuntimeError):
        commands.at(30)
    assert commands.ledger.depth == 2
    commands.ledger.commit()
    assert (commands.life("a")[-1], commands.life("b")[-1]) == ("timeout response_timeout maybe_sent",) * 2


# What the ledger may answer


def test_a_queued_command_whose_ledger_is_lost_is_not_sent(commands: CommandRig) -> None:
    link = commands.connect(ready=False)
    commands.ask()
    commands.ledger.commit()
    commands.ledger.forget()
    commands.ready(link)
    commands.ledger.commit()
    assert commands.life()[-1] == "failed ledger_lost not_sent"
    assert commands.ledger.events("c-1")[-1].recovered
    assert link.texts == []


def test_a_sent_command_without_ledger_keeps_its_outcome(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    commands.ledger.forget()
    commands.answer(link, "here")
    commands.ledger.commit()
    event = commands.ledger.events("c-1")[-1]
    assert (event.state, event.response, event.recovered) == ("responded", "here", True)


def test_an_outcome_after_that_of_another_is_a_note(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    commands.ledger.refuse(Status.CONFLICT, "responded")
    commands.answer(link, "I did it")
    commands.ledger.commit()
    assert commands.notes() == [("late_outcome", "c-1", "responded")]
    assert commands.ledger.notes()[0].response == "I did it"
    assert len(commands.dispatcher.entries) == 0


def test_a_command_ended_by_an_adopter_is_not_written(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ledger.refuse(Status.CONFLICT, "sent")
    commands.ask()
    commands.ask("c-2")
    commands.ledger.commit()
    assert link.texts == ["c-2"]
    assert commands.notes() == []


def test_what_the_ledger_refuses_is_counted_and_nothing_else(commands: CommandRig) -> None:
    commands.connect()
    commands.ledger.refuse(Status.DUPLICATE, "queued")
    for command_id in ("c-1", "c-2"):
        commands.ask(command_id)
        commands.ledger.commit()
    count = partial(commands.metrics.registry.get_sample_value, "teltonika_ledger_refusals_total")
    assert [count({"status": status}) for status in ("DUPLICATE", "OK")] == [1, None]


def test_a_command_that_an_adopter_ended_still_owes_its_answer(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    commands.ledger.refuse(Status.CONFLICT, "timeout")
    commands.at(30)
    commands.ask("c-2")
    commands.ledger.commit()
    assert (link.tainted, link.texts) == (True, ["c-1"])
    commands.answer(link, "late")
    commands.ledger.commit()
    assert commands.notes() == [("late_outcome", "c-1", "response_timeout"), ("late_response", "c-1", "late")]
    assert link.texts == ["c-1", "c-2"]


def test_a_command_refused_by_the_store_is_a_dead_letter(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ledger.refuse(Status.ERROR, times=2, detail="WRONGTYPE")
    commands.ask()
    commands.ask("c-2")
    commands.ledger.commit()
    assert commands.life() == ["queued not_sent", "failed internal_error not_sent"]
    [letter] = commands.ledger.deadletters
    assert letter["command_id"] == "c-1"
    assert link.texts == ["c-2"]


def test_a_refused_outcome_is_published_with_the_dead_letter(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    commands.ledger.refuse(Status.ERROR, "responded")
    commands.answer(link, "the answer")
    commands.ledger.commit()
    assert commands.life() == ["queued not_sent", "sent maybe_sent", "responded answered"]
    assert commands.ledger.events("c-1")[-1].response == "the answer"
    assert len(commands.ledger.deadletters) == 1


def test_a_fenced_process_writes_nothing(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ledger.refuse(Status.FENCED, times=9)
    commands.ask()
    commands.ledger.commit()
    assert (link.texts, commands.ledger.log) == ([], [])


def test_a_silent_ledger_delays_the_one_write(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    for seconds in range(1, 300):
        commands.at(seconds)
    assert (link.texts, commands.life()) == ([], [])
    commands.ledger.commit()
    assert link.texts == ["c-1"]
