"""Take-overs: no command goes to a peer of which it is doubtful whether it is the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from freezegun.api import FrozenDateTimeFactory
from structlog.testing import capture_logs

from fsm.device_status import HoldStatus
from fsm.registration import Registered, RegisterResult
from fsm.takeover import Claim, Claimant
from tests.transport.command_rig import IMEI
from tests.transport.connection_rig import FRAME, ConnectionRig, FakeTransport
from transport.connection import protocol, repeated_takeovers
from transport.connection.liveness import Liveness
from transport.connection.protocol import DeviceConnection
from transport.connection.repeated_takeovers import MANY, WINDOW
from transport.teltonika.handshake import ACCEPT, REJECT, encode_handshake

HERE, THERE = "10.0.0.1", "10.0.0.2"
REGISTERED = Registered.REGISTERED
Device = tuple[DeviceConnection, FakeTransport]


class FakeProbe:
    """A question to a peer that answers when the test says so."""

    said: Liveness | None = None
    ended = False

    def answer(self, now: float) -> Liveness | None:
        return self.said

    def end(self) -> None:
        self.ended = True


def question_to(device: Device) -> FakeProbe:
    """From now on the peer can be asked."""
    probe = device[1].question = FakeProbe()  # type: ignore[attr-defined]
    return probe


class Rig(ConnectionRig):
    """Connections that register at once, and what the registry has told of claims."""

    def __init__(self, frozen: FrozenDateTimeFactory, **given: Any) -> None:
        super().__init__(frozen, **given)
        self.claims: list[Claim] = []
        self.commands.ledger.hold(IMEI, self.commands.settings.instance_id)

    def name(self, host: str) -> Device:
        """A device connects from `host` and names itself."""
        connection, transport = self.accept_from(host)
        connection.received(encode_handshake(IMEI))
        return connection, transport

    def take(self, host: str) -> Device:
        """A device connects from `host`, is registered and has a frame acknowledged."""
        connection, transport = self.name(host)
        self.register(connection)
        connection.received(FRAME)
        self.telemetry.confirm()
        return connection, transport

    def register(self, connection: DeviceConnection, former: Claimant | None = None) -> None:
        """The registry answers, with the claims that it knows."""
        claim = Claim(self.commands.clock.now_ms(), connection.claimant)
        if self.claims and self.claims[0].claimant == claim.claimant:
            claim = self.claims.pop(0)
        self.claims.insert(0, claim)
        told = tuple(self.claims) if len(self.claims) > 1 else ()
        connection.registered(RegisterResult(REGISTERED, "gw-1", former=former, claims=told))

    def life(self, command_id: str = "c-1") -> list[str]:
        """The history of a command, once everything is committed."""
        while self.commands.ledger.depth:
            self.commands.ledger.commit()
        return self.commands.life(command_id)

    def value(self, name: str, **labels: str) -> float | None:
        """A metric."""
        return self.commands.metrics.registry.get_sample_value(f"teltonika_{name}", labels)


@pytest.fixture
def rig_with(frozen: FrozenDateTimeFactory, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Rig]:
    monkeypatch.setattr(protocol, "ask", lambda transport, *_: getattr(transport, "question", None))
    return lambda **given: Rig(frozen, **given)


@pytest.fixture
def rig(rig_with: Callable[..., Rig]) -> Rig:
    return rig_with()


SENT = ["queued not_sent", "sent maybe_sent"]
HELD = ["queued not_sent"]


def written(device: Device) -> bytes:
    """The commands written to a device."""
    return b"".join(data for data in device[1].written if len(data) > 4)


# The hold


async def test_a_peer_from_another_address_gets_no_command_during_the_hold(rig: Rig) -> None:
    older = rig.take(HERE)
    rig.at(100)
    newer = rig.take(THERE)
    rig.commands.ask()
    assert (rig.life(), older[0].close_reason) == (HELD, "superseded")
    rig.at(159.9)
    assert (rig.life(), written(newer)) == (HELD, b"")
    assert rig.value("takeovers_total", kind="changed") == 1
    rig.at(160.1)
    assert rig.life() == SENT
    assert b"c-1" in written(newer)


@pytest.mark.parametrize("answered_before", [True, False])
async def test_the_hold_lasts_when_the_time_of_redis_becomes_known_within_it(
    rig: Rig, answered_before: bool
) -> None:
    """Without the registry the hold is that of this process, whose host may have a wrong time."""
    untold = RegisterResult(REGISTERED, "gw-1")
    rig.take(HERE)
    rig.at(100)
    newer, _ = device = rig.name(THERE)
    if answered_before:
        newer.registered(untold)
    rig.commands.clock.sync(rig.commands.clock.now_ms() + 100_000)
    rig.at(101)
    newer.registered(untold)
    newer.received(FRAME)
    rig.telemetry.confirm()
    rig.commands.ask()
    rig.at(159.9)
    assert (rig.life(), written(device)) == (HELD, b"")
    rig.at(160.1)
    assert rig.life() == SENT


async def test_the_same_address_is_no_doubt(rig: Rig) -> None:
    rig.take(HERE)
    rig.take(HERE)
    rig.commands.ask()
    assert rig.life() == SENT
    assert rig.value("takeovers_total", kind="same") == 1


async def test_no_command_is_written_before_the_registry_has_answered(rig: Rig) -> None:
    connection, _ = device = rig.name(THERE)
    connection._accept()
    connection.received(FRAME)
    rig.telemetry.confirm()
    rig.commands.ask()
    assert (rig.life(), written(device)) == (HELD, b"")
    rig.register(connection)
    assert rig.life() == SENT


async def test_a_take_over_from_another_gateway_is_held_too(rig: Rig) -> None:
    rig.claims = [Claim(0, Claimant(HERE, "plain"))]
    connection, _ = device = rig.name(THERE)
    rig.register(connection, former=Claimant(HERE, "plain"))
    connection.received(FRAME)
    rig.telemetry.confirm()
    rig.commands.ask()
    assert (rig.life(), written(device)) == (HELD, b"")


async def test_without_redis_the_older_session_here_is_known(rig: Rig) -> None:
    rig.take(HERE)
    connection, _ = device = rig.name(THERE)
    connection.registered(RegisterResult(Registered.FAILED))
    connection.received(FRAME)
    rig.telemetry.confirm()
    rig.commands.ask()
    assert (rig.life(), written(device)) == (HELD, b"")
    rig.at(61)
    assert rig.life() == SENT


async def test_what_is_held_expires_by_its_own_time(rig: Rig) -> None:
    rig.take(HERE)
    rig.take(THERE)
    rig.commands.ask(expires_at=str(rig.commands.clock.now_ms() + 5000))
    rig.life()
    rig.at(6)
    assert rig.life() == [*HELD, "timeout expired not_sent"]


async def test_the_status_of_the_device_tells_of_the_hold_and_of_its_end(rig: Rig) -> None:
    rig.take(HERE)
    rig.at(10)
    rig.take(THERE)
    held = rig.device_status[IMEI].hold
    began = rig.commands.clock.now_ms()
    assert held == HoldStatus(
        disputed=False,
        since=began,
        until=began + 60_000,
        changes=1,
        before=HERE,
        before_auth="plain",
        before_instance="gw-1",
    )
    rig.at(20)
    rig.take(HERE)
    disputed = rig.device_status[IMEI].hold
    assert disputed is not None
    assert (disputed.disputed, disputed.since, disputed.changes, disputed.before) == (True, began, 2, THERE)
    rig.at(20 + 121)
    assert rig.device_status[IMEI].hold is None


# The same peer again and again


def repeated(logs: list[Any]) -> list[tuple[str, int]]:
    return [(line["imei"], line["count"]) for line in logs if line["event"] == "takeovers_repeated"]


async def test_a_device_that_takes_from_itself_without_end_is_told_once_a_minute(rig: Rig) -> None:
    with capture_logs() as logs:
        for number in range(3 * MANY):
            rig.at(number)
            rig.take(HERE)
        rig.commands.ask()
        assert (repeated(logs), rig.life()) == ([(IMEI, MANY)], SENT)
        rig.at(70 + MANY)
        rig.take(HERE)
    assert repeated(logs) == [(IMEI, MANY), (IMEI, 3 * MANY)]


async def test_reconnects_that_lie_apart_are_not_repeated_take_overs(rig: Rig) -> None:
    with capture_logs() as logs:
        for number in range(MANY):
            rig.at(number)
            rig.take(HERE)
        rig.at(MANY + WINDOW)
        rig.take(HERE)
    assert repeated(logs) == []


async def test_of_the_devices_that_take_from_themselves_so_many_are_remembered(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeated_takeovers, "REMEMBERED", 3)
    memory = repeated_takeovers.RepeatedTakeovers()
    device, _ = rig.name(HERE)
    with capture_logs() as logs:
        for number in [*range(4), *[1] * (MANY - 1), *[0] * (MANY - 1)]:
            device.imei = str(number)
            memory.note(device, 1.0)
    assert (repeated(logs), len(memory._counts)) == ([("1", MANY)], 3)


# The older session is asked


async def test_a_dead_older_session_ends_the_hold(rig: Rig) -> None:
    older, transport = device = rig.take(HERE)
    probe = question_to(device)
    newer = rig.take(THERE)
    rig.commands.ask()
    assert (rig.life(), transport.closing, older.closed) == (HELD, False, True)
    probe.said = Liveness.DEAD
    rig.at(0.1)
    assert (rig.life(), transport.aborted, probe.ended) == (SENT, True, True)
    assert rig.registrar.settled == [(IMEI, newer[0].session_id)]


async def test_a_live_older_session_does_not(rig: Rig) -> None:
    _, transport = device = rig.take(HERE)
    probe = question_to(device)
    rig.take(THERE)
    rig.commands.ask()
    probe.said = Liveness.ALIVE
    with capture_logs() as logs:
        rig.at(0.1)
    assert (rig.life(), transport.aborted, rig.registrar.settled) == (HELD, True, [])
    assert [(line["event"], line["imei"], line["peer"], line["before"]) for line in logs] == [
        ("takeover_contested", IMEI, "10.0.0.2:40000", "10.0.0.1:40000")
    ]


async def test_an_older_session_that_is_reset_meanwhile_is_dead(rig: Rig) -> None:
    older, _ = device = rig.take(HERE)
    question_to(device)
    rig.take(THERE)
    rig.commands.ask()
    older.connection_lost(ConnectionResetError())
    assert rig.life() == SENT


async def test_the_shutdown_waits_for_no_answer(rig: Rig) -> None:
    _, transport = device = rig.take(HERE)
    question_to(device)
    rig.take(THERE)
    rig.sessions.close_all("shutdown")
    assert transport.aborted


# The dispute


async def test_two_peers_that_take_turns_end_the_commands(rig: Rig) -> None:
    rig.take(HERE)
    rig.take(THERE)
    rig.commands.ask("waits")
    rig.life("waits")
    with capture_logs() as logs:
        rig.take(HERE)
    rig.commands.ask("new")
    verdict = [*HELD, "failed identity_disputed not_sent"]
    assert (rig.life("waits"), rig.life("new")) == (verdict, verdict)
    assert (rig.value("disputes_total"), rig.value("takeovers_total", kind="disputed")) == (1, 1)
    [told] = [line for line in logs if line["event"] == "takeover_disputed"]
    assert (told["peer"], told["before"]) == ("10.0.0.1:40000", "10.0.0.2:40000")
    assert told["log_level"] == "warning"
    assert [note.note for note in rig.commands.ledger.notes()] == ["takeover", "takeover_disputed"]
    rig.at(121)
    rig.commands.ask("later")
    assert rig.life("later") == SENT
    rig.commands.audit()


async def test_in_a_dispute_a_dead_peer_proves_nothing(rig: Rig) -> None:
    rig.take(HERE)
    probe = question_to(rig.take(THERE))
    rig.take(HERE)
    probe.said = Liveness.DEAD
    rig.at(1)
    rig.commands.ask()
    assert rig.life() == [*HELD, "failed identity_disputed not_sent"]


async def test_a_note_tells_of_both_peers(rig: Rig) -> None:
    rig.take(HERE)
    newer, _ = rig.take(THERE)
    rig.life()
    [note] = rig.commands.ledger.notes()
    assert (note.note, note.imei, note.session_id) == ("takeover", IMEI, newer.session_id)
    assert (note.peer, note.auth, note.detail) == ("10.0.0.2:40000", "plain", "10.0.0.1 plain gw-1")


# Policies


async def test_the_newest_gets_commands_at_once_if_it_is_so_wanted(rig_with: Callable[..., Rig]) -> None:
    rig = rig_with(takeover_policy="newest")
    rig.take(HERE)
    rig.take(THERE)
    rig.commands.ask()
    assert rig.life() == SENT


async def test_a_newcomer_is_refused_while_the_older_is_alive(rig_with: Callable[..., Rig]) -> None:
    rig = rig_with(takeover_policy="alive")
    older, _ = device = rig.take(HERE)
    probe = question_to(device)
    newcomer, transport = rig.name(THERE)
    assert (transport.written, transport.paused) == ([], True)
    probe.said = Liveness.ALIVE
    with capture_logs() as logs:
        rig.at(0.1)
    assert (transport.written, newcomer.close_reason, older.closed) == ([REJECT], "rejected", False)
    assert [line["event"] for line in logs] == ["takeover_refused"]
    assert rig.value("takeovers_total", kind="refused") == 1


async def test_a_newcomer_takes_the_place_of_a_dead_one_at_once(rig_with: Callable[..., Rig]) -> None:
    rig = rig_with(takeover_policy="alive")
    older, _ = device = rig.take(HERE)
    probe = question_to(device)
    newcomer, transport = rig.name(THERE)
    probe.said = Liveness.DEAD
    rig.at(0.1)
    rig.claims = []  # the older session was unregistered
    rig.register(newcomer)
    newcomer.received(FRAME)
    rig.telemetry.confirm()
    rig.commands.ask()
    assert (older.close_reason, transport.written[0], rig.life()) == ("network_timeout", ACCEPT, SENT)
    assert rig.registrar.unregistered == [(IMEI, older.session_id)]


# Another gateway has taken the device


@pytest.mark.parametrize(("said", "vouches"), [(Liveness.DEAD, True), (Liveness.ALIVE, False)])
async def test_the_loser_says_whether_its_peer_was_dead(rig: Rig, said: Liveness, vouches: bool) -> None:
    connection, transport = device = rig.take(HERE)
    probe = question_to(device)
    lost = RegisterResult(Registered.SUPERSEDED, "gw-2", former=Claimant(THERE, "plain"))
    rig.sessions.reconciled(connection.session_id, IMEI, lost)
    assert (connection.close_reason, transport.closing) == ("superseded", False)
    probe.said = said
    rig.at(1)
    assert transport.aborted
    vouched = [(IMEI, connection.session_id, Claimant(HERE, "plain"))]
    assert rig.registrar.vouched == (vouched if vouches else [])


async def test_a_hold_ends_when_the_claims_are_settled_elsewhere(rig: Rig) -> None:
    rig.claims = [Claim(0, Claimant(HERE, "plain"))]
    connection, _ = rig.take(THERE)
    rig.commands.ask()
    assert rig.life() == HELD
    rig.sessions.reconciled(connection.session_id, IMEI, RegisterResult(REGISTERED, "gw-1"))
    assert rig.life() == SENT


async def test_a_hint_is_checked_against_the_registry(rig: Rig) -> None:
    connection, _ = rig.take(HERE)
    rig.commands.read(rig.commands.add("", type="superseded", imei=IMEI, session_id="another"))
    assert rig.registrar.confirmed == []
    rig.commands.read(rig.commands.add("", type="superseded", imei=IMEI, session_id=connection.session_id))
    rig.life()
    assert rig.commands.ledger.stream == {}
    [(imei, session_id, done)] = rig.registrar.confirmed
    assert (imei, session_id) == (IMEI, connection.session_id)
    done(RegisterResult(REGISTERED))
    assert not connection.closed
    done(RegisterResult(Registered.SUPERSEDED, "gw-2"))
    assert connection.close_reason == "superseded"
