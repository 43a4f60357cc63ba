"""How the Redis side of a gateway is built: owners, time-outs and callbacks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fsm.reasons import STORE_UNAVAILABLE
from fsm.telemetry import UNDECODABLE, PendingFrame
from store.client.client import READER_MARGIN
from store.embedded import EmbeddedServer
from tests.transport.gateway_rig import CallRecorder, idle_gateway
from transport.daemon import backend as backends
from transport.daemon import process, run_gateway, trim_reports
from transport.daemon.exit_statuses import EXIT_FENCED
from transport.daemon.gateway import Gateway
from transport.settings import Settings


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with idle_gateway() as gateway:
        yield gateway
    await gateway.backend.close()


def test_no_move_is_made_before_the_id_is_owned(gateway: Gateway) -> None:
    backend = gateway.backend
    for taken in (False, True):
        backend.heartbeat.taken = taken
        assert (backend.ledger._owns(), backend.registrar._owns()) == (taken, taken)


async def nothing(*_: object) -> None:
    """A call that finds nothing."""


async def test_an_adopter_moves_only_while_it_owns_its_own_id(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict[str, Any]] = []

    def ledger(*_: object, **given: Any) -> object:
        made.append(given)
        return SimpleNamespace()

    class Adoption:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        async def adopt(self) -> None:
            made.append({"adopted": True})

    monkeypatch.setattr(backends, "Ledger", ledger)
    monkeypatch.setattr(backends, "Adoption", Adoption)
    monkeypatch.setitem(gateway.backend.clients, "janitor", SimpleNamespace(hget=nothing))
    await gateway.backend._adopt("gw-2")
    given, adopted = made
    assert (given["dead"], given["owns"](), adopted) == ("gw-2", False, {"adopted": True})
    given["on_fenced"]()
    assert gateway.exit_status == EXIT_FENCED


def test_reader_and_telemetry_clients_have_longer_timeouts(gateway: Gateway) -> None:
    clients = gateway.backend.clients
    timeouts = {
        name: client.connection_pool.connection_kwargs["socket_timeout"] for name, client in clients.items()
    }
    usual = timeouts["ledger"]
    assert timeouts["reader"] == backends.BLOCK_MS / 1000 + READER_MARGIN
    assert timeouts["telemetry"] > 2 * usual
    assert {timeouts[name] for name in timeouts.keys() - {"reader", "telemetry"}} == {usual}


@pytest.mark.parametrize(
    ("stream", "trimmed"), [("commands:responses", ""), ("sessions:events", "sessions:events"), ("off", "")]
)
async def test_a_stream_of_session_events_is_trimmed_once(stream: str, trimmed: str) -> None:
    settings = Settings(instance_id="gw-1", metrics=None, max_connections=10, session_events=stream)
    gateway = Gateway(settings, "redis://127.0.0.1:1")
    names = [caps.key for caps in gateway.backend.trimmer._caps.values() if caps.name == "sessions"]
    assert names == [trimmed] * bool(trimmed)
    await gateway.backend.close()


def test_trimmed_unread_entries_are_counted_and_logged(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr(
        trim_reports, "log", SimpleNamespace(warning=lambda event, **facts: lines.append({event: facts}))
    )
    for stream in ("telemetry", "responses", "sessions"):
        gateway.backend.trimmer._on_trimmed(stream, 3)
    count = gateway.metrics.registry.get_sample_value
    assert count("teltonika_telemetry_trimmed_unread_total") == 3
    assert count("teltonika_responses_trimmed_unread_total") == 3
    assert count("teltonika_session_events_trimmed_unread_total") == 3
    assert lines[0] == {"trimmed_unread": {"stream": "telemetry", "entries": 3}}
    assert len(lines) == 3


def test_a_frame_refused_by_redis_is_passed_to_the_sessions(
    gateway: Gateway,
) -> None:
    closed: list[str] = []
    batch = PendingFrame(b"1", b"8", 1, [b"{}"], lambda: None, UNDECODABLE)
    device = SimpleNamespace(awaits=lambda frame: frame is batch, close=closed.append)
    gateway.sessions.by_imei["1"] = cast(Any, device)
    assert gateway.backend.telemetry._on_refused is not None
    gateway.backend.telemetry._on_refused(batch)
    assert closed == [STORE_UNAVAILABLE]


async def test_every_client_is_closed(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = CallRecorder(monkeypatch)
    for name, client in gateway.backend.clients.items():
        calls.record_async(client, "aclose", entry=name)
    await gateway.backend.close()
    assert sorted(calls.entries) == sorted(gateway.backend.clients)
    monkeypatch.undo()


async def test_an_embedded_server_ends_with_its_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopped: list[str] = []
    server = SimpleNamespace(
        **{"url": "redis://127.0.0.1:1", "directory": "here", "port": 0, "pid": 1, "ended": lambda: False},
        is_up=lambda: True,
        stop=lambda: stopped.append("stop"),
    )

    async def fail(*_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(EmbeddedServer, "begin", lambda *_: cast(Any, server))
    monkeypatch.setattr(run_gateway, "_serve", fail)
    with pytest.raises(ZeroDivisionError):
        await process.serve(Settings(instance_id="gw-1", metrics=None, max_connections=10))
    assert stopped == ["stop"]
