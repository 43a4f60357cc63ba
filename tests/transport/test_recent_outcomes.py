"""Redis loses moves that it had confirmed, as in a failover: what was done is not done twice.

A test remembers what Redis holds at some moment, and later Redis holds that again.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fsm.command import Command, decide
from fsm.moves import Entry
from fsm.reasons import QUEUE_FULL
from tests.in_memory.keyspace import Keyspace
from tests.transport.desk import IMEI, Desk
from tests.transport.fake_ledger import Row
from transport.commands.recent_outcomes import REMEMBERED, RecentOutcomes

MakeDesk = Callable[..., Desk]


def fall_back(desk: Desk, to: Keyspace) -> None:
    """Redis holds what it held then; everything that is on our stream is read again."""
    desk.ledger.restore(to)
    desk.redeliver()
    desk.ledger.settle()


def told(desk: Desk, command_id: str = "c-1") -> list[tuple[int, str, bool]]:
    return [(event.seq, event.state, event.recovered) for event in desk.ledger.events(command_id)]


def test_an_answered_command_is_restored_and_not_written_again(desk: Desk) -> None:
    link = desk.connect()
    desk.add(imei=IMEI, payload="c-1")
    before = desk.ledger.save()
    desk.redeliver()
    desk.ledger.settle()
    desk.answer(link, "done")
    desk.ledger.settle()
    fall_back(desk, before)
    assert link.texts == ["c-1"]
    assert told(desk) == [(1, "queued", False), (2, "sent", False), (3, "responded", True)]
    assert desk.ledger.events("c-1")[-1].response == "done"
    assert desk.ledger.stream == {}


def test_a_command_with_an_outdated_ledger_is_not_written(desk: Desk) -> None:
    link = desk.connect(ready=False)
    desk.ask()
    desk.ledger.settle()
    before = desk.ledger.save()
    desk.ready(link)
    desk.ledger.settle()
    desk.answer(link)
    desk.ledger.settle()
    fall_back(desk, before)
    assert link.texts == ["c-1"]
    assert told(desk) == [(1, "queued", False), (2, "sent", False), (3, "responded", True)]
    assert desk.ledger.stream == {}


@pytest.mark.parametrize("ending", ["answer", "silence"])
def test_an_outcome_restores_its_lost_sent_event(desk: Desk, ending: str) -> None:
    link = desk.connect(ready=False)
    desk.ask()
    desk.ledger.settle()
    before = desk.ledger.save()
    desk.ready(link)
    desk.ledger.settle()
    fall_back(desk, before)
    if ending == "answer":
        desk.answer(link)
    else:
        desk.at(31)
    desk.ledger.settle()
    verdict = {"answer": "responded answered", "silence": "timeout response_timeout maybe_sent"}[ending]
    assert desk.life() == ["queued not_sent", "sent maybe_sent", verdict]
    assert link.texts == ["c-1"]
    assert (desk.ledger.stream, len(desk.dispatcher.entries)) == ({}, 0)


def test_a_cancelled_command_lost_by_redis_stays_cancelled(desk: Desk) -> None:
    link = desk.connect(ready=False)
    desk.ask()
    desk.ledger.settle()
    before = desk.ledger.save()
    desk.cancel()
    desk.ledger.settle()
    desk.ready(link)
    fall_back(desk, before)
    assert link.texts == []
    assert desk.life() == ["queued not_sent", "failed cancelled not_sent"]


def test_a_lost_refusal_is_restored_for_a_connected_device(desk: Desk) -> None:
    desk.at(61)
    desk.add(imei=IMEI, payload="c-1")
    before = desk.ledger.save()
    desk.redeliver()
    desk.ledger.settle()
    link = desk.connect()
    fall_back(desk, before)
    assert link.texts == []
    assert desk.life() == ["failed device_not_connected not_sent"]
    assert desk.ledger.stream == {}


def test_a_repeated_command_gets_the_outcome_it_had(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    desk.answer(link)
    desk.ledger.settle()
    desk.ledger.forget()
    again = desk.ask()
    desk.ledger.settle()
    assert link.texts == ["c-1"]
    assert desk.life()[-3:] == ["queued not_sent", "sent maybe_sent", "responded answered"]
    assert desk.ledger.events("c-1")[-1].outbound_id == again.outbound_id
    assert desk.ledger.stream == {}
    desk.ledger.lose_log(3)


def test_a_command_repeated_while_sent_waits_for_the_outcome(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    desk.ledger.forget()
    desk.ledger.lose_log()
    desk.ask()
    desk.ledger.settle()
    desk.redeliver()
    assert link.texts == ["c-1"]
    desk.answer(link)
    desk.ledger.settle()
    assert link.texts == ["c-1"]
    assert desk.life() == ["queued not_sent", "sent maybe_sent", "responded answered"]
    assert (desk.ledger.stream, len(desk.dispatcher.entries)) == ({}, 0)


def test_a_command_repeated_while_queued_keeps_its_place(
    desk: Desk,
) -> None:
    link = desk.connect(ready=False)
    desk.ask()
    desk.ledger.settle()
    desk.ledger.forget()
    desk.ledger.lose_log()
    desk.ask()
    desk.ask("c-2")
    desk.ledger.settle()
    desk.ready(link)
    desk.ledger.settle()
    desk.answer(link)
    desk.ledger.settle()
    assert link.texts == ["c-1", "c-2"]
    assert desk.life() == ["queued not_sent", "sent maybe_sent", "responded answered"]


def test_a_command_repeated_while_queued_takes_the_new_expiry(desk: Desk) -> None:
    link = desk.connect(ready=False)
    desk.ask(expires_at="2026-01-01T00:00:10Z")
    desk.ledger.settle()
    desk.ledger.forget()
    desk.ledger.lose_log()
    desk.ask(expires_at="2026-01-01T00:00:20Z")
    desk.ask("c-2")
    desk.ledger.settle()
    desk.at(15)
    desk.ready(link)
    desk.ledger.settle()
    assert link.texts == ["c-1"]
    assert desk.life() == ["queued not_sent", "sent maybe_sent"]


def test_a_command_repeated_while_being_sent_is_written_once(
    desk: Desk,
) -> None:
    link = desk.connect(ready=False)
    desk.ask()
    desk.ledger.settle()
    desk.ledger.forget()
    desk.ledger.lose_log()
    desk.ask()
    desk.ready(link)
    desk.ask("c-2")
    desk.ledger.settle()
    desk.answer(link)
    desk.ledger.settle()
    assert link.texts == ["c-1", "c-2"]
    assert desk.life() == ["queued not_sent", "sent maybe_sent", "responded answered"]


def test_a_repetition_without_any_loss_is_a_duplicate_as_ever(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    desk.ask()
    desk.ledger.settle()
    desk.answer(link)
    desk.ledger.settle()
    desk.ask()
    desk.ledger.settle()
    assert [note for note, *_ in desk.notes()] == ["duplicate_ignored"] * 2
    assert (link.texts, len(desk.life()), desk.ledger.stream) == (["c-1"], 3, {})


def test_a_rolled_back_command_is_left_to_its_new_owner(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    theirs = Row("queued", 1, "theirs", Entry("gw-2", "5-0"), IMEI)
    desk.ledger.set_row("c-1", theirs)
    desk.answer(link)
    desk.ledger.settle()
    assert desk.ledger.rows["c-1"] == theirs
    assert [note for note, *_ in desk.notes()] == ["late_outcome"]
    assert len(desk.dispatcher.entries) == 0


def test_after_the_retention_an_id_counts_as_new(make_desk: MakeDesk) -> None:
    desk = make_desk(retention=3600.0)
    link = desk.connect()
    for start in (0, 3600):
        desk.at(start)
        desk.ledger.forget()
        desk.ledger.lose_log()
        desk.ask()
        desk.ledger.settle()
        desk.answer(link)
        desk.ledger.settle()
        assert desk.life() == ["queued not_sent", "sent maybe_sent", "responded answered"]
    assert link.texts == ["c-1", "c-1"]
    link.commands.pop()


def test_the_last_outcomes_are_remembered() -> None:
    verdicts = RecentOutcomes(3600.0, lambda: 5.0)
    for number in range(REMEMBERED + 10):
        verdicts.add(decide(Command(f"c-{number}"), "refuse", reason=QUEUE_FULL))
    assert verdicts.find("c-9") is None
    assert [verdicts.find(f"c-{number}") is not None for number in (10, REMEMBERED + 9)] == [True, True]
