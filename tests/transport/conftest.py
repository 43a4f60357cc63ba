"""What the tests of the transport share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import fakeredis
import pytest
import trustme
import uvloop
from click.testing import CliRunner
from freezegun.api import FrozenDateTimeFactory

from tests.fake_client import FakeClient
from tests.rig.certificates import revocation_list, write_pair
from tests.transport.command_line import Telgw
from tests.transport.command_rig import CommandRig
from tests.transport.connection_rig import ConnectionRig, MakeConnections
from tests.transport.gateway_rig import CallRecorder, idle_gateway
from tests.transport.listener_rig import Run
from transport.cli import cli, streams
from transport.daemon.gateway import Gateway


@pytest.fixture
def make_commands(frozen: FrozenDateTimeFactory) -> Iterator[Callable[..., CommandRig]]:
    """Sets up command sides; each is audited when the test ends."""
    rigs: list[CommandRig] = []

    def make(**given: object) -> CommandRig:
        rigs.append(CommandRig(frozen, **given))  # type: ignore[arg-type]
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.audit()


@pytest.fixture
def commands(make_commands: Callable[..., CommandRig]) -> CommandRig:
    """A command side with the default settings."""
    return make_commands()


@pytest.fixture
async def make_connections(frozen: FrozenDateTimeFactory) -> MakeConnections:
    """Sets up connections whose sockets are lists of bytes."""
    return partial(ConnectionRig, frozen)


@pytest.fixture
async def connections(make_connections: MakeConnections) -> ConnectionRig:
    """Such connections with the default settings."""
    return make_connections()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> CallRecorder:
    """Records calls of the parts of a gateway."""
    return CallRecorder(monkeypatch)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """A gateway that has not started."""
    async with idle_gateway() as gateway:
        yield gateway


# The command line


@pytest.fixture
def telgw(monkeypatch: pytest.MonkeyPatch) -> Telgw:
    """Runs a verb in this process, without a terminal and without settings of the environment."""
    for name in ("TELGW_CONFIG", "TELGW_REDIS", "TELGW_REDIS_FILE", "TELGW_LISTEN"):
        monkeypatch.delenv(name, raising=False)
    return lambda *args, **more: CliRunner().invoke(cli, [str(arg) for arg in args], **more)


@pytest.fixture
def telgw_on_redis(telgw: Telgw, fake_server: fakeredis.FakeServer, monkeypatch: pytest.MonkeyPatch) -> Telgw:
    """Runs a verb on an in-memory Redis."""
    monkeypatch.setattr(streams, "connect", lambda *_, **__: FakeClient(server=fake_server))
    monkeypatch.setenv("TELGW_REDIS", "redis://nowhere")
    return telgw


@pytest.fixture
def key_prefix(monkeypatch: pytest.MonkeyPatch) -> str:
    """The key prefix of the verbs."""
    prefix = "{fleet}:"
    monkeypatch.setenv("TELGW_KEY_PREFIX", prefix)
    return prefix


# TLS


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """The authority of the gateway's certificate."""
    return trustme.CA()


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> dict[str, Path]:
    """The certificate of the gateway, its key, its authority, and an empty revocation list of that."""
    paths = {name: tmp_path / f"{name}.pem" for name in ("tls_cert", "tls_key", "ca", "crl")}
    write_pair(authority, paths["tls_cert"], paths["tls_key"])
    authority.cert_pem.write_to_path(paths["ca"])
    paths["crl"].write_bytes(revocation_list(authority))
    return paths


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, frozen: FrozenDateTimeFactory) -> Iterator[Run]:
    """Runs a scenario on each event loop."""
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run
