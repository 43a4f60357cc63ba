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
from tests.transport.command_rig import IMEI, CommandRig
from tests.transport.fake_ledger import Row
from transport.commands.recent_outcomes import REMEMBERED, RecentOutcomes

MakeCommands = Callable[..., CommandRig]


def fall_back(commands: CommandRig, to: Keyspace) -> None:
    """Redis holds what it held then; everything that is on our stream is read again."""
    commands.ledger.restore(to)
    commands.redeliver()
    commands.ledger.commit()


def told(commands: CommandRig, command_id: str = "c-1") -> list[tuple[int, str, bool]]:
    return [(event.seq, event.state, event.recovered) for event in commands.ledger.events(command_id)]


def test_an_answered_command_is_restored_and_not_written_again(commands: CommandRig) -> None:
    link = commands.connect()
    commands.add(imei=IMEI, payload="c-1")
    before = commands.ledger.save()
    commands.redeliver()
    commands.ledger.commit()
    commands.answer(link, "done")
    commands.ledger.commit()
    fall_back(commands, before)
    assert link.texts == ["c-1"]
    assert told(commands) == [(1, "queued", False), (2, "sent", False), (3, "responded", True)]
    assert commands.ledger.events("c-1")[-1].response == "done"
    assert commands.ledger.stream == {}


def test_a_command_with_an_outdated_ledger_is_not_written(commands: CommandRig) -> None:
    link = commands.connect(ready=False)
    commands.ask()
    commands.ledger.commit()
    before = commands.ledger.save()
    commands.ready(link)
    commands.ledger.commit()
    commands.answer(link)
    commands.ledger.commit()
    fall_back(commands, before)
    assert link.texts == ["c-1"]
    assert told(commands) == [(1, "queued", False), (2, "sent", False), (3, "responded", True)]
    assert commands.ledger.stream == {}


@pytest.mark.parametrize("ending", ["answer", "silence"])
def test_an_outcome_restores_its_lost_sent_event(commands: CommandRig, ending: str) -> None:
    link = commands.connect(ready=False)
    commands.ask()
    commands.ledger.commit()
    before = commands.ledger.save()
    commands.ready(link)
    commands.ledger.commit()
    fall_back(commands, before)
    if ending == "answer":
        commands.answer(link)
    else:
        commands.at(31)
    commands.ledger.commit()
    verdict = {"answer": "responded answered", "silence": "timeout response_timeout maybe_sent"}[ending]
    assert commands.life() == ["queued not_sent", "sent maybe_sent", verdict]
    assert link.texts == ["c-1"]
    assert (commands.ledger.stream, len(commands.dispatcher.entries)) == ({}, 0)


def test_a_cancelled_command_lost_by_redis_stays_cancelled(commands: CommandRig) -> None:
    link = commands.connect(ready=False)
    commands.ask()
    commands.ledger.commit()
    before = commands.ledger.save()
    commands.cancel()
    commands.ledger.commit()
    commands.ready(link)
    fall_back(commands, before)
    assert link.texts == []
    assert commands.life() == ["queued not_sent", "failed cancelled not_sent"]


def test_a_lost_refusal_is_restored_for_a_connected_device(commands: CommandRig) -> None:
    commands.at(61)
    commands.add(imei=IMEI, payload="c-1")
    before = commands.ledger.save()
    commands.redeliver()
    commands.ledger.commit()
    link = commands.connect()
    fall_back(commands, before)
    assert link.texts == []
    assert commands.life() == ["failed device_not_connected not_sent"]
    assert commands.ledger.stream == {}


