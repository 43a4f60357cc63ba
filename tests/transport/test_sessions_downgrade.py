"""A session without TLS never takes the place of one that has it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from freezegun.api import FrozenDateTimeFactory
from structlog.testing import capture_logs

from fsm.reasons import REJECTED
from fsm.registration import Registered, RegisterResult
from tests.transport.command_rig import IMEI
from tests.transport.connection_rig import FRAME, ConnectionRig
from tests.transport.listener_rig import (
    ListenerRig,
    Run,
    gateway_files,
    identify,
    read_to_end,
    trusting,
    until,
)
from transport.teltonika.avl import encode_ack
from transport.teltonika.handshake import ACCEPT, REJECT, encode_handshake

Files = dict[str, Path]


def test_a_plain_connection_does_not_supersede_one_with_tls_here(
    run: Run, frozen: FrozenDateTimeFactory, files: Files
) -> None:
    async def scenario() -> None:
        async with ListenerRig(frozen, **gateway_files(files)) as rig, rig.device(trusting(files)) as secure:
            await identify(secure)
            holder = rig.connections.sessions.by_imei[IMEI]
            with capture_logs() as logs:
                for _ in range(2):
                    async with rig.device(None) as (reader, writer):
                        writer.write(encode_handshake(IMEI))
                        assert await reader.readexactly(1) == REJECT
                        assert await read_to_end(reader) == b""
            assert (rig.connections.sessions.by_imei[IMEI], holder.closed) == (holder, False)
            (told,) = [line for line in logs if line["event"] == "plain_refused"]
            assert (told["imei"], told["held_by"], told["log_level"]) == (IMEI, holder.peer, "warning")
            assert told["peer"].startswith("127.0.0.1:")
            assert len(rig.connections.registrar.registered) == 1

            secure[1].transport.abort()
            await until(lambda: IMEI not in rig.connections.sessions.by_imei)
            async with rig.device(None) as plain:
                await identify(plain)
                async with rig.device(trusting(files)) as again:
                    await identify(again)
                    assert rig.connections.sessions.by_imei[IMEI].secure

    run(scenario())


INSECURE = RegisterResult(Registered.INSECURE, "gw-2")


@pytest.mark.parametrize("accepted", [False, True])
async def test_a_plain_session_does_not_supersede_tls_elsewhere(
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
        connection.registered(INSECURE)
    await asyncio.sleep(0)
    assert transport.written == ([ACCEPT, encode_ack(1)] if accepted else [REJECT])
    assert connections.telemetry.batches == []
    assert (connection.closed, connection.close_reason, transport.closing) == (True, REJECTED, True)
    assert [(line["event"], line["held_by"], line["peer"]) for line in logs] == [
        ("plain_refused", "gw-2", "10.0.0.1:40000")
    ]
    assert connections.commands.metrics.registry.get_sample_value("teltonika_plain_refused_total") == 1


async def test_one_that_has_closed_its_side_is_turned_back_too(frozen: FrozenDateTimeFactory) -> None:
    connections = ConnectionRig(frozen)
    connection, transport = connections.identify()
    assert connection.eof_received()
    connection.registered(INSECURE)
    assert (transport.written, transport.closing) == ([REJECT], True)


async def test_a_closed_connection_is_not_refused(frozen: FrozenDateTimeFactory) -> None:
    connections = ConnectionRig(frozen)
    connection, transport = connections.identify()
    connection.close("idle")
    connection.registered(INSECURE)
    assert transport.written == []
