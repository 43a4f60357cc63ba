"""Two peers say to be one device: what each of them gets, and what is told of it."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.process.gateway import IMEI, KEYS, Bus, Device, Gateway, until
from tests.rig.namespace import Namespace
from transport.connection.repeated_takeovers import MANY

Start = Callable[..., Gateway]
From = Callable[..., Device]
Ask = Callable[..., tuple[int, list[dict[str, Any]]]]
HERE, THERE = "127.0.0.1", "127.0.0.2"
TCP_REPAIR = 19
SOON = 5.0
"""Seconds within which a gateway has closed the session that it has lost: far less than a heartbeat. The peer
is asked for up to a second before."""


@pytest.fixture
def plug_in_from() -> Iterator[From]:
    """Devices that connect from an address of their own."""
    devices: list[Device] = []

    def plug_in(gateway: Gateway, host: str) -> Device:
        address = ("127.0.0.1", int(gateway.port))
        devices.append(Device(gateway, sock=socket.create_connection(address, 15.0, (host, 0))))
        return devices[-1].ready()

    yield plug_in
    for device in devices:
        device.socket.close()


@pytest.mark.parametrize("host", [HERE, THERE])
def test_the_gateway_that_loses_a_device_is_told_at_once(
    start: Start, plug_in_from: From, bus: Bus, host: str
) -> None:
    calm = {"heartbeat_interval": 200, "heartbeat_ttl": 600}
    first, second = start("gw-1", **calm), start("gw-2", **calm)
    older = plug_in_from(first, HERE)
    began = time.monotonic()
    plug_in_from(second, host)
    assert older.rest() == b""
    assert time.monotonic() - began < SOON
    first.said("session_closed", reason="superseded")
    bus.empty("gw-1")
    assert (bus.holder(), bus.client.xlen(KEYS.deadletter)) == ("gw-2", 0)


def test_a_forged_hint_closes_nothing(start: Start, plug_in_from: From, bus: Bus) -> None:
    device = plug_in_from(start(), HERE)
    session = bus.client.hget(KEYS.sessions, IMEI).split()[0]
    bus.raw({"type": "superseded", "imei": IMEI, "session_id": session})
    bus.empty()
    bus.ask("c-1")
    assert device.obey() == "c-1"


def vanish(device: Device) -> None:
    """Forget the connection without a packet, as a device that restarts does."""
    try:
        device.socket.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    except OSError:
        pytest.skip("no right to close a socket in silence")
    device.socket.close()


@pytest.mark.parametrize("second", ["gw-1", "gw-2"])
def test_a_stranger_gets_no_command_and_turns_end_them(
    start: Start, plug_in_from: From, bus: Bus, second: str
) -> None:
    gateways = {name: start(name) for name in {"gw-1", second}}
    plug_in_from(gateways["gw-1"], HERE)
    stranger = plug_in_from(gateways[second], THERE)
    bus.ask("waits", to=second)
    bus.reached("waits", "queued")
    note = bus.note("takeover")
    assert (note["imei"], note["peer"].partition(":")[0], note["auth"]) == (IMEI, THERE, "plain")
    assert note["detail"] == f"{HERE} plain gw-1"
    assert stranger.silent(0.3)
    plug_in_from(gateways["gw-1"], HERE)
    assert bus.ended("waits")[-1] == "failed identity_disputed not_sent"
    bus.ask("new")
    assert bus.ended("new") == ["queued not_sent", "failed identity_disputed not_sent"]
    told = gateways["gw-1"].said("takeover_disputed", imei=IMEI)
    assert told["peer"].startswith(HERE)


@pytest.mark.parametrize("second", ["gw-1", "gw-2"])
def test_an_operator_sees_who_disputes_a_device(
    start: Start, plug_in_from: From, bus: Bus, ask: Ask, second: str
) -> None:
    gateways = {name: start(name) for name in {"gw-1", second}}
    device = plug_in_from(gateways["gw-1"], HERE)
    assert ask("devices", "--disputed") == (4, [])
    plug_in_from(gateways[second], THERE)
    [held] = until(lambda: ask("devices", "--disputed")[1], "the hold")
    assert (held["state"], held["peer"].partition(":")[0]) == ("held", THERE)
    assert (held["hold"]["before"], held["hold"]["before_auth"]) == (HERE, "plain")
    device.socket.close()
    plug_in_from(gateways["gw-1"], HERE)
    [disputed] = until(
        lambda: [one for one in ask("devices", "--disputed")[1] if one["state"] == "disputed"], "the dispute"
    )
    assert disputed["hold"]["since"] == held["hold"]["since"]
    assert [claim["address"] for claim in disputed["claims"]] == [HERE, THERE, HERE]
    assert ask("devices", IMEI)[1][0]["claims"] == disputed["claims"]


def test_two_peers_at_one_address_that_take_turns_are_told_of(
    start: Start, plug_in_from: From, bus: Bus
) -> None:
    gateway = start()
    for _ in range(MANY + 1):
        plug_in_from(gateway, HERE)
    told = gateway.said("takeovers_repeated", imei=IMEI)
    assert (told["peer"].partition(":")[0], told["count"]) == (HERE, MANY)


def test_a_stranger_that_comes_back_has_not_cleared_itself(
    start: Start, plug_in_from: From, bus: Bus
) -> None:
    first, second = start("gw-1"), start("gw-2")
    plug_in_from(first, HERE)
    plug_in_from(first, THERE).socket.close()
    until(lambda: bus.holder() is None)
    stranger = plug_in_from(second, THERE)
    bus.ask("waits", to="gw-2")
    bus.reached("waits", "queued")
    assert stranger.silent(0.3)
    assert bus.life("waits") == ["queued not_sent"]


def test_the_hold_ends_by_itself(start: Start, plug_in_from: From, bus: Bus) -> None:
    gateway = start(takeover_hold=1)
    plug_in_from(gateway, HERE)
    newer = plug_in_from(gateway, THERE)
    bus.ask("waits")
    assert newer.obey() == "waits"


def test_a_device_that_was_reset_waits_for_nothing(start: Start, plug_in_from: From, bus: Bus) -> None:
    gateway = start()
    older = plug_in_from(gateway, HERE)
    older.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    older.socket.close()
    gateway.said("session_closed", reason="connection_reset")
    newer = plug_in_from(gateway, THERE)
    bus.ask("c-1")
    assert newer.obey() == "c-1"


@pytest.mark.parametrize("second", ["gw-1", "gw-2"])
def test_a_device_that_has_restarted_waits_for_nothing(
    start: Start, plug_in_from: From, bus: Bus, second: str
) -> None:
    """Its TCP does not know the old connection, and says so when it is asked."""
    gateways = {name: start(name) for name in {"gw-1", second}}
    vanish(plug_in_from(gateways["gw-1"], HERE))
    newer = plug_in_from(gateways[second], THERE)
    bus.ask("c-1", to=second)
    assert newer.obey() == "c-1"
    gateways[second].said("takeover", imei=IMEI)
    bus.empty(second)


async def test_a_device_whose_network_is_gone_is_replaced(start: Start, network: Namespace, bus: Bus) -> None:
    gateway = start(listen=f"{network.host}:0", takeover_policy="alive")
    address = (network.host, int(gateway.port))
    with Device(gateway, sock=await network.dial(address)) as older:
        older.socket.settimeout(15.0)
        older.ready()
        network.cut()
        newer = Device(gateway, sock=socket.create_connection(address, 15.0))
        with newer:
            newer.ready()
            bus.ask("c-1")
            assert newer.obey() == "c-1"
        gateway.said("session_closed", reason="network_timeout")


def test_a_live_device_is_not_replaced_if_it_is_so_wanted(
    start: Start, plug_in: Callable[..., Device], plug_in_from: From, bus: Bus
) -> None:
    gateway = start(takeover_policy="alive")
    device = plug_in_from(gateway, THERE)
    stranger = plug_in(gateway)
    with pytest.raises(AssertionError):
        stranger.hello()
    gateway.said("takeover_refused", imei=IMEI)
    bus.ask("c-1")
    assert device.obey() == "c-1"
    assert bus.note("takeover_refused")["peer"].startswith(HERE)
