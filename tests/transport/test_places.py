"""Who gives way when all places are taken."""

from __future__ import annotations

import pytest
from freezegun.api import FrozenDateTimeFactory
from structlog.testing import capture_logs

from fsm.reasons import NO_PLACE
from tests.transport.connection_rig import FRAME, ConnectionRig, FakeTransport
from transport.connection import known_devices, places
from transport.connection.known_devices import SETTLED, KnownDevices
from transport.connection.newcomers import GRACE
from transport.connection.places import _STRANGER, ASLEEP, PATIENCE
from transport.connection.protocol import DeviceConnection
from transport.teltonika.handshake import ACCEPT, encode_handshake

ROOM = 20
"""Of these places one is kept for connections that have not named their device."""
DEVICES = ROOM - 1
KNOWN = "352093081452251"


@pytest.fixture
async def full(frozen: FrozenDateTimeFactory) -> ConnectionRig:
    """Nobody is connected, and there are few places."""
    connections = ConnectionRig(frozen, max_connections=ROOM)
    connections.sessions.known.registered([KNOWN])
    return connections


def named(
    connections: ConnectionRig, imei: str, host: str = "10.0.0.1"
) -> tuple[DeviceConnection, FakeTransport]:
    """A device names itself; the sockets of those who were closed before are gone."""
    for closing in tuple(connections.sessions.closing):
        closing.connection_lost(None)
    connection, transport = connections.accept_from(host)
    connection.received(encode_handshake(imei))
    return connection, transport


def proven(connections: ConnectionRig, imei: str, host: str = "10.0.0.1") -> DeviceConnection:
    """A device has a record acknowledged."""
    connection, _ = named(connections, imei, host)
    connection._accept()
    connection.received(FRAME)
    connections.telemetry.confirm()
    return connection


def crowd(connections: ConnectionRig, *, reports: bool) -> list[DeviceConnection]:
    """All places of devices are taken by strangers from two addresses."""
    enter = proven if reports else lambda *given: named(*given)[0]
    return [enter(connections, f"{number:015}", f"10.0.0.{1 + number % 2}") for number in range(DEVICES)]


# Devices


async def test_a_stranger_that_has_reported_nothing_gives_way_to_anybody(full: ConnectionRig) -> None:
    silent = crowd(full, reports=False)
    newcomer, transport = named(full, "9" * 15, "10.0.0.9")
    assert (silent[0].close_reason, newcomer.closed) == (NO_PLACE, False)
    assert [one.closed for one in silent[1:]] == [False] * (DEVICES - 1)
    newcomer._accept()
    assert transport.written == [ACCEPT]


async def test_the_address_with_most_of_them_loses_a_place_first(full: ConnectionRig) -> None:
    first, _ = named(full, "9" * 15, "10.0.0.9")
    silent = crowd(full, reports=False)
    for number in range(5):
        assert not named(full, f"8{number:014}", f"10.0.1.{number}")[0].closed
    assert (first.closed, sum(one.closed for one in silent)) == (False, 6)


async def test_who_has_most_places_takes_none_of_others(full: ConnectionRig) -> None:
    few = [named(full, f"7{number:014}", "10.0.0.9")[0] for number in range(3)]
    crowd(full, reports=False)
    for number in range(5):
        assert named(full, f"8{number:014}", "10.0.0.1")[0].closed
    assert [one.closed for one in few] == [False] * 3


@pytest.mark.parametrize(("off", "enters"), [(0, True), (-1, False)])
@pytest.mark.parametrize(("host", "more"), [("10.0.0.9", True), ("10.0.0.1", False)])
async def test_a_stranger_that_has_reported_gives_way_to_another_in_time(
    full: ConnectionRig, off: float, enters: bool, host: str, more: bool
) -> None:
    strangers = crowd(full, reports=True)
    full.at(2)
    for stranger in strangers[1:]:
        stranger.received(FRAME)
    full.at(PATIENCE[_STRANGER, more] + off)
    with capture_logs() as logs:
        newcomer, transport = named(full, "9" * 15, host)
    assert (strangers[0].closed, newcomer.closed) == (enters, not enters)
    assert transport.aborted is not enters
    [line] = [line for line in logs if line["event"] == "turned_away"]
    assert (line["address"], line["limit"]) == ("10.0.0.1" if enters else "", "max-connections")


async def test_any_stranger_gives_way_to_a_known_device(full: ConnectionRig) -> None:
    strangers = crowd(full, reports=True)
    full.at(1)
    for stranger in strangers[:4] + strangers[5:]:
        stranger.received(FRAME)
    assert not named(full, KNOWN)[0].closed
    assert [number for number, one in enumerate(strangers) if one.closed] == [4]


