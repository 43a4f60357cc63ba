"""The alarm for devices that come from ever changing addresses."""

from __future__ import annotations

from typing import Any

from freezegun.api import FrozenDateTimeFactory
from structlog.testing import capture_logs

from tests.transport.command_rig import IMEI, OTHER_IMEI
from tests.transport.connection_rig import ConnectionRig, FakeTransport
from transport.connection.address_changes import REMEMBERED, WINDOW, AddressChangeMonitor
from transport.connection.protocol import DeviceConnection
from transport.metrics import Metrics
from transport.teltonika.handshake import encode_handshake

HERE, THERE = "10.0.0.1", "10.0.0.2"


def alarms(*seen: tuple[str, str, float]) -> list[Any]:
    """The warnings after a device, or several, were seen: imei, address, when."""
    metrics = Metrics()
    address_changes = AddressChangeMonitor(metrics)
    with capture_logs() as logs:
        for imei, host, now in seen:
            address_changes.note(imei, host, now)
    counted = metrics.registry.get_sample_value("teltonika_takeovers_suspicious_total")
    assert counted == len(logs)
    assert all(line["log_level"] == "warning" for line in logs)
    return [(line["imei"], line["address"], line["before"]) for line in logs]


def going_about(*times: float) -> list[tuple[str, str, float]]:
    """A device that comes from another address each time."""
    return [(IMEI, (HERE, THERE)[number % 2], at) for number, at in enumerate(times)]


def test_the_third_address_change_is_reported() -> None:
    assert alarms(*going_about(0, 1, 2)) == []
    assert alarms(*going_about(0, 1, 2, 3)) == [(IMEI, THERE, HERE)]


def test_a_reconnect_from_the_same_address_is_not_reported() -> None:
    assert alarms(*((IMEI, HERE, float(at)) for at in range(100))) == []


def test_many_devices_behind_one_address_are_not_suspicious() -> None:
    assert alarms(*((f"{number:015}", HERE, 0.0) for number in range(100))) == []


def test_changes_of_several_devices_do_not_add_up() -> None:
    other = [(OTHER_IMEI, host, at) for _, host, at in going_about(0, 1, 2)]
    assert alarms(*going_about(0, 1, 2), *other) == []


def test_changes_beyond_the_window_are_not_reported() -> None:
    assert alarms(*going_about(0, 1, 2, 1 + WINDOW)) == []
    assert len(alarms(*going_about(0, 1, 2, 1 + WINDOW - 0.001))) == 1
    assert alarms(*going_about(*(number * WINDOW / 2 for number in range(50)))) == []


def test_after_an_alarm_the_count_begins_anew() -> None:
    assert len(alarms(*going_about(*map(float, range(7))))) == 2


def test_the_memory_is_bounded_and_drops_the_oldest_device() -> None:
    address_changes = AddressChangeMonitor(Metrics())
    for number in range(3 * REMEMBERED):
        address_changes.note(f"{number:015}", HERE, 1.0)
    assert len(address_changes._seen) == REMEMBERED
    assert f"{3 * REMEMBERED - 1:015}" in address_changes._seen
    address_changes.note(IMEI, HERE, 1.0 + WINDOW)
    assert list(address_changes._seen) == [IMEI]


async def test_an_address_change_is_reported_and_not_refused(frozen: FrozenDateTimeFactory) -> None:
    connections = ConnectionRig(frozen)
    with capture_logs() as logs:
        for number in range(4):
            connection, transport = DeviceConnection(connections.context), FakeTransport()
            transport._extra["peername"] = ((HERE, THERE)[number % 2], 40_000)  # type: ignore[attr-defined]
            connection.connection_made(transport)
            connection.data_received(encode_handshake(IMEI))
    assert connections.sessions.by_imei[IMEI] is connection
    assert not connection.closed
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["takeovers_suspicious"]
