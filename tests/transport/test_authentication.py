"""How a device has proved who it is, in the events of its session and of its commands."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

import pytest
import trustme
from freezegun.api import FrozenDateTimeFactory

from tests.transport.command_rig import IMEI
from tests.transport.connection_rig import ConnectionRig
from tests.transport.listener_rig import ListenerRig, Run, gateway_files, identify, trusting
from transport.teltonika.command import encode_answer
from transport.teltonika.frame import CODEC_12

Files = dict[str, Path]


async def auth_of(rig: ListenerRig, context: ssl.SSLContext | None) -> str:
    async with rig.device(context) as streams:
        await identify(streams)
        return rig.connections.session_log[-1].auth


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_device_without_a_certificate_has_proved_nothing(
    run: Run, frozen: FrozenDateTimeFactory, files: Files, encrypted: bool
) -> None:
    async def scenario() -> None:
        async with ListenerRig(frozen, **gateway_files(files)) as rig:
            context = trusting(files) if encrypted else None
            assert await auth_of(rig, context) == ("tls" if encrypted else "plain")

    run(scenario())


def test_a_certificate_is_named_by_its_hash(
    run: Run, frozen: FrozenDateTimeFactory, files: Files, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "clients.pem")
    issued = authority.issue_cert(IMEI)
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "device.pem")
    der = ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())
    context = trusting(files)
    context.load_cert_chain(tmp_path / "device.pem")

    async def scenario() -> None:
        given = gateway_files(files) | {"tls_client_ca": tmp_path / "clients.pem"}
        async with ListenerRig(frozen, **given) as rig:
            assert await auth_of(rig, context) == f"cert:{hashlib.sha256(der).hexdigest()}"

    run(scenario())


async def test_a_command_tells_of_the_session_that_it_was_sent_on(connections: ConnectionRig) -> None:
    connection, _ = connections.ready()
    connections.at(2.5)
    commands = connections.commands
    commands.ledger.hold(IMEI, commands.settings.instance_id)
    commands.ask()
    commands.ledger.commit()
    connection.received(encode_answer(CODEC_12, IMEI, b"done"))
    commands.ledger.commit()
    told = [(e.state, e.peer, e.auth, e.session_age_ms) for e in commands.ledger.events("c-1")]
    assert told == [
        ("queued", "", "", None),
        ("sent", "10.0.0.1:40000", "plain", 2500),
        ("responded", "10.0.0.1:40000", "plain", 2500),
    ]
