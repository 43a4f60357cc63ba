"""The last look before a write: each guard of a queue alone, where another would usually act first."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from freezegun.api import FrozenDateTimeFactory

from fsm.events import CommandEvent
from tests.transport.desk import IMEI, Desk, FakeLink
from tests.transport.fake_ledger import now_ms
from transport.commands.in_flight_command import InFlightCommand

MakeDesk = Callable[..., Desk]


def soon() -> str:
    """An expiry a second ahead."""
    return str(now_ms() + 1000)


def committed(desk: Desk, **fields: str) -> FakeLink:
    """A device whose command is committed and waits for the end of a frame."""
    link = desk.connect()
    desk.ask(**fields)
    desk.frame_begins(link)
    desk.ledger.settle()
    assert (desk.life()[-1], link.texts) == ("sent maybe_sent", [])
    return link


def flight_of(desk: Desk, command_id: str = "c-1") -> InFlightCommand:
    in_flight = desk.dispatcher.entries.find(command_id)
    assert in_flight is not None
    return in_flight


def test_a_command_of_which_a_move_is_on_its_way_is_not_written(desk: Desk) -> None:
    link = committed(desk)
    flight_of(desk).pending = desk.ledger.events("c-1")[-1]
    desk.frame_acked(link)
    assert link.texts == []
    flight_of(desk).pending = None
    desk.dispatcher.quiet(link)
    assert link.texts == ["c-1"]


def test_an_expired_command_is_not_written_before_a_sweep(desk: Desk, frozen: FrozenDateTimeFactory) -> None:
    link = committed(desk, expires_at=soon())
    frozen.tick(timedelta(seconds=1))
    desk.frame_acked(link)
    desk.ledger.settle()
    assert link.texts == []
    assert desk.life()[-1] == "timeout expired not_sent"


def test_a_late_commit_is_withdrawn_before_a_sweep(desk: Desk, frozen: FrozenDateTimeFactory) -> None:
    link = desk.connect()
    desk.ask(expires_at=soon())
    desk.frame_begins(link)
    frozen.tick(timedelta(seconds=1))
    desk.ledger.settle()
    assert desk.life()[-1] == "timeout expired not_sent"


def test_nothing_begins_while_the_first_is_being_accepted(desk: Desk) -> None:
    link = desk.connect()
    desk.frame_begins(link)
    desk.ask()
    desk.frame_acked(link)
    queue = desk.dispatcher._queues.queue_of(link).writes
    assert (queue.slot, [in_flight.request.command_id for in_flight in queue.waiting]) == (None, ["c-1"])
    desk.ledger.settle()
    assert link.texts == ["c-1"]


def test_the_first_reply_of_the_ledger_sets_the_time(desk: Desk) -> None:
    desk.connect(ready=False)
    desk.ledger.set_clock_ahead(10_000)
    desk.ask()
    desk.ledger.settle(1)
    assert desk.clock.now_ms() == now_ms() + 10_000


def test_each_reply_of_the_ledger_sets_the_time(desk: Desk) -> None:
    desk.connect()
    desk.ask()
    desk.ledger.settle(1)
    desk.ledger.set_clock_ahead(10_000)
    desk.ledger.settle()
    assert desk.clock.now_ms() == now_ms() + 10_000


@pytest.mark.parametrize("elsewhere", [False, True])
def test_inputs_during_a_hand_over_are_handled_if_it_fails(desk: Desk, elsewhere: bool) -> None:
    """Only a command that is still ours can be called off here."""
    link = desk.connect()
    desk.hang_up(link)
    desk.ask()
    desk.ledger.settle()
    if elsewhere:
        desk.ledger.set_alive("gw-2")
    desk.dispatcher.held({IMEI: "gw-2"})
    cancel = desk.add(type="cancel")
    desk.read(cancel)
    desk.ledger.settle()
    assert desk.life()[-1] == ("queued not_sent" if elsewhere else "failed cancelled not_sent")


def test_a_device_that_is_not_expected_any_more_is_forgotten(make_desk: MakeDesk) -> None:
    desk = make_desk(reconnect_grace=60.0)
    desk.hang_up(desk.connect())
    desk.at(59)
    assert desk.dispatcher.offline._left_at.keys() == {IMEI}
    desk.at(60)
    assert desk.dispatcher.offline._left_at == {}


def test_the_end_of_an_older_connection_leaves_the_newer(desk: Desk) -> None:
    older = desk.connect()
    newer = FakeLink(desk.dispatcher, IMEI, "boot-b-ff")
    desk.dispatcher.arrived(newer)
    desk.hang_up(older)
    assert desk.dispatcher.links.get(IMEI) is newer


def test_a_written_command_is_not_written_again(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    desk.dispatcher.quiet(link)
    assert [command.payload for command in link.commands] == [b"c-1"]


def test_after_a_command_that_was_withdrawn_the_next_is_written(desk: Desk) -> None:
    link = committed(desk, expires_at=soon())
    desk.at(1)
    desk.ask("c-2")
    desk.ledger.settle()
    desk.frame_acked(link)
    desk.ledger.settle()
    assert link.texts == ["c-2"]


def test_the_outcome_is_published_before_the_next_is_sent(desk: Desk) -> None:
    link = desk.connect()
    desk.ask("a", response_timeout="1")
    desk.ask("b")
    desk.ledger.settle()
    desk.answer(link)
    desk.ledger.settle()
    told = [(event.command_id, event.state) for event in desk.ledger.log if isinstance(event, CommandEvent)]
    assert told[-2:] == [("a", "responded"), ("b", "sent")]
