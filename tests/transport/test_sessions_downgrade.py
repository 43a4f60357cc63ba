"""A session without TLS never takes the place of one that has it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from freezegun.api import FrozenDateTimeFactory
from structlog.testing import capture_logs

from fsm.reasons import REJECTED
from fsm.registration import Registered, RegisterResult
from tests.transport.desk import IMEI
from tests.transport.door import Door, Run, answer, gateway_files, greet, trusting, until
from tests.transport.wire import FRAME, Wire
from transport.teltonika.avl import encode_ack
from transport.teltonika.handshake import ACCEPT, REJECT, encode_handshake

Files = dict[str, Path]


def test_a_plain_connection_does_not_supersede_one_with_tls_here(
    run: Run, frozen: FrozenDateTimeFactory, files: Files
) -> None:
    async def scenario() -> None:
        async with Door(frozen, **gateway_files(files)) as door, door.device(trusting(files)) as secure:
            await greet(secure)
            holder = door.wire.sessions.by_imei[IMEI]
            with capture_logs() as logs:
                for _ in range(2):
                    async with door.device(None) as (reader, writer):
                        writer.write(encode_handshake(IMEI))
                        assert await reader.readexactly(1) == REJECT
                        assert await answer(reader) == b""
            assert (door.wire.sessions.by_imei[IMEI], holder.closed) == (holder, False)
            (told,) = [line for line in logs if line["event"] == "plain_refused"]
            assert (told["imei"], told["held_by"], told["log_level"]) == (IMEI, holder.peer, "warning")
            assert told["peer"].startswith("127.0.0.1:")
            assert len(door.wire.registrar.registered) == 1

            secure[1].transport.abort()
            await until(lambda: IMEI not in door.wire.sessions.by_imei)
            async with door.device(None) as plain:
                await greet(plain)
                async with door.device(trusting(files)) as again:
                    await greet(again)
                    assert door.wire.sessions.by_imei[IMEI].secure

    run(scenario())


INSECURE = RegisterResult(Registered.INSECURE, "gw-2")


@pytest.mark.parametrize("greeted", [False, True])
async def test_a_plain_session_does_not_supersede_tls_elsewhere(
    frozen: FrozenDateTimeFactory, greeted: bool
) -> None:
    wire = Wire(frozen)
    connection, transport = wire.identify()
    connection.data_received(FRAME)
    if greeted:
        connection.registered(RegisterResult(Registered.FAILED))
        await asyncio.sleep(0)
        wire.telemetry.confirm()
    with capture_logs() as logs:
        connection.registered(INSECURE)
    await asyncio.sleep(0)
    assert transport.written == ([ACCEPT, encode_ack(1)] if greeted else [REJECT])
    assert wire.telemetry.batches == []
    assert (connection.closed, connection.close_reason, transport.closing) == (True, REJECTED, True)
    assert [(line["event"], line["held_by"], line["peer"]) for line in logs] == [
        ("plain_refused", "gw-2", "10.0.0.1:40000")
    ]
    assert wire.desk.metrics.registry.get_sample_value("teltonika_plain_refused_total") == 1


async def test_one_that_has_closed_its_side_is_turned_back_too(frozen: FrozenDateTimeFactory) -> None:
    wire = Wire(frozen)
    connection, transport = wire.identify()
    assert connection.eof_received()
    connection.registered(INSECURE)
    assert (transport.written, transport.closing) == ([REJECT], True)


async def test_a_closed_connection_is_not_refused(frozen: FrozenDateTimeFactory) -> None:
    wire = Wire(frozen)
    connection, transport = wire.identify()
    connection.close("idle")
    connection.registered(INSECURE)
    assert transport.written == []
