"""What the tests of the transport share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import trustme
import uvloop
from freezegun.api import FrozenDateTimeFactory

from tests.rig.certificates import revocation_list, write_pair
from tests.transport.desk import Desk
from tests.transport.diary import Diary, idle_gateway
from tests.transport.door import Run
from tests.transport.wire import MakeWire, Wire
from transport.daemon.gateway import Gateway


@pytest.fixture
def make_desk(frozen: FrozenDateTimeFactory) -> Iterator[Callable[..., Desk]]:
    """Sets up desks; every one is audited when the test ends."""
    desks: list[Desk] = []

    def make(**given: object) -> Desk:
        desks.append(Desk(frozen, **given))  # type: ignore[arg-type]
        return desks[-1]

    yield make
    for desk in desks:
        desk.audit()


@pytest.fixture
def desk(make_desk: Callable[..., Desk]) -> Desk:
    """A desk with the default settings."""
    return make_desk()


@pytest.fixture
async def make_wire(frozen: FrozenDateTimeFactory) -> MakeWire:
    """Sets up sessions whose sockets are lists of bytes."""
    return partial(Wire, frozen)


@pytest.fixture
async def wire(make_wire: MakeWire) -> Wire:
    """Such sessions with the default settings."""
    return make_wire()


@pytest.fixture
def diary(monkeypatch: pytest.MonkeyPatch) -> Diary:
    """Keeps what the parts of a gateway are asked for."""
    return Diary(monkeypatch)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """One that has not begun."""
    async with idle_gateway() as gateway:
        yield gateway


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
