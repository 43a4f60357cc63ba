"""What one address may do in a second, and that a fleet behind one address is no attack."""

from __future__ import annotations

import asyncio

import pytest
from freezegun.api import FrozenDateTimeFactory
from structlog.testing import capture_logs

from fsm.device_terms import Absence, Listed, Terms
from fsm.registration import Registered, RegisterResult
from tests.transport.connection_rig import FRAME, ConnectionRig
from transport.connection import source_budgets
from transport.connection.access import AccessControl
from transport.connection.protocol import DeviceConnection
from transport.connection.rate_limit import RateLimit
from transport.connection.source_budgets import CONNECTIONS, NEW_DEVICES, REFUSALS
from transport.teltonika.handshake import REJECT, encode_handshake

AT_ONCE = 5
HERE, ELSEWHERE = "10.0.0.1", "10.0.0.2"


@pytest.fixture
async def connections(frozen: FrozenDateTimeFactory, monkeypatch: pytest.MonkeyPatch) -> ConnectionRig:
    """An address may do each thing once a second, and five times at once."""
    for name in source_budgets.AHEAD:
        monkeypatch.setitem(source_budgets.AHEAD, name, float(AT_ONCE))
    rates = dict.fromkeys(("connection_rate", "new_device_rate", "refusal_rate", "handshake_rate"), 1)
    return ConnectionRig(frozen, **rates)


def imei(number: int) -> str:
    return f"{number:015}"


def named(connections: ConnectionRig, number: int, host: str = HERE) -> DeviceConnection:
    """A device names itself; its connection costs nothing."""
    connection, _ = connections.accept_from(host)
    connections.sessions.admission.give_back(connection.place, secure=False)
    connection.received(encode_handshake(imei(number)))
    return connection


def over(connections: ConnectionRig, budget: str) -> float | None:
    registry = connections.commands.metrics.registry
    return registry.get_sample_value("teltonika_over_budget_total", {"budget": budget})


# The rule


def test_a_source_saves_up_what_it_does_not_use() -> None:
    limit = RateLimit(10.0, 2.0)
    done = 0
    while limit.covers("a", 100.0):
        limit.take("a", 100.0)
        done += 1
    assert (done, limit.covers("a", 100.09), limit.covers("a", 100.11)) == (20, False, True)
    limit.give_back("a")
    assert limit.covers("a", 100.0)
    assert RateLimit(0, 1.0).covers("a", 0.0)


def test_sources_that_are_invented_change_nothing_for_others() -> None:
    limit = RateLimit(1.0, 10.0)
    for _ in range(11):
        limit.take("known offender", 1000.0)
    for number in range(1000):
        for _ in range(11):
            limit.take(f"invented {number}", 1000.0)
    assert not limit.covers("known offender", 1000.0)
    assert sum(limit.covers(f"honest {number}", 1000.0) for number in range(100)) > 90
    assert [len(row) for row in limit._paid_at] == [16_384] * 2


# Connections


async def test_connections_beyond_the_rate_are_closed_and_logged(connections: ConnectionRig) -> None:
    with capture_logs() as logs:
        visitors = [connections.accept_from(HERE)[1].aborted for _ in range(AT_ONCE + 3)]
        assert not connections.accept_from(ELSEWHERE)[1].aborted
        connections.at(9)
        connections.at(61)
    assert visitors == [False] * AT_ONCE + [True] * 3
    told = [line for line in logs if line["event"] == "over_budget"]
    assert [(line["address"], line["limit"], line["count"]) for line in told] == [
        *((HERE, CONNECTIONS, 1), (HERE, CONNECTIONS, 2))
    ]
    assert over(connections, CONNECTIONS) == 3
    assert [connections.accept_from(HERE)[1].aborted for _ in range(AT_ONCE + 1)] == [False] * AT_ONCE + [
        True
    ]


