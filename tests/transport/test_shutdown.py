"""SIGTERM in every state of a command: nothing new is sent, and what is out is waited for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fsm.registration import Registered, RegisterResult
from tests.transport.desk import IMEI, Desk
from tests.transport.fake_ledger import US
from tests.transport.wire import FakeTransport
from transport.connection.protocol import DeviceConnection
from transport.daemon.gateway import Gateway
from transport.settings import Settings
from transport.teltonika.handshake import encode_handshake

MakeDesk = Callable[..., Desk]


def test_queued_commands_fail_and_those_that_are_out_go_on(desk: Desk) -> None:
    link = desk.connect()
    desk.ask("out")
    desk.ask("waiting")
    desk.ask("absent", "352093081452259")
    desk.ledger.settle()
    desk.dispatcher.stop()
    desk.ledger.settle()
    assert desk.life("waiting")[-1] == "failed gateway_shutdown not_sent"
    assert desk.life("absent")[-1] == "failed gateway_shutdown not_sent"
    assert desk.dispatcher.draining == 1
    desk.answer(link)
    desk.ledger.settle()
    assert desk.life("out")[-1] == "responded answered"
    assert (desk.dispatcher.draining, link.texts) == (0, ["out"])


def test_stopping_twice_is_stopping_once(desk: Desk) -> None:
    desk.connect(ready=False)
    desk.ask()
    desk.ledger.settle()
    desk.dispatcher.stop()
    desk.dispatcher.stop()
    desk.ledger.settle()
    assert desk.life() == ["queued not_sent", "failed gateway_shutdown not_sent"]


def test_a_command_whose_queued_is_not_committed_fails(desk: Desk) -> None:
    link = desk.connect(ready=False)
    desk.ask()
    desk.dispatcher.stop()
    desk.ready(link)
    desk.ledger.settle()
    assert desk.life() == ["queued not_sent", "failed gateway_shutdown not_sent"]


def test_a_command_whose_sent_is_not_committed_is_withdrawn(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.dispatcher.stop()
    desk.ledger.settle()
    assert desk.life() == ["queued not_sent", "sent maybe_sent", "failed gateway_shutdown not_sent"]
    assert link.texts == []


def test_a_command_that_is_committed_and_not_written_is_withdrawn(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.frame_begins(link)
    desk.ledger.settle()
    desk.dispatcher.stop()
    desk.frame_acked(link)
    desk.ledger.settle()
    assert desk.life()[-1] == "failed gateway_shutdown not_sent"
    assert link.texts == []


def test_a_stopping_tainted_connection_gets_no_command(desk: Desk) -> None:
    link = desk.connect()
    desk.ask("old")
    desk.ask("new")
    desk.ledger.settle()
    desk.at(30)
    desk.dispatcher.stop()
    desk.answer(link, "late")
    desk.ledger.settle()
    assert link.texts == ["old"]
    assert desk.life("new")[-1] == "failed gateway_shutdown not_sent"
    assert desk.notes() == [("late_response", "old", "late")]


def test_when_the_time_to_drain_is_over_the_rest_fails(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    desk.dispatcher.stop()
    desk.dispatcher.give_up()
    desk.answer(link, "after all")
    desk.ledger.settle()
    assert desk.life()[-1] == "failed gateway_shutdown maybe_sent"
    assert desk.notes() == [("late_response", "c-1", "after all")]


def test_after_the_drain_tcp_acknowledged_means_received(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    link.acked = link.sent
    desk.sweep()
    desk.dispatcher.stop()
    desk.dispatcher.give_up()
    desk.ledger.settle()
    assert desk.life()[-1] == "failed gateway_shutdown received"


def test_a_command_found_by_the_last_read_fails(desk: Desk) -> None:
    link = desk.connect()
    desk.dispatcher.stop()
    desk.ask("here")
    desk.ask("away", "352093081452259")
    desk.ledger.settle()
    assert desk.life("here") == ["queued not_sent", "failed gateway_shutdown not_sent"]
    assert desk.life("away") == ["queued not_sent", "failed gateway_shutdown not_sent"]
    assert link.texts == []


def test_a_close_while_stopping_leaves_nothing_waiting(desk: Desk) -> None:
    link = desk.connect(ready=False)
    desk.ask()
    desk.dispatcher.stop()
    desk.hang_up(link)
    desk.ledger.settle()
    assert desk.life() == ["queued not_sent", "failed gateway_shutdown not_sent"]
    assert len(desk.dispatcher.entries) == 0


def test_a_device_moving_away_while_stopping_fails_its_command(desk: Desk) -> None:
    desk.connect()
    desk.ask()
    desk.ledger.hold(IMEI, "gw-2")
    desk.ledger.set_alive("gw-2")
    desk.dispatcher.stop()
    desk.ledger.settle()
    assert desk.life() == ["queued not_sent", "failed gateway_shutdown not_sent"]


def test_a_superseded_session_while_stopping_fails_its_command(desk: Desk) -> None:
    desk.connect()
    desk.ask()
    desk.ledger.settle(1)
    desk.dispatcher.stop()
    newer = desk.connect()
    desk.ledger.hold(IMEI, "gw-2")
    desk.ledger.set_alive("gw-2")
    desk.ledger.settle()
    assert desk.life()[-1] == "failed gateway_shutdown not_sent"
    assert newer.texts == []


async def test_a_hand_over_that_fails_while_stopping_ends_the_command(desk: Desk) -> None:
    desk.ask()
    desk.ledger.settle()
    desk.ledger.hold(IMEI, "gw-2")
    await desk.look()
    desk.dispatcher.stop()
    desk.ledger.settle()
    assert desk.life()[-1] == "failed gateway_shutdown not_sent"


async def test_devices_are_not_read_after_the_last_telemetry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What came later would be stored, or not, without an acknowledgement."""
    settings = Settings(instance_id=US, metrics=None, max_connections=10)
    gateway = Gateway(settings, "redis://127.0.0.1:1")
    connection, transport = DeviceConnection(gateway.connections), FakeTransport()
    connection.connection_made(transport)
    connection.data_received(encode_handshake(IMEI))
    connection.registered(RegisterResult(Registered.REGISTERED))
    unread: list[bool] = []

    async def flush(within: float) -> int:
        unread.append(transport.paused)
        connection.resume()
        unread.append(transport.paused)
        connection.connection_lost(None)
        return 0

    monkeypatch.setattr(gateway.backend.telemetry, "flush", flush)
    await gateway._flush()
    await gateway.backend.close()
    assert unread == [True, True]


# A stop


def test_a_stop_does_not_wait_for_what_is_answered_already(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    assert desk.dispatcher.draining == 1
    desk.answer(link)
    assert desk.dispatcher.draining == 0
