"""The last look before a write: each guard of a queue alone, where another would usually act first."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from freezegun.api import FrozenDateTimeFactory

from fsm.events import CommandEvent
from tests.transport.command_rig import IMEI, CommandRig, FakeLink
from tests.transport.fake_ledger import now_ms
from transport.commands.in_flight_command import InFlightCommand

MakeCommands = Callable[..., CommandRig]


def soon() -> str:
    """An expiry a second ahead."""
    return str(now_ms() + 1000)


def committed(commands: CommandRig, **fields: str) -> FakeLink:
    """A device whose command is committed and waits for the end of a frame."""
    link = commands.connect()
    commands.ask(**fields)
    commands.frame_begins(link)
    commands.ledger.commit()
    assert (commands.life()[-1], link.texts) == ("sent maybe_sent", [])
    return link


def flight_of(commands: CommandRig, command_id: str = "c-1") -> InFlightCommand:
    in_flight = commands.dispatcher.entries.find(command_id)
    assert in_flight is not None
    return in_flight


def test_a_command_of_which_a_move_is_on_its_way_is_not_written(commands: CommandRig) -> None:
    link = committed(commands)
    flight_of(commands).pending = commands.ledger.events("c-1")[-1]
    commands.frame_acked(link)
    assert link.texts == []
    flight_of(commands).pending = None
    commands.dispatcher.quiet(link)
    assert link.texts == ["c-1"]


def test_an_expired_command_is_not_written_before_a_sweep(
    commands: CommandRig, frozen: FrozenDateTimeFactory
) -> None:
    link = committed(commands, expires_at=soon())
    frozen.tick(timedelta(seconds=1))
    commands.frame_acked(link)
    commands.ledger.commit()
    assert link.texts == []
    assert commands.life()[-1] == "timeout expired not_sent"


def test_a_late_commit_is_withdrawn_before_a_sweep(
    commands: CommandRig, frozen: FrozenDateTimeFactory
) -> None:
    link = commands.connect()
    commands.ask(expires_at=soon())
    commands.frame_begins(link)
    frozen.tick(timedelta(seconds=1))
    commands.ledger.commit()
    assert commands.life()[-1] == "timeout expired not_sent"


def test_nothing_begins_while_the_first_is_being_accepted(commands: CommandRig) -> None:
    link = commands.connect()
    commands.frame_begins(link)
    commands.ask()
    commands.frame_acked(link)
    queue = commands.dispatcher._queues.queue_of(link).writes
    assert (queue.slot, [in_flight.request.command_id for in_flight in queue.waiting]) == (None, ["c-1"])
    commands.ledger.commit()
    assert link.texts == ["c-1"]


def test_the_first_reply_of_the_ledger_sets_the_time(commands: CommandRig) -> None:
    commands.connect(ready=False)
    commands.ledger.set_clock_ahead(10_000)
    commands.ask()
    commands.ledger.commit(1)
    assert commands.clock.now_ms() == now_ms() + 10_000


def test_each_reply_of_the_ledger_sets_the_time(commands: CommandRig) -> None:
    commands.connect()
    commands.ask()
    commands.ledger.commit(1)
    commands.ledger.set_clock_ahead(10_000)
    commands.ledger.commit()
    assert commands.clock.now_ms() == now_ms() + 10_000


@pytest.mark.parametrize("elsewhere", [False, True])
def test_inputs_during_a_hand_over_are_handled_if_it_fails(commands: CommandRig, elsewhere: bool) -> None:
    """Only a command that is still ours can be called off here."""
    link = commands.connect()
    commands.disconnect(link)
    commands.ask()
    commands.ledger.commit()
    if elsewhere:
        commands.ledger.set_alive("gw-2")
    commands.dispatcher.held({IMEI: "gw-2"})
    cancel = commands.add(type="cancel")
    commands.read(cancel)
    commands.ledger.commit()
    assert commands.life()[-1] == ("queued not_sent" if elsewhere else "failed cancelled not_sent")


def test_a_device_that_is_not_expected_any_more_is_forgotten(make_commands: MakeCommands) -> None:
    commands = make_commands(reconnect_grace=60.0)
    commands.disconnect(commands.connect())
    commands.at(59)
    assert commands.dispatcher.offline._left_at.keys() == {IMEI}
    commands.at(60)
    assert commands.dispatcher.offline._left_at == {}


def test_the_end_of_an_older_connection_leaves_the_newer(commands: CommandRig) -> None:
    older = commands.connect()
    newer = FakeLink(commands.dispatcher, IMEI, "boot-b-ff")
    commands.dispatcher.arrived(newer)
    commands.disconnect(older)
    assert commands.dispatcher.links.get(IMEI) is newer


def test_a_written_command_is_not_written_again(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    commands.dispatcher.quiet(link)
    assert [command.payload for command in link.commands] == [b"c-1"]


def test_after_a_command_that_was_withdrawn_the_next_is_written(commands: CommandRig) -> None:
    link = committed(commands, expires_at=soon())
    commands.at(1)
    commands.ask("c-2")
    commands.ledger.commit()
    commands.frame_acked(link)
    commands.ledger.commit()
    assert link.texts == ["c-2"]


def test_the_outcome_is_published_before_the_next_is_sent(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask("a", response_timeout="1")
    commands.ask("b")
    commands.ledger.commit()
    commands.answer(link)
    commands.ledger.commit()
    told = [
        (event.command_id, event.state) for event in commands.ledger.log if isinstance(event, CommandEvent)
    ]
    assert told[-2:] == [("a", "responded"), ("b", "sent")]
