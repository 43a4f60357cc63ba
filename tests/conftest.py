"""What the tests share: tiers, a frozen clock, an imitation of Redis, and real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from pathlib import Path
from typing import Any, cast

import fakeredis
import freezegun
import pytest
from freezegun import freeze_time
from freezegun.api import FrozenDateTimeFactory
from hypothesis import HealthCheck, settings
from redis import Redis as BlockingRedis
from redis.asyncio import Redis

from store.client.client import connect
from tests import tiers
from tests.fake_client import FakeClient
from tests.in_memory.client import Client as InMemoryClient
from tests.in_memory.client import DirectWire
from tests.in_memory.server import HostClock, Server
from tests.rig.local import LocalServer

REDIS_SERVER = Path("/usr/bin/redis-server")
CANCELS = 50
"""How often a task is cancelled: Python 3.11 can lose a cancellation inside `asyncio.wait_for`."""

# What measures how long tests take is not frozen.
freezegun.configure(extend_ignore_list=["_pytest.timing"])
# How long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    tiers.add_options(parser)
    parser.addoption("--seeds", type=int, default=None, help="How many seeds the simulation runs.")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    tiers.choose(config)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        tiers.mark(item, Path(__file__).parent)
    left_out = [item for item in items if not tiers.wanted(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if tiers.wanted(item)]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool, bool]:
    if not hasattr(item.config, "workerinput"):
        return (yield)
    with tiers.alone(item, Path(item.config.option.basetemp).parent):
        return (yield)


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether long rounds are wanted."""
    return bool(request.config.getoption("--long"))


@pytest.fixture(scope="session")
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether all of a table is wanted: with --all, or --long."""
    return tiers.thorough(request.config)


@pytest.fixture
def frozen() -> Iterator[FrozenDateTimeFactory]:
    """The one frozen clock: `tick` moves it. The event loop's own timers stay real."""
    with freeze_time("2026-01-01T00:00:00Z", real_asyncio=True) as clock:
        yield clock


@pytest.fixture
def fake_server() -> fakeredis.FakeServer:
    """The imitation behind `fake_redis`; ``connected = False`` makes it refuse commands."""
    return fakeredis.FakeServer(version=(7,))


@pytest.fixture
async def fake_redis(fake_server: fakeredis.FakeServer) -> AsyncIterator[Redis]:
    """A client of an imitation of Redis 7. It blocks wrongly and never runs out of memory."""
    client = FakeClient(server=fake_server)
    yield client
    fake_server.connected = True
    await client.aclose()


BACKENDS = [
    "in_memory",
    "fake",
    pytest.param("embedded_server", marks=pytest.mark.redis),
    pytest.param("redis7_server", marks=[pytest.mark.redis, pytest.mark.slow]),
]
"""What a client may speak to: the in-memory server, fakeredis, and real servers. See `tests/contract`."""


@pytest.fixture(params=BACKENDS)
async def any_redis(request: pytest.FixtureRequest, fake_redis: Redis) -> AsyncIterator[Redis]:
    """A client of each backend in turn, which is empty."""
    if request.param == "in_memory":
        yield cast(Redis, InMemoryClient(DirectWire(Server(HostClock()))))
    elif request.param == "fake":
        yield fake_redis
    else:
        client = connect(request.getfixturevalue(request.param).url, purpose="test")
        await client.flushall()
        yield client
        await client.aclose()


@pytest.fixture(scope="session")
def embedded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """The server of the `embedded` extra, on a free port."""
    with LocalServer.start(tmp_path_factory.mktemp("valkey"), 0) as server:
        yield server


@pytest.fixture(scope="session")
def redis7_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """The installed ``redis-server``, started in the same way."""
    if not REDIS_SERVER.exists():
        pytest.skip("redis-server is not installed")
    with LocalServer.start(tmp_path_factory.mktemp("redis"), 0, binary=REDIS_SERVER) as server:
        yield server


@pytest.fixture(scope="session", params=["valkey", pytest.param("redis7", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest) -> LocalServer:
    """Each real server in turn."""
    name = "embedded_server" if request.param == "valkey" else "redis7_server"
    found = request.getfixturevalue(name)
    assert isinstance(found, LocalServer)
    return found


@pytest.fixture
def redis_url(server: LocalServer) -> str:
    """The URL of an empty real server."""
    with BlockingRedis(host="127.0.0.1", port=server.port, protocol=2) as blocking:
        blocking.flushall()
        blocking.config_set("maxmemory", 0)
    return server.url


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty real server, as the gateway makes them."""
    connected = connect(redis_url, purpose="test")
    yield connected
    await connected.aclose()


@pytest.fixture
async def spawn() -> AsyncIterator[Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]]:
    """Runs a coroutine beside the test, and ends it with the test."""
    tasks: list[asyncio.Task[None]] = []

    def start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        tasks.append(asyncio.create_task(work))
        return tasks[-1]

    yield start
    for _ in range(CANCELS):
        for task in tasks:
            task.cancel()
        if not tasks or not (await asyncio.wait(tasks, timeout=0.1))[1]:
            break
    for task in tasks:
        if not task.cancelled() and (error := task.exception()):
            raise error
