"""Certificates of devices: whom they name, and what they may be used for."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from freezegun.api import FrozenDateTimeFactory
from structlog.testing import capture_logs

from fsm.reasons import REJECTED
from fsm.registration import Registered, RegisterResult
from tests.rig.certificates import device_certificate, write_pair
from tests.transport.command_rig import IMEI, OTHER_IMEI
from tests.transport.connection_rig import FRAME, ConnectionRig
from tests.transport.listener_rig import ListenerRig, Run, gateway_files, trusting
from transport.connection.certificate import CN, OFF, SAN, names
from transport.teltonika.avl import encode_ack
from transport.teltonika.handshake import ACCEPT, REJECT, encode_handshake

Files = dict[str, Path]
DNS, URI = x509.DNSName, x509.UniformResourceIdentifier
NAMES = {
    "dns": (DNS(IMEI),),
    "uri": (URI(f"urn:imei:{IMEI}"),),
    "one of several": (DNS("device.example"), DNS(OTHER_IMEI), DNS(IMEI)),
    "another device": (DNS(OTHER_IMEI), URI(f"urn:imei:{OTHER_IMEI}")),
    "the name as a URI": (URI(IMEI),),
    "the URI as a name": (DNS(f"urn:imei:{IMEI}"),),
    "no name": (),
}
NAMED = {"dns", "uri", "one of several"}


async def answer(rig: ListenerRig, context: ssl.SSLContext) -> bytes:
    """The byte that answers a device that says `IMEI`."""
    async with rig.device(context) as (reader, writer):
        writer.write(encode_handshake(IMEI))
        return await reader.readexactly(1)


def shows(files: Files, cert: Path, key: Path | None = None) -> ssl.SSLContext:
    """The side of a device that has a certificate."""
    context = trusting(files)
    context.load_cert_chain(cert, key)
    return context


def requiring(files: Files, frozen: FrozenDateTimeFactory, mode: str) -> ListenerRig:
    """A gateway that asks devices for a certificate."""
    return ListenerRig(frozen, **gateway_files(files), tls_client_ca=files["ca"], tls_bind_imei=mode)


def test_a_certificate_names_its_device(
    run: Run, frozen: FrozenDateTimeFactory, files: Files, authority: trustme.CA, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with requiring(files, frozen, SAN) as rig:
            for case, given in NAMES.items():
                cert = device_certificate(authority, tmp_path / "device.pem", *given, common_name=IMEI)
                with capture_logs() as logs:
                    assert await answer(rig, shows(files, cert)) == (ACCEPT if case in NAMED else REJECT), (
                        case
                    )
                told = [line["reason"] for line in logs if line["event"] == "device_refused"]
                assert set(told) <= {"certificate_name"}
        registry = rig.connections.commands.metrics.registry
        refused = registry.get_sample_value("teltonika_devices_refused_total", {"reason": "certificate_name"})
        assert refused == len(NAMES) - len(NAMED)

    run(scenario())


@pytest.mark.parametrize(
    ("mode", "common_name", "expected"),
    [(CN, IMEI, ACCEPT), (CN, OTHER_IMEI, REJECT), (OFF, "device", ACCEPT), (SAN, "device", ACCEPT)],
)
def test_the_operator_chooses_the_name_that_counts(
    run: Run,
    frozen: FrozenDateTimeFactory,
    files: Files,
    authority: trustme.CA,
    tmp_path: Path,
    mode: str,
    common_name: str,
    expected: bytes,
) -> None:
    async def scenario() -> None:
        async with requiring(files, frozen, mode) as rig:
            names = (DNS(IMEI),) if mode == SAN else (DNS(OTHER_IMEI),)
            cert = device_certificate(authority, tmp_path / "device.pem", *names, common_name=common_name)
            assert await answer(rig, shows(files, cert)) == expected

    run(scenario())


def test_the_certificate_of_the_gateway_is_no_device(
    run: Run, frozen: FrozenDateTimeFactory, files: Files, authority: trustme.CA, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with requiring(files, frozen, OFF) as rig:
            old = [
                path.rename(tmp_path / f"old-{path.name}") for path in (files["tls_cert"], files["tls_key"])
            ]
            write_pair(authority, files["tls_cert"], files["tls_key"])
            await rig.listeners.reload_tls()
            new = files["tls_cert"], files["tls_key"]
            for pair in (old, new):
                with capture_logs() as logs:
                    assert await answer(rig, shows(files, *pair)) == REJECT
                assert [line["reason"] for line in logs if line["event"] == "device_refused"] in (
                    ["gateway_certificate"],
                    [],
                )

    run(scenario())


def test_a_certificate_of_a_server_alone_is_no_device(
    run: Run, frozen: FrozenDateTimeFactory, files: Files, authority: trustme.CA, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with requiring(files, frozen, SAN) as rig:
            server, both = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
            for usages, accepted in (((server,), False), ((server, both), True), ((), True)):
                cert = device_certificate(authority, tmp_path / "device.pem", DNS(IMEI), usages=usages)
                with capture_logs() as logs:
                    try:
                        said = await answer(rig, shows(files, cert))
                    except (OSError, asyncio.IncompleteReadError):
                        said = b""
                assert said == (ACCEPT if accepted else b"")
                told = [line["reason"] for line in logs if line["event"] == "tls_failed"]
                assert told == ([] if accepted else ["unsuitable_certificate_purpose"])

    run(scenario())


def test_a_certificate_without_names_names_nobody() -> None:
    assert (names({}, IMEI, SAN), names({}, IMEI, CN), names({}, IMEI, OFF)) == (False, False, True)


# A device that was seen with a certificate

UNPROVED = RegisterResult(Registered.UNPROVED, "gw-2")


@pytest.mark.parametrize("accepted", [False, True])
async def test_a_device_that_had_a_certificate_is_refused_without(
    frozen: FrozenDateTimeFactory, accepted: bool
) -> None:
    connections = ConnectionRig(frozen)
    connection, transport = connections.identify()
    connection.received(FRAME)
    if accepted:
        connection.registered(RegisterResult(Registered.FAILED))
        await asyncio.sleep(0)
        connections.telemetry.confirm()
    with capture_logs() as logs:
        connection.registered(UNPROVED)
    assert transport.written == ([ACCEPT, encode_ack(1)] if accepted else [REJECT])
    assert (connection.closed, connection.close_reason) == (True, REJECTED)
    assert [(line["event"], line["reason"]) for line in logs] == [("device_refused", "certificate_missing")]


async def test_a_session_that_turns_out_to_lack_its_certificate_is_closed(
    frozen: FrozenDateTimeFactory,
) -> None:
    connections = ConnectionRig(frozen)
    connection, _ = connections.ready()
    connections.sessions.reconciled(connection.session_id, IMEI, UNPROVED)
    assert connection.close_reason == REJECTED