async def test_a_device_that_is_connected_or_was_is_new_once(connections: ConnectionRig) -> None:
    seen = [named(connections, 1) for _ in range(AT_ONCE)]
    seen[-1].close("idle")
    seen += [named(connections, 1) for _ in range(AT_ONCE)]
    assert not seen[-1].closed
    assert not over(connections, NEW_DEVICES)


async def test_a_fleet_that_reports_costs_its_address_nothing(connections: ConnectionRig) -> None:
    connections.sessions.known.registered(map(imei, range(10 * AT_ONCE)))
    for number in range(10 * AT_ONCE, 20 * AT_ONCE):
        connections.sessions.known.left(imei(number), HERE, None, 0.0)
    for number in range(20 * AT_ONCE):  # the first half is known, the second half reports
        connection, transport = connections.accept_from(HERE)
        assert not transport.aborted
        connection.received(encode_handshake(imei(number)))
        if number >= 10 * AT_ONCE:
            connection.registered(RegisterResult(Registered.REGISTERED))
            connection.received(FRAME)
            connections.telemetry.confirm()
    assert not over(connections, CONNECTIONS)


# New devices


async def test_ever_new_devices_of_one_address_are_closed_without_an_answer(
    connections: ConnectionRig,
) -> None:
    devices = [named(connections, number) for number in range(AT_ONCE)]
    assert [device.closed for device in devices] == [False] * AT_ONCE
    late = named(connections, 77)
    assert (late.closed, late.imei, late._transport.written) == (True, "", [])  # type: ignore[attr-defined]
    assert over(connections, NEW_DEVICES) == 1
    assert not named(connections, 77, ELSEWHERE).closed
    assert not named(connections, 0).closed  # it was met


async def test_known_and_listed_devices_are_not_new(connections: ConnectionRig) -> None:
    connections.sessions.known.registered([imei(number) for number in range(3 * AT_ONCE)])
    assert not any(named(connections, number).closed for number in range(3 * AT_ONCE))
    connections.context.access = AccessControl(Devices(), connections.commands.metrics)
    assert not any(named(connections, 100 + number).closed for number in range(3 * AT_ONCE))


# Refusals


class Devices:
    """An allow-list that names the devices below 1000, and counts how often it is asked."""

    asked = 0
    is_copy = False

    def __init__(self) -> None:
        self.changed = asyncio.Event()

    def look_up(self, imei: str) -> Listed:
        self.asked += 1
        return Terms() if int(imei) < 1000 else Absence.NOT_LISTED

    def ask(self, imei: str, done: object) -> None:
        """It always knows."""

    async def reload(self) -> int:
        return 0


async def test_after_many_refusals_an_address_learns_nothing_more(connections: ConnectionRig) -> None:
    listed = Devices()
    connections.context.access = AccessControl(listed, connections.commands.metrics)
    refused = [named(connections, 1000 + number) for number in range(AT_ONCE)]
    assert all(one._transport.written == [REJECT] for one in refused)  # type: ignore[attr-defined]
    asked = listed.asked
    for number in (2000, 1):  # neither a name that is not on the list nor one that is gets an answer
        late = named(connections, number)
        assert (late.closed, late._transport.written) == (True, [])  # type: ignore[attr-defined]
    assert (listed.asked, over(connections, REFUSALS)) == (asked, 2)
    assert not named(connections, 1, ELSEWHERE).closed
    connections.at(2)
    assert not named(connections, 1).closed


async def test_a_device_that_is_known_there_is_heard_after_many_refusals(connections: ConnectionRig) -> None:
    connections.context.access = AccessControl(Devices(), connections.commands.metrics)
    connections.sessions.known.registered([imei(1), imei(2)])
    connections.sessions.known.acknowledged(imei(1), HERE, 0.0)
    for number in range(AT_ONCE):
        named(connections, 1000 + number)
    assert [named(connections, number).closed for number in (1, 2)] == [False, True]
