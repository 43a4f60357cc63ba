"""SIGTERM in every state of a command: nothing new is sent, and what is out is waited for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fsm.registration import Registered, RegisterResult
from tests.transport.command_rig import IMEI, CommandRig
from tests.transport.connection_rig import FakeTransport
from tests.transport.fake_ledger import US
from transport.connection.protocol import DeviceConnection
from transport.daemon.gateway import Gateway
from transport.settings import Settings
from transport.teltonika.handshake import encode_handshake

MakeCommands = Callable[..., CommandRig]


def test_queued_commands_fail_and_those_that_are_out_go_on(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask("out")
    commands.ask("waiting")
    commands.ask("absent", "352093081452259")
    commands.ledger.commit()
    commands.dispatcher.stop()
    commands.ledger.commit()
    assert commands.life("waiting")[-1] == "failed gateway_shutdown not_sent"
    assert commands.life("absent")[-1] == "failed gateway_shutdown not_sent"
    assert commands.dispatcher.draining == 1
    commands.answer(link)
    commands.ledger.commit()
    assert commands.life("out")[-1] == "responded answered"
    assert (commands.dispatcher.draining, link.texts) == (0, ["out"])


def test_stopping_twice_is_stopping_once(commands: CommandRig) -> None:
    commands.connect(ready=False)
    commands.ask()
    commands.ledger.commit()
    commands.dispatcher.stop()
    commands.dispatcher.stop()
    commands.ledger.commit()
    assert commands.life() == ["queued not_sent", "failed gateway_shutdown not_sent"]


def test_a_command_whose_queued_is_not_committed_fails(commands: CommandRig) -> None:
    link = commands.connect(ready=False)
    commands.ask()
    commands.dispatcher.stop()
    commands.ready(link)
    commands.ledger.commit()
    assert commands.life() == ["queued not_sent", "failed gateway_shutdown not_sent"]


def test_a_command_whose_sent_is_not_committed_is_withdrawn(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.dispatcher.stop()
    commands.ledger.commit()
    assert commands.life() == ["queued not_sent", "sent maybe_sent", "failed gateway_shutdown not_sent"]
    assert link.texts == []


def test_a_command_that_is_committed_and_not_written_is_withdrawn(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.frame_begins(link)
    commands.ledger.commit()
    commands.dispatcher.stop()
    commands.frame_acked(link)
    commands.ledger.commit()
    assert commands.life()[-1] == "failed gateway_shutdown not_sent"
    assert link.texts == []


def test_a_stopping_tainted_connection_gets_no_command(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask("old")
    commands.ask("new")
    commands.ledger.commit()
    commands.at(30)
    commands.dispatcher.stop()
    commands.answer(link, "late")
    commands.ledger.commit()
    assert link.texts == ["old"]
    assert commands.life("new")[-1] == "failed gateway_shutdown not_sent"
    assert commands.notes() == [("late_response", "old", "late")]


def test_when_the_time_to_drain_is_over_the_rest_fails(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    commands.dispatcher.stop()
    commands.dispatcher.give_up()
    commands.answer(link, "after all")
    commands.ledger.commit()
    assert commands.life()[-1] == "failed gateway_shutdown maybe_sent"
    assert commands.notes() == [("late_response", "c-1", "after all")]


def test_after_the_drain_tcp_acknowledged_means_received(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    link.acked = link.sent
    commands.sweep()
    commands.dispatcher.stop()
    commands.dispatcher.give_up()
    commands.ledger.commit()
    assert commands.life()[-1] == "failed gateway_shutdown received"


def test_a_command_found_by_the_last_read_fails(commands: CommandRig) -> None:
    link = commands.connect()
    commands.dispatcher.stop()
    commands.ask("here")
    commands.ask("away", "352093081452259")
    commands.ledger.commit()
    assert commands.life("here") == ["queued not_sent", "failed gateway_shutdown not_sent"]
    assert commands.life("away") == ["queued not_sent", "failed gateway_shutdown not_sent"]
    assert link.texts == []


def test_a_close_while_stopping_leaves_nothing_waiting(commands: CommandRig) -> None:
    link = commands.connect(ready=False)
    commands.ask()
    commands.dispatcher.stop()
    commands.disconnect(link)
    commands.ledger.commit()
    assert commands.life() == ["queued not_sent", "failed gateway_shutdown not_sent"]
    assert len(commands.dispatcher.entries) == 0


def test_a_device_moving_away_while_stopping_fails_its_command(commands: CommandRig) -> None:
    commands.connect()
    commands.ask()
    commands.ledger.hold(IMEI, "gw-2")
    commands.ledger.set_alive("gw-2")
    commands.dispatcher.stop()
    commands.ledger.commit()
    assert commands.life() == ["queued not_sent", "failed gateway_shutdown not_sent"]


def test_a_superseded_session_while_stopping_fails_its_command(commands: CommandRig) -> None:
    commands.connect()
    commands.ask()
    commands.ledger.commit(1)
    commands.dispatcher.stop()
    newer = commands.connect()
    commands.ledger.hold(IMEI, "gw-2")
    commands.ledger.set_alive("gw-2")
    commands.ledger.commit()
    assert commands.life()[-1] == "failed gateway_shutdown not_sent"
    assert newer.texts == []


async def test_a_hand_over_that_fails_while_stopping_ends_the_command(commands: CommandRig) -> None:
    commands.ask()
    commands.ledger.commit()
    commands.ledger.hold(IMEI, "gw-2")
    await commands.look()
    commands.dispatcher.stop()
    commands.ledger.commit()
    assert commands.life()[-1] == "failed gateway_shutdown not_sent"


async def test_devices_are_not_read_after_the_last_telemetry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What came later would be stored, or not, without an acknowledgement."""
    settings = Settings(instance_id=US, metrics=None, max_connections=10)
    gateway = Gateway(settings, "redis://127.0.0.1:1")
    connection, transport = DeviceConnection(gateway.connections), FakeTransport()
    connection.connection_made(transport)
    connection.received(encode_handshake(IMEI))
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


def test_a_stop_does_not_wait_for_what_is_answered_already(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    assert commands.dispatcher.draining == 1
    commands.answer(link)
    assert commands.dispatcher.draining == 0
