"""Networks from which devices may connect, on real sockets and both event loops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest
from freezegun.api import FrozenDateTimeFactory
from structlog.testing import capture_logs

from fsm.networks import is_within
from tests.transport.command_rig import IMEI
from tests.transport.listener_rig import LOCAL, ListenerRig, Run, gateway_files, read_to_end, until
from transport.daemon.listeners import Bound
from transport.settings import Address, AllowFrom
from transport.teltonika.handshake import ACCEPT, encode_handshake

HELLO = encode_handshake(IMEI)
OURS = AllowFrom((ip_network("127.0.0.4/30"),))
HEADER = "PROXY TCP4 {} 203.0.113.7 35646 5027\r\n"


@asynccontextmanager
async def listening(rig: ListenerRig) -> AsyncIterator[Bound]:
    """The listeners that the settings name; in the end every connection is closed."""
    rig.listeners.bind()
    try:
        yield await rig.listeners.open(rig.connections.context)
    finally:
        await rig.__aexit__()
        await until(lambda: not rig.connections.sessions.connected)


async def answer(listener: Address, host: str, data: bytes) -> bytes:
    """What a peer at `host` reads until the connection is closed, or until it is accepted."""
    reader, writer = await asyncio.open_connection(*listener, local_addr=(host, 0))
    try:
        writer.write(data)
        return await reader.readexactly(1)
    except (asyncio.IncompleteReadError, OSError):
        return b""
    finally:
        writer.transport.abort()


def refusals(rig: ListenerRig) -> float | None:
    """How many connections were counted as refused."""
    name = "teltonika_connections_from_elsewhere_total"
    return rig.connections.commands.metrics.registry.get_sample_value(name)


def test_a_plain_listener_serves_the_networks_alone(run: Run, frozen: FrozenDateTimeFactory) -> None:
    async def scenario() -> None:
        rig = ListenerRig(frozen, allow_from=(OURS,), tls_listen=(), proxy_listen=())
        async with listening(rig) as bound:
            [listener] = bound.listen
            assert await answer(listener, "127.0.0.5", HELLO) == ACCEPT
            with capture_logs() as logs:
                assert [await answer(listener, "127.0.0.1", HELLO) for _ in range(3)] == [b""] * 3
            told = [line for line in logs if line["event"] == "source_refused"]
            assert [(line["address"], line["log_level"]) for line in told] == [("127.0.0.1", "warning")]
            metrics = rig.connections.commands.metrics.registry
            assert (refusals(rig), metrics.get_sample_value("teltonika_connections_total")) == (3, 1)

    run(scenario())


def test_tls_is_not_begun_with_a_peer_from_elsewhere(
    run: Run, frozen: FrozenDateTimeFactory, files: dict[str, Path]
) -> None:
    async def scenario() -> None:
        async with ListenerRig(frozen, allow_from=(OURS,), proxy_listen=(), **gateway_files(files)) as it:
            reader, writer = await asyncio.open_connection(*it.tls, local_addr=("127.0.0.1", 0))
            assert await read_to_end(reader) == b""
            writer.transport.abort()
            metrics = it.connections.commands.metrics.registry
            assert (refusals(it), metrics.get_sample_value("teltonika_tls_failures_total")) == (1, 0)

    run(scenario())


@pytest.mark.parametrize(("source", "expected"), [("127.0.0.6", ACCEPT), ("198.51.100.22", b"")])
def test_behind_a_proxy_the_address_in_the_header_counts(
    run: Run, frozen: FrozenDateTimeFactory, source: str, expected: bytes
) -> None:
    async def scenario() -> None:
        rig = ListenerRig(
            frozen, allow_from=(OURS,), tls_listen=(), proxy_trust=(ip_network("127.0.0.0/30"),)
        )
        async with listening(rig) as bound:
            [listener] = bound.proxy
            data = HEADER.format(source).encode() + HELLO
            assert await answer(listener, "127.0.0.1", data) == expected
            assert refusals(rig) == (not expected)

    run(scenario())


def test_the_networks_of_one_listener_replace_those_of_all(run: Run, frozen: FrozenDateTimeFactory) -> None:
    async def scenario() -> None:
        other = ("127.0.0.2", 0)
        special = AllowFrom((ip_network("127.0.0.8/30"),), other)
        rig = ListenerRig(
            frozen, listen=(LOCAL, other), allow_from=(OURS, special), tls_listen=(), proxy_listen=()
        )
        async with listening(rig) as bound:
            general, own = bound.listen
            hosts = ("127.0.0.5", "127.0.0.9")
            assert [await answer(general, host, HELLO) for host in hosts] == [ACCEPT, b""]
            assert [await answer(own, host, HELLO) for host in hosts] == [b"", ACCEPT]

    run(scenario())


@pytest.mark.parametrize(
    ("host", "network", "inside"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("::ffff:10.1.2.3", "10.0.0.0/8", True),
        ("fd00::1", "fd00::/8", True),
        ("fd00::1", "10.0.0.0/8", False),
        ("fe80::1%eth0", "fe80::/10", True),
        ("", "0.0.0.0/0", False),
        ("unknown", "::/0", False),
    ],
)
def test_an_address_is_compared_in_its_own_family(host: str, network: str, inside: bool) -> None:
    assert is_within(host, (ip_network(network),)) is inside
