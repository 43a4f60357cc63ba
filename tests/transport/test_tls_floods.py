"""Unidentified clients at the listener with TLS: what they can cost, and what is logged."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest
from freezegun.api import FrozenDateTimeFactory
from structlog.testing import capture_logs

from fsm.reasons import DEVICE_CLOSED, HANDSHAKE_TIMEOUT
from tests.transport.connection_rig import FakeTransport
from tests.transport.listener_rig import (
    ListenerRig,
    Run,
    gateway_files,
    identify,
    read_to_end,
    trusting,
    until,
)
from transport.connection import listener as accepting
from transport.connection import source_budgets
from transport.connection.protocol import DeviceConnection
from transport.connection.tcp import ACCEPTED_AT_ONCE

Files = dict[str, Path]


def knock(rig: ListenerRig, stack: ExitStack) -> socket.socket:
    """An unidentified client connects and sends nothing."""
    sock = stack.enter_context(socket.create_connection(rig.tls))
    sock.setblocking(False)
    return sock


def failures(rig: ListenerRig) -> float | None:
    return rig.connections.commands.metrics.registry.get_sample_value("teltonika_tls_failures_total")


# What counts


@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_ip"])
def test_connections_before_tls_count_against_the_limits(
    run: Run, frozen: FrozenDateTimeFactory, files: Files, limit: str
) -> None:
    async def scenario() -> None:
        rig = ListenerRig(frozen, **gateway_files(files), **{limit: 2})
        with ExitStack() as stack:
            async with rig:
                unidentified = [knock(rig, stack) for _ in range(2)]
                await until(lambda: rig.connections.sessions.connected == 2)
                for context in (trusting(files), None):
                    with pytest.raises((OSError, asyncio.IncompleteReadError)):
                        async with rig.device(context) as streams:
                            await identify(streams)
                unidentified[0].close()
                await until(lambda: rig.connections.sessions.connected == 1)
                async with rig.device(trusting(files)) as streams:
                    await identify(streams)
                    assert rig.connections.sessions.connected == 2

    run(scenario())


def test_tls_handshakes_beyond_the_rate_of_an_address_are_not_begun(
    run: Run, frozen: FrozenDateTimeFactory, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(source_budgets.AHEAD, source_budgets.HANDSHAKES, 2.0)

    async def scenario() -> None:
        with ExitStack() as stack:
            async with ListenerRig(frozen, **gateway_files(files), handshake_rate=1) as rig:
                _, _, third = (knock(rig, stack) for _ in range(3))
                await until(lambda: rig.connections.sessions.connected == 2)
                reader, writer = await asyncio.open_connection(sock=third)
                assert await read_to_end(reader) == b""
                writer.close()
                async with rig.device(None) as streams:
                    await identify(streams)

    run(scenario())


def test_a_tls_handshake_that_takes_long_gives_way_when_all_places_are_taken(
    run: Run, frozen: FrozenDateTimeFactory, files: Files
) -> None:
    async def scenario() -> None:
        with ExitStack() as stack:
            async with ListenerRig(frozen, **gateway_files(files), max_connections=2) as rig:
                oldest, _ = knock(rig, stack), knock(rig, stack)
                await until(lambda: rig.connections.sessions.connected == 2)
                rig.connections.at(1)
                async with rig.device(trusting(files)) as streams:
                    await identify(streams)
                    assert oldest.recv(1) == b""
                    assert rig.connections.sessions.connected == 2

    run(scenario())


def test_the_handshake_timeout_runs_from_the_accept(
    run: Run, frozen: FrozenDateTimeFactory, files: Files
) -> None:
    async def scenario() -> None:
        with ExitStack() as stack:
            async with ListenerRig(frozen, **gateway_files(files)) as rig:
                sock, sessions = knock(rig, stack), rig.connections.sessions
                await until(lambda: sessions.connected)
                rig.connections.at(6)
                _, writer = await asyncio.open_connection(
                    sock=sock, ssl=trusting(files), server_hostname="127.0.0.1"
                )
                await until(lambda: sessions.unidentified)
                [connection] = sessions.unidentified
                rig.connections.at(9.999)
                assert not connection.closed
                rig.connections.at(10)
                assert connection.close_reason == HANDSHAKE_TIMEOUT
                writer.transport.abort()

    run(scenario())


def test_a_silent_unidentified_device_is_closed_in_time(
    run: Run, frozen: FrozenDateTimeFactory, files: Files
) -> None:
    async def scenario() -> None:
        with ExitStack() as stack, capture_logs() as logs:
            async with ListenerRig(frozen, **gateway_files(files), handshake_timeout=0.1) as rig:
                host, port = knock(rig, stack).getsockname()
                await until(lambda: failures(rig))
                assert rig.connections.sessions.connected == 0
        assert logs == [
            {
                "event": "tls_failed",
                "peer": f"{host}:{port}",
                "reason": HANDSHAKE_TIMEOUT,
                "log_level": "warning",
            }
        ]

    run(scenario())


@pytest.mark.parametrize("listener", ["tls", "plain"])
def test_many_at_once_are_taken_in_a_few_at_a_time(
    run: Run, frozen: FrozenDateTimeFactory, files: Files, listener: str
) -> None:
    async def scenario() -> None:
        with ExitStack() as stack:
            async with ListenerRig(frozen, **gateway_files(files)) as rig:
                rig.tls = getattr(rig, listener)
                for _ in range(3 * ACCEPTED_AT_ONCE):
                    knock(rig, stack)
                seen = [0]
                while seen[-1] < 3 * ACCEPTED_AT_ONCE:
                    await asyncio.sleep(0)
                    seen.append(rig.connections.sessions.connected)
                # Some versions of asyncio accept one more.
                assert max(after - before for before, after in pairwise(seen)) <= ACCEPTED_AT_ONCE + 1

    run(scenario())


# What is told


def no_certificate(files: Files) -> ssl.SSLContext:
    return trusting(files)


def no_cipher(files: Files) -> ssl.SSLContext:
    context = trusting(files)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")  # the key of the gateway is none of RSA
    return context


@pytest.mark.parametrize(
    ("context", "reason"),
    [(no_certificate, "peer_did_not_return_a_certificate"), (no_cipher, "no_shared_cipher")],
)
def test_a_failed_tls_handshake_is_counted_and_logged(
    run: Run,
    frozen: FrozenDateTimeFactory,
    files: Files,
    context: Callable[[Files], ssl.SSLContext],
    reason: str,
) -> None:
    async def scenario() -> None:
        with capture_logs() as logs:
            async with ListenerRig(frozen, **gateway_files(files), tls_client_ca=files["ca"]) as rig:
                with pytest.raises((OSError, asyncio.IncompleteReadError)):
                    async with rig.device(context(files)) as streams:
                        await identify(streams)
                await until(lambda: failures(rig))
                assert rig.connections.sessions.connected == 0
        assert [(line["event"], line["reason"]) for line in logs] == [("tls_failed", reason)]

    run(scenario())


@pytest.mark.parametrize("words", [b"GET / HTTP/1.1\r\n\r\n", b"\x1b[2J\r\nforged", b"\0\x0f352093081452251"])
def test_bytes_sent_instead_of_tls_are_not_in_the_log(
    run: Run, frozen: FrozenDateTimeFactory, files: Files, words: bytes
) -> None:
    async def scenario() -> None:
        with capture_logs() as logs:
            async with ListenerRig(frozen, **gateway_files(files)) as rig:
                reader, writer = await asyncio.open_connection(*rig.tls)
                writer.write(words)
                await read_to_end(reader)
                writer.transport.abort()
                await until(lambda: failures(rig))
        [line] = logs
        assert line["event"] == "tls_failed"
        assert line["reason"].replace("_", "").isalnum()

    run(scenario())


def test_failures_of_one_address_are_one_line_and_all_counted(
    run: Run, frozen: FrozenDateTimeFactory, files: Files
) -> None:
    async def scenario() -> None:
        with capture_logs() as logs:
            async with ListenerRig(frozen, **gateway_files(files)) as rig:
                for number in range(1, 6):
                    with ExitStack() as stack:
                        knock(rig, stack)
                        await until(lambda number=number: rig.connections.sessions.connected == 1)  # type: ignore[misc]
                    await until(lambda number=number: failures(rig) == number)  # type: ignore[misc]
        assert [(line["event"], line["reason"]) for line in logs] == [("tls_failed", DEVICE_CLOSED)]

    run(scenario())


# When nothing more can be taken


def test_handshakes_that_are_under_way_end_with_the_listener(
    run: Run, frozen: FrozenDateTimeFactory, files: Files
) -> None:
    async def scenario() -> None:
        with ExitStack() as stack, capture_logs() as logs:
            async with ListenerRig(frozen, **gateway_files(files)) as rig:
                knock(rig, stack)
                await until(lambda: rig.connections.sessions.connected)
                rig.listeners.close()
                await until(lambda: not rig.connections.sessions.connected)
        assert logs == []

    run(scenario())


async def test_a_stopping_gateway_accepts_no_tls_connection(
    frozen: FrozenDateTimeFactory, files: Files
) -> None:
    connections, transport = ListenerRig(frozen, **gateway_files(files)).connections, FakeTransport()
    connections.sessions.refuse_unidentified()
    connection = DeviceConnection(connections.context, secure=True, address=("10.0.0.1", 40_000))
    connection.connection_made(transport)
    assert transport.aborted
    assert connections.sessions.unidentified == set()


class Exhausted(socket.socket):
    """A listening socket on a system that has no file to spare, once."""

    tried = False

    def accept(self) -> tuple[socket.socket, object]:
        """Fails the first time."""
        if not self.tried:
            self.tried = True
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


def test_without_a_file_to_spare_connections_wait_for_one(
    run: Run, frozen: FrozenDateTimeFactory, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "ACCEPT_RETRY", 0.01)
    monkeypatch.setattr("transport.connection.tcp.socket.socket", Exhausted)

    async def scenario() -> None:
        with capture_logs() as logs:
            async with (
                ListenerRig(frozen, **gateway_files(files)) as rig,
                rig.device(trusting(files)) as streams,
            ):
                await identify(streams)
        assert [line["event"] for line in logs][:1] == ["accept_failed"]

    run(scenario())


def test_a_free_file_is_looked_for_with_pauses(
    run: Run, frozen: FrozenDateTimeFactory, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "ACCEPT_RETRY", 3600.0)
    monkeypatch.setattr("transport.connection.tcp.socket.socket", Exhausted)

    async def scenario() -> None:
        with ExitStack() as stack, capture_logs() as logs:
            async with ListenerRig(frozen, **gateway_files(files)) as rig:
                knock(rig, stack)
                await until(lambda: logs)
                for _ in range(10):
                    await asyncio.sleep(0)
                assert rig.connections.sessions.connected == 0

    run(scenario())


def test_a_listener_that_waits_for_a_file_to_spare_may_be_closed(
    run: Run, frozen: FrozenDateTimeFactory, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "ACCEPT_RETRY", 0.05)
    monkeypatch.setattr("transport.connection.tcp.socket.socket", Exhausted)

    async def scenario() -> None:
        loop, faults, later = asyncio.get_running_loop(), [], asyncio.Event()
        loop.set_exception_handler(lambda _, context: faults.append(context))
        with ExitStack() as stack, capture_logs() as logs:
            async with ListenerRig(frozen, **gateway_files(files)) as rig:
                knock(rig, stack)
                await until(lambda: logs)
            loop.call_later(2 * accepting.ACCEPT_RETRY, later.set)
            await later.wait()
        assert faults == []

    run(scenario())