@pytest.mark.parametrize("silent", [ASLEEP, ASLEEP - 1])
async def test_a_known_device_gives_way_to_its_like_alone(full: ConnectionRig, silent: float) -> None:
    imeis = [f"{number:015}" for number in range(DEVICES)]
    full.sessions.known.registered(imeis)
    devices = [proven(full, imei) for imei in imeis]
    full.at(silent)
    assert named(full, "9" * 15)[0].closed
    assert named(full, KNOWN)[0].closed is (silent < ASLEEP)
    assert sum(device.closed for device in devices) == (silent >= ASLEEP)


async def test_a_device_that_comes_again_needs_no_other_place(full: ConnectionRig) -> None:
    strangers = crowd(full, reports=False)
    assert not named(full, strangers[-1].imei)[0].closed
    assert [one.closed for one in strangers] == [False] * (DEVICES - 1) + [True]


async def test_those_who_give_way_are_looked_for_a_few_at_a_time(
    full: ConnectionRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "CANDIDATES", 2)
    crowd(full, reports=False)
    for number in range(DEVICES // 2):
        assert not named(full, f"7{number:014}", f"10.0.1.{number}")[0].closed
    assert len(full.sessions.by_imei) == DEVICES


# Connections that have not named their device


async def test_the_oldest_of_the_largest_source_gives_way(frozen: FrozenDateTimeFactory) -> None:
    connections = ConnectionRig(frozen, max_connections=6)
    visitors = [connections.accept_from(f"10.0.0.{number}") for number in (1, 2, 1, 2, 2, 3)]
    _, transport = connections.accept_from("10.0.0.3")
    assert not transport.aborted
    assert [one.aborted for _, one in visitors] == [False, True, False, False, False, False]
    assert visitors[1][0].close_reason == NO_PLACE


@pytest.mark.parametrize("age", [GRACE, GRACE - 0.1])
async def test_a_connection_has_a_second_when_no_source_has_more_than_others(
    frozen: FrozenDateTimeFactory, age: float
) -> None:
    connections = ConnectionRig(frozen, max_connections=3)
    visitors = [connections.accept_from(f"10.0.0.{number}") for number in range(3)]
    connections.at(age)
    assert connections.accept_from("10.0.0.9")[1].aborted is (age < GRACE)
    assert [transport.aborted for _, transport in visitors] == [age >= GRACE, False, False]


# Who is known


def test_a_device_is_known_after_two_acknowledgements_that_lie_apart() -> None:
    known = KnownDevices()
    known.left(KNOWN, "10.0.0.1", 0.0, 1.0)
    known.left(KNOWN, "10.0.0.1", SETTLED - 1, SETTLED - 1)
    known.acknowledged(KNOWN, "10.0.0.1", SETTLED - 1)
    assert KNOWN not in known
    known.acknowledged(KNOWN, "10.0.0.1", SETTLED)
    assert KNOWN in known


@pytest.mark.parametrize("since", [None, 0.0])
def test_a_device_that_has_left_is_not_new(since: float | None) -> None:
    known = KnownDevices()
    assert known.is_new(KNOWN)
    known.left(KNOWN, "10.0.0.1", since, SETTLED - 1)
    assert not known.is_new(KNOWN)
    assert KNOWN not in known


def test_invented_devices_push_out_none_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_devices, "REMEMBERED", 3)
    known = KnownDevices()
    known.registered(["a", "b", "c"])
    for number in range(10):
        known.left(str(number), "10.0.0.1", float(number), float(number))
        known.left(f"silent {number}", "10.0.0.1", None, float(number))
    assert [imei in known for imei in "abc"] == [True] * 3
    assert (len(known._noted), len(known._met)) == (3, 3)
    known.acknowledged("a", "10.0.0.1", 11.0)
    known.registered(["d"])
    assert [imei in known for imei in "abcd"] == [True, False, True, True]


def test_what_is_recalled_pushes_out_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_devices, "REMEMBERED", 3)
    known = KnownDevices()
    known.registered(["a", "b"])
    assert known.recall(["a", "c"])
    assert not known.recall(["d"])
    known.registered(["e"])
    assert [imei for imei in "abcde" if imei in known] == ["a", "b", "e"]


async def test_a_device_that_was_here_first_is_known_once_it_is_recalled(full: ConnectionRig) -> None:
    [first, *_] = strangers = crowd(full, reports=True)
    assert full.sessions.recall([first.imei])
    full.at(PATIENCE[_STRANGER, False])
    assert not named(full, KNOWN)[0].closed
    assert [one.closed for one in strangers] == [False, True] + [False] * (DEVICES - 2)
    for one in strangers[2:]:
        one.close("idle")
    assert set(full.sessions.places._strangers) == set()


async def test_a_session_of_minutes_makes_its_device_known(connections: ConnectionRig) -> None:
    device = proven(connections, KNOWN)
    connections.at(SETTLED)
    device.received(FRAME)
    assert KNOWN not in connections.sessions.known
    device.close("idle")
    assert KNOWN in connections.sessions.known
