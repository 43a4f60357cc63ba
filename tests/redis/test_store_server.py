"""What the imitation of Redis cannot show: clients, scripts and trimming on real servers."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from fsm.registration import Registered, RegisterResult
from store.client.client import connect
from store.client.errors import CallFailed
from store.client.script import Script
from store.fleet.heartbeat import Heartbeat
from store.fleet.registry import Registrar
from store.keys import Keys
from store.streams.trimming import trim_stream
from tests.rig.local import LocalServer
from tests.rig.proxy import proxy
from tests.store.test_registry import HERE

pytestmark = pytest.mark.redis

KEYS = Keys()


def ignore(*_: object) -> None:
    """A hook that nobody listens to."""


async def test_a_client_says_what_it_is_for(client: Redis) -> None:
    assert await client.client_getname() == "telgw:test"


async def test_a_client_speaks_through_a_unix_socket(embedded_server: LocalServer) -> None:
    path = embedded_server.socket
    if len(str(path)) > 107:
        pytest.skip("the path of the test is too long for a socket")
    client = connect(f"unix://{path}?db=0", purpose="socket")
    assert await client.ping()
    await client.aclose()


@pytest.mark.parametrize(
    ("hangs", "error"), [(False, CallFailed), (True, CallFailed)], ids=["reset", "silent"]
)
async def test_a_write_whose_reply_is_lost_is_not_repeated(
    client: Redis, server: LocalServer, hangs: bool, error: type[Exception]
) -> None:
    """One reply is lost; a client that tried again would be served at once, and store a second entry."""
    async with proxy(server.port) as way:
        lossy = connect(way.url, purpose="lossy")
        await lossy.ping()
        lost = way.fault("lose", lambda request: request.words[0] == b"XADD", 1, hangs=hangs)
        with pytest.raises(error):
            await lossy.xadd("stream", {"field": "value"})
        await lossy.aclose()
    assert (lost.met, await client.xlen("stream")) == (1, 1)


async def test_a_script_that_the_server_forgot_is_sent_whole(client: Redis) -> None:
    script = Script("heartbeat.lua")
    names = [KEYS.heartbeat("gw-1"), KEYS.boot("gw-1"), KEYS.instances, KEYS.holder("gw-1")]
    await client.script_flush()
    for _ in range(2):
        assert (
            await script(client, names, ["renew", "gw-1", "boot", "EX", 90, "", "", "boot", "boot"])
            > 1_700_000_000_000
        )


async def test_a_storm_of_registrations_and_a_shutdown(client: Redis) -> None:
    registrar = Registrar(client, KEYS, "gw-1", "boot", on_failure=ignore, on_fenced=ignore)
    sessions = [(f"{number:015}", f"s{number}") for number in range(10_000)]
    results: list[RegisterResult] = []
    for imei, session in sessions:
        registrar.register(imei, session, HERE, results.append)
    registrar.stop()
    await registrar.run()
    assert results == [RegisterResult(Registered.REGISTERED)] * 10_000
    assert await client.hlen(KEYS.registry) == 10_000
    assert await registrar.unregister_all(sessions, 10) == 0
    assert await client.exists(KEYS.registry, KEYS.sessions) == 0


async def test_an_instance_lives_and_is_released(client: Redis) -> None:
    hooks = {"on_renewed": ignore, "on_failure": ignore, "on_fenced": ignore}
    heartbeat = Heartbeat(client, KEYS, "gw-1", "boot", 30, 90, **hooks)  # type: ignore[arg-type]
    await heartbeat.take_over()
    assert 88 <= await client.ttl(KEYS.heartbeat("gw-1")) <= 90
    await heartbeat.release()
    assert await client.exists(KEYS.heartbeat("gw-1"), KEYS.boot("gw-1")) == 0


async def test_trimming_removes_whole_nodes_and_never_what_is_unread(client: Redis) -> None:
    async with client.pipeline(transaction=False) as pipeline:
        for number in range(1, 1001):
            pipeline.xadd("stream", {"number": str(number)}, id=f"{number}-0")
        await pipeline.execute()
    await client.xgroup_create("stream", "group", "0")
    [(_, entries)] = await client.xreadgroup("group", "reader", {"stream": ">"}, count=650)
    await client.xack("stream", "group", *(entry_id for entry_id, _ in entries[:550]))
    trimmed = await trim_stream(client, "stream", 10_000, 0, 2000)
    assert (trimmed.entries, trimmed.unread) == (500, 0)
    trimmed = await trim_stream(client, "stream", 300, 0, 2000)
    assert (trimmed.entries, trimmed.unread) == (200, 150)
    assert await client.xlen("stream") == 300


async def test_a_megastream_is_trimmed_in_steps(client: Redis) -> None:
    fill = "for i = 1, 10000 do redis.call('XADD', KEYS[1], ARGV[1] + i .. '-0', 'f', 'v') end"
    for start in range(0, 250_000, 10_000):
        await client.execute_command("EVAL", fill, 1, "stream", start)  # type: ignore[no-untyped-call]
    assert (await trim_stream(client, "stream", 1000, 10**9, 0)).entries == 249_000
