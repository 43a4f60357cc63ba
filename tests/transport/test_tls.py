"""The listener that speaks TLS: real handshakes with certificates made for the test."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization
from freezegun.api import FrozenDateTimeFactory
from structlog.testing import capture_logs

from tests.rig.certificates import FAR_AHEAD, LONG_AGO, RECENTLY, revocation_list, write_pair
from tests.transport.command_rig import IMEI
from tests.transport.connection_rig import FRAME
from tests.transport.listener_rig import (
    LOCAL,
    ListenerRig,
    Run,
    gateway_files,
    identify,
    read_to_end,
    trusting,
    until,
)
from transport.cli import cli
from transport.connection import tls
from transport.connection.backpressure import TLS_BUFFER
from transport.connection.file_reader import NotRead
from transport.connection.tcp import unacknowledged
from transport.connection.tls import BadTlsFiles, TlsFiles, load
from transport.daemon.addresses import CannotListen
from transport.daemon.listeners import Listeners
from transport.settings import Settings
from transport.teltonika.handshake import ACCEPT, encode_handshake


async def visit(rig: ListenerRig, context: ssl.SSLContext) -> None:
    async with rig.device(context) as streams:
        await identify(streams)


def test_a_device_reports_and_is_acknowledged_over_tls(
    run: Run, frozen: FrozenDateTimeFactory, files: dict[str, Path]
) -> None:
    async def scenario() -> None:
        rig = ListenerRig(frozen, **gateway_files(files))
        async with rig, rig.device(trusting(files)) as streams:
            await identify(streams)
            reader, writer = streams
            rig.connections.telemetry.at_once = True
            writer.write(FRAME)
            assert await reader.readexactly(4) == b"\0\0\0\x01"

    run(scenario())


def test_a_paused_tls_connection_receives_little(
    run: Run, frozen: FrozenDateTimeFactory, files: dict[str, Path]
) -> None:
    async def scenario() -> None:
        rig = ListenerRig(frozen, **gateway_files(files))
        async with rig, rig.device(trusting(files)) as streams:
            await identify(streams)
            transport: Any = rig.connections.sessions.by_imei[IMEI]._transport
            assert transport.get_read_buffer_limits()[1] == TLS_BUFFER

    run(scenario())


def test_the_plain_listener_still_accepts_devices(
    run: Run, frozen: FrozenDateTimeFactory, files: dict[str, Path]
) -> None:
    async def scenario() -> None:
        rig = ListenerRig(frozen, **gateway_files(files))
        async with rig, rig.device(None) as streams:
            await identify(streams)

    run(scenario())


def test_tcp_acknowledgement_is_unknown_over_tls(
    run: Run, frozen: FrozenDateTimeFactory, files: dict[str, Path]
) -> None:
    async def scenario() -> None:
        async with ListenerRig(frozen, **gateway_files(files)) as rig:
            for context, told in ((None, True), (trusting(files), False)):
                async with rig.device(context) as streams:
                    await identify(streams)
                    link = rig.connections.sessions.by_imei[IMEI]
                    assert (unacknowledged(link._transport) is not None) is told
                    assert link.acknowledged(1) is told

    run(scenario())


def test_only_devices_with_a_certificate_are_accepted(
    run: Run, frozen: FrozenDateTimeFactory, files: dict[str, Path], authority: trustme.CA
) -> None:
    async def scenario() -> None:
        async with ListenerRig(frozen, **gateway_files(files), tls_client_ca=files["ca"]) as rig:
            known = trusting(files)
            authority.issue_cert(IMEI).configure_cert(known)
            async with rig.device(known) as streams:
                await identify(streams)
            unknown = trusting(files)
            trustme.CA().issue_cert("device.example").configure_cert(unknown)
            for context in (trusting(files), unknown):
                with pytest.raises((OSError, asyncio.IncompleteReadError)):
                    await visit(rig, context)
            assert len(rig.connections.registrar.registered) == 1

    run(scenario())


def test_plain_bytes_on_a_tls_listener_are_no_device(
    run: Run, frozen: FrozenDateTimeFactory, files: dict[str, Path]
) -> None:
    async def scenario() -> None:
        async with ListenerRig(frozen, **gateway_files(files)) as rig:
            rig.plain = rig.tls
            async with rig.device(None) as (reader, writer):
                writer.write(encode_handshake(IMEI))
                assert not (await read_to_end(reader)).startswith(ACCEPT)
            assert rig.connections.sessions.by_imei == {}

    run(scenario())


def test_a_socket_with_tls_has_the_options_of_a_plain_one(
    run: Run, frozen: FrozenDateTimeFactory, files: dict[str, Path]
) -> None:
    async def scenario() -> None:
        rig = ListenerRig(frozen, **gateway_files(files))
        async with rig, rig.device(trusting(files)) as streams:
            await identify(streams)
            sock = rig.connections.sessions.by_imei[IMEI]._transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    run(scenario())


async def test_an_address_in_use_is_an_error(frozen: FrozenDateTimeFactory, files: dict[str, Path]) -> None:
    async with ListenerRig(frozen, **gateway_files(files)) as rig:
        settings = Settings(
            instance_id="gw-1", listen=(LOCAL,), tls_listen=(rig.tls,), **gateway_files(files)
        )
        second = Listeners(settings)
        with pytest.raises(CannotListen, match=str(rig.tls[1])):
            second.bind()


# Versions and ciphers


def old_device(files: dict[str, Path], ciphers: str) -> ssl.SSLContext:
    """The side of a device that knows TLS 1.2 and a few ciphers."""
    context = trusting(files)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(ciphers)
    return context


async def fails(rig: ListenerRig, context: ssl.SSLContext) -> str:
    """A device does not come in; the reason that is logged."""
    with capture_logs() as logs:
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await visit(rig, context)
        await until(lambda: logs)
    [line] = logs
    assert (line["event"], line["log_level"]) == ("tls_failed", "warning")
    return str(line["reason"])


def test_an_old_cipher_is_accepted_only_if_configured(
    run: Run, frozen: FrozenDateTimeFactory, files: dict[str, Path], authority: trustme.CA
) -> None:
    async def scenario() -> None:
        pair = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA)
        pair.cert_chain_pems[0].write_to_path(files["tls_cert"])
        pair.private_key_pem.write_to_path(files["tls_key"])
        device = old_device(files, "AES128-SHA")
        async with ListenerRig(frozen, **gateway_files(files)) as rig:
            assert await fails(rig, device) == "no_shared_cipher"
        async with ListenerRig(frozen, **gateway_files(files), tls_ciphers="ECDHE+AESGCM:RSA+AES") as rig:
            await visit(rig, device)
            await visit(rig, trusting(files))

    run(scenario())


def test_ciphers_without_authentication_are_never_used(
    run: Run, frozen: FrozenDateTimeFactory, files: dict[str, Path]
) -> None:
    async def scenario() -> None:
        device = old_device(files, "aNULL:@SECLEVEL=0")
        device.check_hostname, device.verify_mode = False, ssl.CERT_NONE
        async with ListenerRig(frozen, **gateway_files(files), tls_ciphers="ALL:aNULL:@SECLEVEL=0") as rig:
            assert await fails(rig, device) == "no_shared_cipher"

    run(scenario())


def test_an_operator_may_ask_for_tls_1_3(
    run: Run, frozen: FrozenDateTimeFactory, files: dict[str, Path]
) -> None:
    async def scenario() -> None:
        async with ListenerRig(frozen, **gateway_files(files), tls_min_version="1.3") as rig:
            assert await fails(rig, old_device(files, "DEFAULT")) == "unsupported_protocol"
            await visit(rig, trusting(files))

    run(scenario())


# Revoked certificates


def with_certificate(files: dict[str, Path], leaf: trustme.LeafCert) -> ssl.SSLContext:
    """The side of a device that has a certificate."""
    context = trusting(files)
    leaf.configure_cert(context)
    return context


def test_only_the_revoked_certificate_is_refused(
    run: Run, frozen: FrozenDateTimeFactory, files: dict[str, Path], authority: trustme.CA
) -> None:
    async def scenario() -> None:
        good, bad = (authority.issue_cert(IMEI) for _ in range(2))
        files["crl"].write_bytes(revocation_list(authority, bad))
        given = {"tls_client_ca": files["ca"], "tls_crl": files["crl"]}
        async with ListenerRig(frozen, **gateway_files(files), **given) as rig:
            assert await fails(rig, with_certificate(files, bad)) == "certificate_revoked"
            assert (
                rig.connections.commands.metrics.registry.get_sample_value("teltonika_tls_failures_total")
                == 1
            )
            with capture_logs() as logs, pytest.raises((OSError, asyncio.IncompleteReadError)):
                await visit(rig, with_certificate(files, bad))
            assert logs == []  # once a minute for an address and a reason
            await visit(rig, with_certificate(files, good))

    run(scenario())


@pytest.mark.parametrize(
    ("issuer", "until", "reason"),
    [
        ("ours", RECENTLY, "crl_has_expired"),
        ("another", FAR_AHEAD, "unable_to_get_certificate_crl"),
    ],
)
def test_without_a_valid_revocation_list_no_device_is_accepted(
    run: Run,
    frozen: FrozenDateTimeFactory,
    files: dict[str, Path],
    authority: trustme.CA,
    issuer: str,
    until: datetime,
    reason: str,
) -> None:
    async def scenario() -> None:
        signer = authority if issuer == "ours" else trustme.CA()
        files["crl"].write_bytes(revocation_list(signer, until=until))
        given = {"tls_client_ca": files["ca"], "tls_crl": files["crl"]}
        async with ListenerRig(frozen, **gateway_files(files), **given) as rig:
            device = with_certificate(files, authority.issue_cert("device.example"))
            assert await fails(rig, device) == reason

    run(scenario())


# Read again


async def shown(rig: ListenerRig, files: dict[str, Path]) -> object:
    """The serial number of the certificate that the listener shows."""
    async with rig.device(trusting(files)) as (_, writer):
        certificate = writer.get_extra_info("peercert")
        return certificate["serialNumber"]


def test_files_that_are_read_again_are_those_of_the_next_handshake(
    run: Run, frozen: FrozenDateTimeFactory, files: dict[str, Path], authority: trustme.CA
) -> None:
    async def scenario() -> None:
        async with ListenerRig(frozen, **gateway_files(files)) as rig:
            before = await shown(rig, files)
            write_pair(authority, files["tls_cert"], files["tls_key"])
            assert await shown(rig, files) == before
            await rig.listeners.reload_tls()
            assert await shown(rig, files) != before

    run(scenario())


def test_an_expired_certificate_replaces_no_other(
    run: Run, frozen: FrozenDateTimeFactory, files: dict[str, Path], authority: trustme.CA
) -> None:
    async def scenario() -> None:
        async with ListenerRig(frozen, **gateway_files(files)) as rig:
            before = await shown(rig, files)
            write_pair(authority, files["tls_cert"], files["tls_key"], until=LONG_AGO + timedelta(days=1))
            with pytest.raises(BadTlsFiles, match="expired at 2010-01-02"):
                await rig.listeners.reload_tls()
            assert await shown(rig, files) == before

    run(scenario())


# The files


def test_what_is_out_of_date_is_named(files: dict[str, Path], authority: trustme.CA) -> None:
    write_pair(authority, files["tls_cert"], files["tls_key"], until=RECENTLY)
    files["crl"].write_bytes(revocation_list(authority, since=datetime(2030, 1, 1, tzinfo=UTC)))
    loaded = load(settings(**gateway_files(files), tls_client_ca=files["ca"], tls_crl=files["crl"]))
    assert loaded
    assert loaded.faults(datetime(2025, 1, 1, tzinfo=UTC)) == [
        f"{files['tls_cert']} expired at 2020-01-01 00:00 UTC.",
        f"{files['crl']} is not valid before 2030-01-01 00:00 UTC.",
    ]
    assert loaded.faults(datetime(2019, 1, 1, tzinfo=UTC)) == [
        f"{files['crl']} is not valid before 2030-01-01 00:00 UTC."
    ]


def test_an_expired_authority_is_named_if_it_is_the_only_one(
    files: dict[str, Path], authority: trustme.CA
) -> None:
    with_authority = settings(**gateway_files(files), tls_client_ca=files["ca"])
    now = datetime(2026, 1, 1, tzinfo=UTC)
    former = (
        authority.issue_cert("former", not_before=LONG_AGO, not_after=RECENTLY).cert_chain_pems[0].bytes()
    )
    files["ca"].write_bytes(former + authority.cert_pem.bytes())
    loaded = load(with_authority)
    assert loaded
    assert loaded.faults(now) == []
    files["ca"].write_bytes(former)
    loaded = load(with_authority)
    assert loaded
    assert loaded.faults(now) == [f"{files['ca']} expired at 2020-01-01 00:00 UTC."]
    assert loaded.until == RECENTLY


def test_a_file_system_that_hangs_is_given_up(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(tls, "load", lambda _: answers.wait())
    reader = TlsFiles(settings(**gateway_files(files)), timeout=0.05)
    for _ in range(2):
        with pytest.raises(NotRead, match=r"The TLS files could not be read within 0\.05 s\."):
            reader.load_now()
    answers.set()


def settings(**given: Any) -> Settings:
    return Settings(instance_id="gw-1", tls_listen=(LOCAL,), **given)


def test_without_a_listener_there_is_nothing_to_load() -> None:
    assert load(Settings(instance_id="gw-1")) is None


def test_old_versions_of_tls_are_not_spoken(files: dict[str, Path]) -> None:
    loaded = load(settings(**gateway_files(files)))
    assert loaded
    assert loaded.context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_one_file_may_hold_the_certificate_and_its_key(files: dict[str, Path]) -> None:
    both = files["tls_cert"]
    both.write_bytes(files["tls_key"].read_bytes() + both.read_bytes())
    assert load(settings(tls_cert=both))
    both.write_text("hello")
    with pytest.raises(BadTlsFiles, match=r"^\S+ does not hold a certificate and its key in PEM\.$"):
        load(settings(tls_cert=both))


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
    "a pipe": (
        lambda files: (files["tls_key"].unlink(), os.mkfifo(files["tls_key"])),
        r"tls_key.pem cannot be read: not a regular file",
    ),
    "not PEM": (
        lambda files: files["tls_cert"].write_text("hello"),
        r"do not hold a certificate and its key",
    ),
    "not an authority": (lambda files: files["ca"].write_text("hello"), r"does not hold certificates in PEM"),
    "passphrase": (protect, r"tls_key.pem has a passphrase"),
    "another key": (
        lambda files: trustme.CA().issue_cert("x.example").private_key_pem.write_to_path(files["tls_key"]),
        r"tls_key.pem is not the key of the certificate",
    ),
    "no revocation list": (lambda files: files["crl"].unlink(), r"crl.pem cannot be read: No such file"),
    "not a revocation list": (
        lambda files: files["crl"].write_text("hello"),
        r"crl.pem does not hold a revocation list",
    ),
    "a revocation list cut short": (
        lambda files: files["crl"].write_bytes(files["crl"].read_bytes()[:-40]),
        r"crl.pem does not hold a revocation list",
    ),
    "authorities in the place of a revocation list": (
        lambda files: files["crl"].write_bytes(files["crl"].read_bytes() + files["ca"].read_bytes()),
        r"crl.pem holds certificates",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_an_unusable_file_is_one_sentence_and_no_start(files: dict[str, Path], name: str) -> None:
    break_it, words = BREAKS[name]
    break_it(files)
    with pytest.raises(BadTlsFiles, match=words):
        load(settings(**gateway_files(files), tls_client_ca=files["ca"], tls_crl=files["crl"]))
    args = ["run", "--tls-listen", "127.0.0.1:0", "--tls-client-ca", str(files["ca"])]
    args += ["--tls-crl", str(files["crl"])]
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
        (["--tls-ciphers", "AES128-SHA"], "--tls-listen"),
        (["--tls-listen", "127.0.0.1:0", "--tls-crl", "crl.pem"], "--tls-client-ca"),
        (["--tls-min-version", "1.1"], "1.2"),
        (["--tls-ciphers", "BOGUS"], "OpenSSL finds no cipher in 'BOGUS'"),
        (["--tls-ciphers", ""], "OpenSSL finds no cipher in ''"),
        (["--tls-ciphers", "aNULL:eNULL"], "authenticates and encrypts"),
        (["--tls-ciphers", "ECDHE-RSA-AES128-GCM-SHA256:AES128-SHAA"], "no cipher 'AES128-SHAA'"),
        (["--tls-ciphers", "HIGH:TLS_AES_128_GCM_SHA256"], "TLS 1.3 cannot be selected"),
        (["--tls-listen", "127.0.0.1:0", "--tls-ciphers", "HIGH", "--tls-min-version", "1.3"], "rules out"),
    ],
)
def test_contradicting_options_are_an_error(args: list[str], words: str) -> None:
    result = CliRunner().invoke(cli, ["run", *args])
    assert result.exit_code == 2
    assert words in result.stderr
