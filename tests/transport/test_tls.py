"""The listener that speaks TLS: real handshakes with certificates made for the test."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization
from freezegun.api import FrozenDateTimeFactory

from tests.transport.desk import IMEI
from tests.transport.door import LOCAL, Door, Run, answer, gateway_files, greet, trusting
from tests.transport.wire import FRAME
from transport.cli import cli
from transport.daemon.listeners import CannotListen, Listeners
from transport.settings import Settings
from transport.tcp import unacknowledged
from transport.teltonika.handshake import ACCEPT, encode_handshake
from transport.tls import BadTlsFiles, context_for


async def visit(door: Door, context: ssl.SSLContext) -> None:
    async with door.device(context) as streams:
        await greet(streams)


def test_a_device_reports_and_is_acknowledged_over_tls(
    run: Run, frozen: FrozenDateTimeFactory, files: dict[str, Path]
) -> None:
    async def scenario() -> None:
        door = Door(frozen, **gateway_files(files))
        async with door, door.device(trusting(files)) as streams:
            await greet(streams)
            reader, writer = streams
            door.wire.telemetry.store = lambda batch: batch.done()  # type: ignore[method-assign]
            writer.write(FRAME)
            assert await reader.readexactly(4) == b"\0\0\0\x01"

    run(scenario())


def test_a_device_may_still_come_without_tls_through_the_other_door(
    run: Run, frozen: FrozenDateTimeFactory, files: dict[str, Path]
) -> None:
    async def scenario() -> None:
        door = Door(frozen, **gateway_files(files))
        async with door, door.device(None) as streams:
            await greet(streams)

    run(scenario())


def test_what_tcp_acknowledged_cannot_be_told_over_tls(
    run: Run, frozen: FrozenDateTimeFactory, files: dict[str, Path]
) -> None:
    async def scenario() -> None:
        async with Door(frozen, **gateway_files(files)) as door:
            for context, told in ((None, True), (trusting(files), False)):
                async with door.device(context) as streams:
                    await greet(streams)
                    link = door.wire.hub.sessions[IMEI]
                    assert (unacknowledged(link._transport) is not None) is told
                    assert link.acknowledged(1) is told

    run(scenario())


def test_a_device_with_a_certificate_of_the_authority_comes_in_and_no_other(
    run: Run, frozen: FrozenDateTimeFactory, files: dict[str, Path], authority: trustme.CA
) -> None:
    async def scenario() -> None:
        async with Door(frozen, **gateway_files(files), tls_client_ca=files["ca"]) as door:
            known = trusting(files)
            authority.issue_cert("device.example").configure_cert(known)
            async with door.device(known) as streams:
                await greet(streams)
            stranger = trusting(files)
            trustme.CA().issue_cert("device.example").configure_cert(stranger)
            for context in (trusting(files), stranger):
                with pytest.raises((OSError, asyncio.IncompleteReadError)):
                    await visit(door, context)
            assert len(door.wire.registrar.registered) == 1

    run(scenario())


def test_who_speaks_no_tls_is_never_taken_for_a_device(
    run: Run, frozen: FrozenDateTimeFactory, files: dict[str, Path]
) -> None:
    async def scenario() -> None:
        async with Door(frozen, **gateway_files(files)) as door:
            door.plain = door.tls
            async with door.device(None) as (reader, writer):
                writer.write(encode_handshake(IMEI))
                assert not (await answer(reader)).startswith(ACCEPT)
            assert door.wire.hub.sessions == {}

    run(scenario())


def test_a_socket_with_tls_has_the_options_of_a_plain_one(
    run: Run, frozen: FrozenDateTimeFactory, files: dict[str, Path]
) -> None:
    async def scenario() -> None:
        door = Door(frozen, **gateway_files(files))
        async with door, door.device(trusting(files)) as streams:
            await greet(streams)
            sock = door.wire.hub.sessions[IMEI]._transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    run(scenario())


async def test_an_address_in_use_is_told(frozen: FrozenDateTimeFactory, files: dict[str, Path]) -> None:
    async with Door(frozen, **gateway_files(files)) as door:
        settings = Settings(
            instance_id="gw-1", listen=(LOCAL,), tls_listen=(door.tls,), **gateway_files(files)
        )
        second = Listeners(settings)
        with pytest.raises(CannotListen, match=str(door.tls[1])):
            second.bind()


# The files


def settings(**given: Any) -> Settings:
    return Settings(instance_id="gw-1", tls_listen=(LOCAL,), **given)


def test_without_a_listener_there_is_nothing_to_load() -> None:
    assert context_for(Settings(instance_id="gw-1")) is None


def test_old_versions_of_tls_are_not_spoken(files: dict[str, Path]) -> None:
    context = context_for(settings(**gateway_files(files)))
    assert context
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_one_file_may_hold_the_certificate_and_its_key(files: dict[str, Path]) -> None:
    both = files["tls_cert"]
    both.write_bytes(files["tls_key"].read_bytes() + both.read_bytes())
    assert context_for(settings(tls_cert=both))


def protect(files: dict[str, Path]) -> None:
    key = serialization.load_pem_private_key(files["tls_key"].read_bytes(), None)
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    files["tls_key"].write_bytes(text)


BREAKS: dict[str, tuple[Callable[[dict[str, Path]], object], str]] = {
    "no certificate": (
        lambda files: files["tls_cert"].unlink(),
        r"tls_cert.pem cannot be read: No such file",
    ),
    "no key": (lambda files: files["tls_key"].unlink(), r"tls_key.pem cannot be read: No such file"),
    "no authority": (lambda files: files["ca"].unlink(), r"ca.pem cannot be read: No such file"),
    "not PEM": (
        lambda files: files["tls_cert"].write_text("hello"),
        r"do not hold a certificate and its key",
    ),
    "not an authority": (lambda files: files["ca"].write_text("hello"), r"does not hold certificates in PEM"),
    "passphrase": (protect, r"tls_key.pem is protected by a passphrase"),
    "another key": (
        lambda files: trustme.CA().issue_cert("x.example").private_key_pem.write_to_path(files["tls_key"]),
        r"tls_key.pem is not the key of the certificate",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_file_that_cannot_be_used_is_told_in_one_sentence_and_nothing_starts(
    files: dict[str, Path], name: str
) -> None:
    break_it, words = BREAKS[name]
    break_it(files)
    with pytest.raises(BadTlsFiles, match=words):
        context_for(settings(**gateway_files(files), tls_client_ca=files["ca"]))
    args = ["run", "--tls-listen", "127.0.0.1:0", "--tls-client-ca", str(files["ca"])]
    args += ["--tls-cert", str(files["tls_cert"]), "--tls-key", str(files["tls_key"])]
    result = CliRunner().invoke(cli, args)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert re.search(words, result.stderr)
    assert "secret" not in result.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--tls-listen", "127.0.0.1:0"], "--tls-cert"),
        (["--tls-listen", "nowhere"], "--tls-listen"),
        (["--tls-cert", "cert.pem"], "--tls-listen"),
    ],
)
def test_options_that_contradict_each_other_are_told(args: list[str], words: str) -> None:
    result = CliRunner().invoke(cli, ["run", *args])
    assert result.exit_code == 2
    assert words in result.stderr
