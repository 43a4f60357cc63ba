"""Who may connect: what a device sees of the word of the allow-list, and what becomes of a removed device."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import ip_network

import pytest
from freezegun.api import FrozenDateTimeFactory
from structlog.testing import capture_logs

from fsm.device_terms import Absence, Listed, Terms
from fsm.reasons import DEVICE_REFUSED, HANDSHAKE_TIMEOUT, REJECTED
from fsm.registration import Registered, RegisterResult
from tests.transport.command_rig import IMEI, OTHER_IMEI
from tests.transport.connection_rig import FRAME, ConnectionRig
from transport.connection.access import AccessControl
from transport.connection.allow_list import AllowListPort
from transport.log_throttle import REMEMBERED
from transport.metrics import Metrics
from transport.teltonika.handshake import REJECT, encode_handshake

CERT = f"cert:{'5a' * 32}"


class List:
    """A list whose answers are a dictionary."""

    is_copy = False

    def __init__(self, devices: dict[str, Listed]) -> None:
        self.devices = devices
        self.changed = asyncio.Event()

    def look_up(self, imei: str) -> Listed | None:
        return self.devices.get(imei, Absence.NOT_LISTED)

    def ask(self, imei: str, done: Callable[[Listed], None]) -> None:
        done(self.devices.get(imei, Absence.NOT_LISTED))

    async def reload(self) -> int:
        return 0


class Asked(List):
    """A copy of a list that answers when the test says so."""

    is_copy = True

    def __init__(self, copy: dict[str, Listed] | None = None) -> None:
        super().__init__(copy or {})
        self.waiting: list[tuple[str, Callable[[Listed], None]]] = []

    def look_up(self, imei: str) -> Listed | None:
        return self.devices.get(imei)

    def ask(self, imei: str, done: Callable[[Listed], None]) -> None:
        self.waiting.append((imei, done))


def listed(*imeis: str) -> List:
    """A list of devices that may connect from anywhere."""
    return List(dict.fromkeys(imeis, Terms()))


def gated(
    frozen: FrozenDateTimeFactory, allow_list: AllowListPort, *, when_unavailable: bool = False
) -> ConnectionRig:
    connections = ConnectionRig(frozen)
    metrics = connections.commands.metrics
    connections.context.access = AccessControl(allow_list, metrics, when_unavailable=when_unavailable)
    return connections


def counted(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"teltonika_{name}", labels) or 0.0


# The device


async def test_a_device_of_the_list_is_identified(frozen: FrozenDateTimeFactory) -> None:
    connections = gated(frozen, listed(IMEI))
    connection, transport = connections.identify(IMEI)
    assert connection.imei == IMEI
    assert transport.written == []  # the 01 waits for the registration
    assert [imei for imei, _ in connections.registrar.registered] == [IMEI]


async def test_a_refused_device_gets_00_and_leaves_no_trace(frozen: FrozenDateTimeFactory) -> None:
    connections = gated(frozen, listed(IMEI))
    with capture_logs() as logs:
        connection, transport = connections.identify(OTHER_IMEI)
        connection.received(FRAME)
        connection.connection_lost(None)
    assert transport.written == [REJECT]
    assert (transport.closing, transport.aborted) == (True, False)
    assert (connection.imei, connection.close_reason) == ("", REJECTED)
    assert (
        connections.registrar.registered,
        connections.registrar.unregistered,
        connections.session_log,
    ) == ([], [], [])
    assert (
        connections.telemetry.batches,
        connections.sessions.by_imei,
        connections.sessions.unidentified,
    ) == ([], {}, set())
    assert connections.sessions.connected == 0
    assert [(line["event"], line["imei"]) for line in logs] == [("device_refused", OTHER_IMEI)]
    assert counted(connections.commands.metrics, "devices_refused_total", reason="not_listed") == 1
    assert counted(connections.commands.metrics, "sessions_closed_total", reason=REJECTED) == 1


async def test_a_device_is_not_read_during_its_look_up(frozen: FrozenDateTimeFactory) -> None:
    asked = Asked()
    connections = gated(frozen, asked)
    connection, transport = connections.accept()
    connection.received(encode_handshake(IMEI))
    assert (transport.paused, transport.written, connections.sessions.by_imei) == (True, [], {})
    connection.received(FRAME[:5])
    connection.received(FRAME[5:])  # what the event loop had read already
    [(imei, done)] = asked.waiting
    assert imei == IMEI
    done(Terms())
    connection.registered(RegisterResult(Registered.REGISTERED))
    await asyncio.sleep(0)
    assert not transport.paused
    assert list(connections.sessions.by_imei) == [IMEI]
    assert len(connections.telemetry.batches) == 1


async def test_a_device_that_was_asked_for_and_is_not_named_is_refused(frozen: FrozenDateTimeFactory) -> None:
    asked = Asked()
    connections = gated(frozen, asked)
    connection, transport = connections.identify()
    asked.waiting[0][1](Absence.NOT_LISTED)
    assert (transport.written, connection.close_reason) == ([REJECT], REJECTED)
    assert connections.registrar.registered == []


async def test_an_answer_for_a_closed_connection_changes_nothing(frozen: FrozenDateTimeFactory) -> None:
    asked = Asked()
    connections = gated(frozen, asked)
    connection, transport = connections.identify()
    connections.at(10)
    assert connection.close_reason == HANDSHAKE_TIMEOUT
    asked.waiting[0][1](Terms())
    assert (connections.sessions.by_imei, transport.written) == ({}, [])


@pytest.mark.parametrize(
    ("terms", "auth", "reason"),
    [
        (Terms(), "plain", ""),
        (Terms((ip_network("10.0.0.0/8"), ip_network("192.0.2.0/24"))), "plain", ""),
        (Terms((ip_network("10.9.0.0/16"),)), "plain", "address"),
        (Terms(certificates=(CERT, "cert:0")), CERT, ""),
        (Terms(certificates=(CERT,)), "cert:0", "certificate"),
        (Terms(certificates=(CERT,)), "tls", "certificate"),
        (Terms((ip_network("10.9.0.0/16"),), (CERT,)), CERT, "address"),
        (Absence.WRONG, "plain", "wrong_line"),
        (Absence.UNKNOWN, "plain", "list_unavailable"),
    ],
)
async def test_a_device_has_to_fit_its_line(
    frozen: FrozenDateTimeFactory, terms: Listed, auth: str, reason: str
) -> None:
    connections = gated(frozen, List({IMEI: terms}))
    connection, transport = connections.accept_from("10.0.0.1")
    connection.auth = auth
    with capture_logs() as logs:
        connection.received(encode_handshake(IMEI))
    told = [line["reason"] for line in logs if line["event"] == "device_refused"]
    assert (told, transport.written) == (([reason], [REJECT]) if reason else ([], []))
    if reason:
        assert counted(connections.commands.metrics, "devices_refused_total", reason=reason) == 1


async def test_an_open_gateway_admits_devices_of_which_nothing_is_known(
    frozen: FrozenDateTimeFactory,
) -> None:
    connections = gated(
        frozen, List({IMEI: Absence.UNKNOWN, OTHER_IMEI: Absence.WRONG}), when_unavailable=True
    )
    assert connections.identify(IMEI)[0].imei == IMEI
    assert connections.identify(OTHER_IMEI)[0].close_reason == REJECTED


async def test_a_device_that_does_not_fit_the_copy_is_looked_up(frozen: FrozenDateTimeFactory) -> None:
    asked = Asked({IMEI: Terms((ip_network("192.0.2.0/24"),))})
    connections = gated(frozen, asked)
    connection, transport = connections.identify()
    assert (transport.written, transport.paused) == ([], True)
    asked.waiting[0][1](Terms())
    assert connection.imei == IMEI


# A device that is taken off


async def changed(connections: ConnectionRig, allow_list: List, spawn: Callable[..., object]) -> None:
    """The list has changed, and the sessions were compared with it."""
    allow_list.changed.set()
    spawn(connections.context.access.close_removed(connections.sessions, connections.context.clock))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not allow_list.changed.is_set()


async def test_a_removed_device_is_disconnected_and_others_stay(
    frozen: FrozenDateTimeFactory, spawn: Callable[..., object]
) -> None:
    allow_list = listed(IMEI, OTHER_IMEI)
    connections = gated(frozen, allow_list)
    removed, stays = connections.ready(IMEI)[0], connections.ready(OTHER_IMEI)[0]
    del allow_list.devices[IMEI]
    with capture_logs() as logs:
        await changed(connections, allow_list, spawn)
    assert (removed.close_reason, removed.closed, stays.closed) == (DEVICE_REFUSED, True, False)
    assert [(line["imei"], line["reason"]) for line in logs if line["event"] == "device_refused"] == [
        (IMEI, "not_listed")
    ]
    assert [imei for imei, *_ in connections.registrar.unregistered] == [IMEI]


async def test_a_device_whose_terms_change_is_disconnected(
    frozen: FrozenDateTimeFactory, spawn: Callable[..., object]
) -> None:
    allow_list = listed(IMEI)
    connections = gated(frozen, allow_list)
    connection, _ = connections.ready(IMEI)
    allow_list.devices[IMEI] = Terms(certificates=(CERT,))
    await changed(connections, allow_list, spawn)
    assert connection.close_reason == DEVICE_REFUSED


@pytest.mark.parametrize("answer", [Terms(), Absence.UNKNOWN], ids=["listed", "unknown"])
async def test_a_device_that_is_not_in_the_copy_stays_unless_the_list_says_otherwise(
    frozen: FrozenDateTimeFactory, spawn: Callable[..., object], answer: Listed
) -> None:
    asked = Asked({IMEI: Terms()})
    connections = gated(frozen, asked)
    connection, _ = connections.ready(IMEI)
    asked.devices = {}
    await changed(connections, asked, spawn)
    asked.waiting[0][1](answer)
    assert not connection.closed
    asked.waiting[0][1](Absence.NOT_LISTED)
    assert connection.close_reason == DEVICE_REFUSED


async def test_a_device_that_cannot_be_looked_up_stays(
    frozen: FrozenDateTimeFactory, spawn: Callable[..., object]
) -> None:
    allow_list = listed(IMEI)
    connections = gated(frozen, allow_list)
    connection, _ = connections.ready(IMEI)
    allow_list.devices[IMEI] = Absence.UNKNOWN
    await changed(connections, allow_list, spawn)
    assert not connection.closed


# The log


def test_a_refusal_is_logged_once_a_minute_for_each_device() -> None:
    gate = AccessControl(None, Metrics(), when_unavailable=False)
    with capture_logs() as logs:
        for now in (0.0, 1.0, 59.9, 60.0, 119.0, 120.0):
            gate.refused(IMEI, "10.0.0.1:1", "not_listed", now)
        gate.refused(OTHER_IMEI, "10.0.0.1:1", "not_listed", 120.0)
    assert [line["imei"] for line in logs] == [IMEI, IMEI, IMEI, OTHER_IMEI]


def test_invented_imeis_fill_neither_the_memory_nor_the_log() -> None:
    metrics = Metrics()
    gate = AccessControl(None, metrics, when_unavailable=False)
    with capture_logs() as logs:
        for number in range(3 * REMEMBERED):
            gate.refused(f"{number:015}", "10.0.0.1:1", "not_listed", 1.0)
        assert len(logs) == REMEMBERED
        gate.refused(IMEI, "10.0.0.1:1", "not_listed", 61.0)
    assert len(logs) == REMEMBERED + 1
    assert counted(metrics, "devices_refused_total", reason="not_listed") == 3 * REMEMBERED + 1
