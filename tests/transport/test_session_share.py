"""The share of session events: of strangers, of devices that reconnect, and of thousands at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from tests.transport.command_rig import IMEI
from tests.transport.connection_rig import ConnectionRig, MakeConnections
from transport.connection import left_out, session_share
from transport.connection.allowance import Allowance
from transport.connection.protocol import DeviceConnection
from transport.teltonika.handshake import encode_handshake

MINUTE = 60.0
LEFT_OUT = "teltonika_session_events_left_out_total"
Appear = Callable[[str, str], DeviceConnection]


@pytest.fixture
def appear(connections: ConnectionRig) -> Appear:
    """Makes a device connect from an address."""

    def connect(imei: str, host: str) -> DeviceConnection:
        connection, _ = connections.accept_from(host)
        connection.received(encode_handshake(imei))
        return connection

    return connect


def counted(connections: ConnectionRig) -> float | None:
    return connections.commands.metrics.registry.get_sample_value(LEFT_OUT)


def online(connections: ConnectionRig) -> list[str]:
    """The sessions that a consumer of the events takes to be open."""
    last = {event.session_id: event.state for event in connections.session_log}
    return [session_id for session_id, state in last.items() if state != "closed"]


def restless(appear: Appear, imei: str, host: str, times: int) -> None:
    for _ in range(times):
        appear(imei, host).connection_lost(None)


async def test_a_device_that_reconnects_without_end_gets_its_share(
    connections: ConnectionRig, appear: Appear
) -> None:
    restless(appear, IMEI, "192.0.2.1", 100)
    assert connections.session_log.states == ["identified", "closed"] * 5
    assert counted(connections) == 190


async def test_a_session_that_lasts_becomes_known_in_the_end(
    connections: ConnectionRig, appear: Appear
) -> None:
    restless(appear, IMEI, "192.0.2.1", 100)
    last = appear(IMEI, "192.0.2.1")
    assert (online(connections), connections.sessions.share.waiting) == ([], 1)
    connections.at(12.0)
    assert online(connections) == [last.session_id]
    assert connections.sessions.share.waiting == 0


async def test_the_end_of_a_known_session_is_always_published(
    connections: ConnectionRig, appear: Appear
) -> None:
    first = appear(IMEI, "192.0.2.1")
    first.advance("open")  # in all there are ten, so that nothing is left
    restless(appear, IMEI, "192.0.2.1", 100)
    first.connection_lost(None)
    assert online(connections) == []
    assert connections.session_log[-1].session_id == first.session_id


async def test_of_a_session_that_waits_the_newest_event_is_published(
    connections: ConnectionRig, appear: Appear
) -> None:
    restless(appear, IMEI, "192.0.2.1", 100)
    connections.session_log.clear()
    last = appear(IMEI, "192.0.2.1")
    last.advance("open")
    connections.at(12.0)
    assert connections.session_log.states == ["ready"]


async def test_lines_of_the_log_follow_the_events(connections: ConnectionRig, appear: Appear) -> None:
    with capture_logs() as logs:
        restless(appear, IMEI, "192.0.2.1", 100)
    assert Counter(line["event"] for line in logs) == {"session_opened": 5, "session_closed": 5}


async def test_strangers_of_one_address_take_nothing_from_others(
    connections: ConnectionRig, appear: Appear
) -> None:
    for number in range(1500):
        restless(appear, f"3579{number:011d}", "2001:db8::" + f"{number:x}", 1)
    assert len(connections.session_log) == 2000
    honest = appear(IMEI, "192.0.2.1")
    assert online(connections) == [honest.session_id]


async def test_strangers_of_many_addresses_delay_others_and_do_not_silence_them(
    connections: ConnectionRig, appear: Appear, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = connections.sessions.share
    monkeypatch.setattr(share, "_process", Allowance(200, 1000))
    for number in range(800):
        restless(appear, f"3579{number:011d}", f"198.51.{number % 100}.1", 1)
    assert len(connections.session_log) == 1000
    strangers = [appear(f"3578{number:011d}", "198.51.0.1") for number in range(500)]
    honest = appear(IMEI, "192.0.2.1")
    connections.at(0.05)
    assert honest.session_id in online(connections)
    assert sum(stranger.session_id in online(connections) for stranger in strangers) < 10


@pytest.mark.parametrize("rate", [1, 2])
async def test_a_reconnect_storm_is_published_whole_in_the_end(
    make_connections: MakeConnections, rate: int
) -> None:
    connections = make_connections(session_events_rate=rate, ready_grace=1000.0)
    devices = []
    for number in range(3000):
        connection, _ = connections.accept_from(f"10.{number % 100}.0.1")
        connection.received(encode_handshake(f"3579{number:011d}"))
        devices.append(connection.session_id)
    second = 0
    while connections.sessions.share.waiting:
        second += 1
        assert second < 500
        connections.at(second)
    assert online(connections) == devices
    assert counted(connections) == 0


async def test_what_is_left_out_is_said_once_a_minute(connections: ConnectionRig, appear: Appear) -> None:
    with capture_logs() as logs:
        restless(appear, IMEI, "192.0.2.1", 7)
        restless(appear, "356307042441021", "192.0.2.2", 9)
        connections.at(MINUTE - 1)
        assert connections.session_log.notes == []
        connections.at(MINUTE)
        connections.at(3 * MINUTE)
    [line] = [line for line in logs if line["log_level"] == "warning"]
    assert (line["events"], line["devices"], line["address"], line["of_address"]) == (12, 2, "192.0.2.2", 8)
    [note] = connections.session_log.notes
    assert (note.note, note.instance_id) == ("session_events_left_out", "gw-1")
    assert note.detail == "12 session events of 2 devices left out, 8 of 192.0.2.2"


async def test_what_was_left_out_is_said_at_the_end(connections: ConnectionRig, appear: Appear) -> None:
    restless(appear, IMEI, "192.0.2.1", 7)
    connections.sessions.share.conclude()
    connections.sessions.share.conclude()
    assert len(connections.session_log.notes) == 1


async def test_a_summary_remembers_so_many_devices_and_addresses(
    connections: ConnectionRig, appear: Appear, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(left_out, "DEVICES", 3)
    monkeypatch.setattr(left_out, "SOURCES", 2)
    for number in range(5):
        restless(appear, f"3579{number:011d}", f"192.0.2.{number}", 6)
    connections.sessions.share.conclude()
    [note] = connections.session_log.notes
    assert note.detail == "10 session events of at least 3 devices left out, 2 of 192.0.2.0"


async def test_without_a_limit_every_event_is_published(make_connections: MakeConnections) -> None:
    connections = make_connections(session_events_rate=0)
    for _ in range(100):
        connection, _ = connections.identify()
        connection.connection_lost(None)
    assert len(connections.session_log) == 200


async def test_nothing_is_kept_of_sessions_that_are_over(connections: ConnectionRig, appear: Appear) -> None:
    restless(appear, IMEI, "192.0.2.1", 100)
    connections.at(3 * MINUTE)
    restless(appear, "356307042441021", "192.0.2.2", 1)
    share = connections.sessions.share
    assert (share.waiting, share._waiting) == (0, {})
    assert (len(share._device), len(share._address), len(share._process)) == (1, 1, 1)
    assert session_share.AT_ONCE >= 20 + 2 * session_share.PROCESS / 120
