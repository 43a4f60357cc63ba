"""The registry names the instance that holds a device, and nobody deletes what is not theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import fakeredis
import pytest
from redis.asyncio import Redis

from fsm.registration import Registered, RegisterResult
from fsm.takeover import Claimant
from store.fleet.registry import Registrar
from store.keys import Keys

KEYS = Keys("{fleet}:")
IMEI = "356307042441013"
HERE = Claimant("10.0.0.1", "plain")

Make = Callable[[str], "Gateway"]


class Gateway:
    """One instance's registrar, with what its hooks were told."""

    def __init__(self, client: Redis, name: str, boot: str | None = None) -> None:
        self.name = name
        self.results: dict[str, RegisterResult] = {}
        self.failures: list[int] = []
        self.fenced = 0
        self.changed = asyncio.Event()
        self.registrar = Registrar(
            client,
            KEYS,
            name,
            boot or f"boot of {name}",
            on_failure=self.on_failure,
            on_fenced=self.on_fenced,
        )

    def on_failure(self, count: int) -> None:
        self.failures.append(count)
        self.changed.set()

    def on_fenced(self) -> None:
        self.fenced += 1

    def register(self, session: str, imei: str = IMEI, claimant: Claimant = HERE) -> None:
        def done(result: RegisterResult) -> None:
            self.results[session] = result
            self.changed.set()

        self.registrar.register(imei, session, claimant, done)

    async def finish(self) -> None:
        """Carry out what is queued."""
        self.registrar.stop()
        await self.registrar.run()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.changed.clear()
            await self.changed.wait()


@pytest.fixture
def gateway(fake_redis: Redis) -> Make:
    return lambda name: Gateway(fake_redis, name)


async def entry(client: Redis, imei: str = IMEI) -> tuple[bytes | None, bytes | None]:
    """The holder of a device, and the token of its session."""
    holder, value = await client.hget(KEYS.registry, imei), await client.hget(KEYS.sessions, imei)
    return holder, value and value.partition(b" ")[0]


async def renew_heartbeat(client: Redis, instance: str) -> None:
    await client.set(KEYS.heartbeat(instance), "1")


async def test_a_failed_registration_is_reported_and_not_repeated(
    gateway: Make, fake_redis: Redis, fake_server: fakeredis.FakeServer, spawn: Any
) -> None:
    one = gateway("gw-1")
    fake_server.connected = False
    one.register("s1")
    one.register("s2", "another")
    spawn(one.registrar.run())
    await one.until(lambda: len(one.results) == 2)
    assert (one.failures, set(one.results.values())) == ([2], {RegisterResult(Registered.FAILED)})
    fake_server.connected = True
    one.register("s3", "third")
    await one.until(lambda: "s3" in one.results)
    assert await fake_redis.hgetall(KEYS.registry) == {b"third": b"gw-1"}
    await one.registrar.reconcile([(IMEI, "s1", HERE)])
    assert await entry(fake_redis) == (b"gw-1", b"s1")


async def test_the_end_of_a_session_is_repeated_until_stored(
    gateway: Make, fake_redis: Redis, fake_server: fakeredis.FakeServer, spawn: Any
) -> None:
    one = gateway("gw-1")
    spawn(one.registrar.run())
    one.register("s1")
    await one.until(lambda: "s1" in one.results)
    fake_server.connected = False
    one.registrar.unregister(IMEI, "s1")
    one.register("s2")
    await one.until(lambda: "s2" in one.results)
    assert one.registrar.depth == 1
    fake_server.connected = True
    one.register("s3", "another")
    await one.until(lambda: "s3" in one.results)
    assert await entry(fake_redis) == (None, None)


async def test_a_stop_ends_the_task_during_an_outage(
    gateway: Make, fake_server: fakeredis.FakeServer
) -> None:
    one = gateway("gw-1")
    fake_server.connected = False
    one.registrar.unregister(IMEI, "s1")
    await one.finish()
    assert one.registrar.depth == 1


async def test_ten_thousand_registrations_are_coalesced(
    gateway: Make, fake_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = gateway("gw-1")
    for number in range(10_000):
        one.register(f"s{number}", f"{number:015}")
    calls = 0
    execute = fake_redis.execute_command

    async def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        return await execute(*arguments, **options)

    monkeypatch.setattr(fake_redis, "execute_command", counted)
    await one.finish()
    assert calls <= 21
    assert {result.status for result in one.results.values()} == {Registered.REGISTERED}
    assert await fake_redis.hlen(KEYS.registry) == await fake_redis.hlen(KEYS.sessions) == 10_000


async def test_at_shutdown_the_running_task_does_the_work_and_ends(
    gateway: Make, fake_redis: Redis, spawn: Any
) -> None:
    one = gateway("gw-1")
    task = spawn(one.registrar.run())
    one.register("s1")
    assert await one.registrar.unregister_all([(IMEI, "s1")], 10) == 0
    await task
    assert one.results["s1"].status is Registered.REGISTERED
    assert await entry(fake_redis) == (None, None)


async def test_an_outage_at_shutdown_costs_no_time(gateway: Make, fake_server: fakeredis.FakeServer) -> None:
    fake_server.connected = False
    assert await gateway("gw-1").registrar.unregister_all([(IMEI, "s1"), ("another", "s2")], 10) == 2


async def test_unstored_session_ends_are_stored_at_shutdown(
    gateway: Make, fake_redis: Redis, fake_server: fakeredis.FakeServer
) -> None:
    one = gateway("gw-1")
    await fake_redis.hset(KEYS.registry, IMEI, "gw-1")
    fake_server.connected = False
    one.registrar.unregister(IMEI, "s1")
    await one.finish()
    fake_server.connected = True
    assert await one.registrar.unregister_all([], 10) == 0
    assert await entry(fake_redis) == (None, None)