def test_a_repeated_command_gets_the_outcome_it_had(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    commands.answer(link)
    commands.ledger.commit()
    commands.ledger.forget()
    again = commands.ask()
    commands.ledger.commit()
    assert link.texts == ["c-1"]
    assert commands.life()[-3:] == ["queued not_sent", "sent maybe_sent", "responded answered"]
    assert commands.ledger.events("c-1")[-1].outbound_id == again.outbound_id
    assert commands.ledger.stream == {}
    commands.ledger.lose_log(3)


def test_a_command_repeated_while_sent_waits_for_the_outcome(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    commands.ledger.forget()
    commands.ledger.lose_log()
    commands.ask()
    commands.ledger.commit()
    commands.redeliver()
    assert link.texts == ["c-1"]
    commands.answer(link)
    commands.ledger.commit()
    assert link.texts == ["c-1"]
    assert commands.life() == ["queued not_sent", "sent maybe_sent", "responded answered"]
    assert (commands.ledger.stream, len(commands.dispatcher.entries)) == ({}, 0)


def test_a_command_repeated_while_queued_keeps_its_place(
    commands: CommandRig,
) -> None:
    link = commands.connect(ready=False)
    commands.ask()
    commands.ledger.commit()
    commands.ledger.forget()
    commands.ledger.lose_log()
    commands.ask()
    commands.ask("c-2")
    commands.ledger.commit()
    commands.ready(link)
    commands.ledger.commit()
    commands.answer(link)
    commands.ledger.commit()
    assert link.texts == ["c-1", "c-2"]
    assert commands.life() == ["queued not_sent", "sent maybe_sent", "responded answered"]


def test_a_command_repeated_while_queued_takes_the_new_expiry(commands: CommandRig) -> None:
    link = commands.connect(ready=False)
    commands.ask(expires_at="2026-01-01T00:00:10Z")
    commands.ledger.commit()
    commands.ledger.forget()
    commands.ledger.lose_log()
    commands.ask(expires_at="2026-01-01T00:00:20Z")
    commands.ask("c-2")
    commands.ledger.commit()
    commands.at(15)
    commands.ready(link)
    commands.ledger.commit()
    assert link.texts == ["c-1"]
    assert commands.life() == ["queued not_sent", "sent maybe_sent"]


def test_a_command_repeated_while_being_sent_is_written_once(
    commands: CommandRig,
) -> None:
    link = commands.connect(ready=False)
    commands.ask()
    commands.ledger.commit()
    commands.ledger.forget()
    commands.ledger.lose_log()
    commands.ask()
    commands.ready(link)
    commands.ask("c-2")
    commands.ledger.commit()
    commands.answer(link)
    commands.ledger.commit()
    assert link.texts == ["c-1", "c-2"]
    assert commands.life() == ["queued not_sent", "sent maybe_sent", "responded answered"]


def test_a_repetition_without_any_loss_is_a_duplicate_as_ever(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    commands.ask()
    commands.ledger.commit()
    commands.answer(link)
    commands.ledger.commit()
    commands.ask()
    commands.ledger.commit()
    assert [note for note, *_ in commands.notes()] == ["duplicate_ignored"] * 2
    assert (link.texts, len(commands.life()), commands.ledger.stream) == (["c-1"], 3, {})


def test_a_rolled_back_command_is_left_to_its_new_owner(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    theirs = Row("queued", 1, "theirs", Entry("gw-2", "5-0"), IMEI)
    commands.ledger.set_row("c-1", theirs)
    commands.answer(link)
    commands.ledger.commit()
    assert commands.ledger.rows["c-1"] == theirs
    assert [note for note, *_ in commands.notes()] == ["late_outcome"]
    assert len(commands.dispatcher.entries) == 0


def test_after_the_retention_an_id_counts_as_new(make_commands: MakeCommands) -> None:
    commands = make_commands(retention=3600.0)
    link = commands.connect()
    for start in (0, 3600):
        commands.at(start)
        commands.ledger.forget()
        commands.ledger.lose_log()
        commands.ask()
        commands.ledger.commit()
        commands.answer(link)
        commands.ledger.commit()
        assert commands.life() == ["queued not_sent", "sent maybe_sent", "responded answered"]
    assert link.texts == ["c-1", "c-1"]
    link.commands.pop()


def test_the_last_outcomes_are_remembered() -> None:
    verdicts = RecentOutcomes(3600.0, lambda: 5.0)
    for number in range(REMEMBERED + 10):
        verdicts.add(decide(Command(f"c-{number}"), "refuse", reason=QUEUE_FULL))
    assert verdicts.find("c-9") is None
    assert [verdicts.find(f"c-{number}") is not None for number in (10, REMEMBERED + 9)] == [True, True]
