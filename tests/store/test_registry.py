"""The registry names the instance that holds a device, and nobody deletes what is not theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import fakeredis
import pytest
from redis.asyncio import Redis

from fsm.registration import Registered, RegisterResult
from store.fleet.registry import Registrar
from store.keys import Keys

KEYS = Keys("{fleet}:")
IMEI = "356307042441013"

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

    def register(self, session: str, imei: str = IMEI) -> None:
        def done(result: RegisterResult) -> None:
            self.results[session] = result
            self.changed.set()

        self.registrar.register(imei, session, done)

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
    return await client.hget(KEYS.registry, imei), await client.hget(KEYS.sessions, imei)


async def beat(client: Redis, instance: str) -> None:
    await client.set(KEYS.heartbeat(instance), "1")


async def test_the_first_registration_of_a_session_wins_and_names_who_held_the_device(
    gateway: Make, fake_redis: Redis
) -> None:
    await beat(fake_redis, "gw-1")
    one, two = gateway("gw-1"), gateway("gw-2")
    one.register("s1")
    assert (one.results, one.registrar.depth) == ({}, 1)
    await one.finish()
    two.register("s2")
    await two.finish()
    assert one.results == {"s1": RegisterResult(Registered.REGISTERED, "")}
    assert two.results == {"s2": RegisterResult(Registered.REGISTERED, "gw-1")}
    assert await entry(fake_redis) == (b"gw-2", b"s2")


async def test_an_old_session_does_not_delete_the_entry_of_a_live_one_on_the_same_instance(
    gateway: Make, fake_redis: Redis
) -> None:
    one = gateway("gw-1")
    one.register("old")
    one.register("new")
    one.registrar.unregister(IMEI, "old")
    await one.finish()
    assert await entry(fake_redis) == (b"gw-1", b"new")
    one.registrar.unregister(IMEI, "new")
    await one.finish()
    assert await entry(fake_redis) == (None, None)


async def test_an_instance_that_lost_a_device_leaves_the_new_holder_alone(
    gateway: Make, fake_redis: Redis
) -> None:
    one, two = gateway("gw-1"), gateway("gw-2")
    two.register("s2")
    await two.finish()
    one.registrar.unregister(IMEI, "s1")
    await one.finish()
    assert await entry(fake_redis) == (b"gw-2", b"s2")


async def test_a_gateway_that_writes_no_tokens_keeps_its_entry(gateway: Make, fake_redis: Redis) -> None:
    one = gateway("gw-1")
    one.register("s1")
    await one.finish()
    await fake_redis.hset(KEYS.registry, IMEI, "foreign")
    one.registrar.unregister(IMEI, "s1")
    await one.finish()
    assert await entry(fake_redis) == (b"foreign", None)


async def test_an_entry_of_ours_without_a_token_is_ours_to_delete(gateway: Make, fake_redis: Redis) -> None:
    await fake_redis.hset(KEYS.registry, IMEI, "gw-1")
    one = gateway("gw-1")
    one.registrar.unregister(IMEI, "s1")
    await one.finish()
    assert await entry(fake_redis) == (None, None)


@pytest.mark.parametrize(
    ("holder", "alive", "status"),
    [
        (None, False, Registered.REGISTERED),
        ("gw-1", True, Registered.REGISTERED),
        ("gw-2", False, Registered.REGISTERED),
        ("gw-2", True, Registered.SUPERSEDED),
    ],
)
async def test_a_deferred_registration_yields_to_a_living_holder_only(
    gateway: Make,
    fake_redis: Redis,
    spawn: Any,
    holder: str | None,
    alive: bool,
    status: Registered,
) -> None:
    if holder:
        await fake_redis.hset(KEYS.registry, IMEI, holder)
        await fake_redis.hset(KEYS.sessions, IMEI, "theirs")
    if alive:
        await beat(fake_redis, str(holder))
    one = gateway("gw-1")
    spawn(one.registrar.run())
    assert await one.registrar.reconcile([(IMEI, "ours")]) == [RegisterResult(status, holder or "")]
    won = status is Registered.REGISTERED
    assert await entry(fake_redis) == ((b"gw-1", b"ours") if won else (b"gw-2", b"theirs"))


async def test_a_registration_that_fails_is_counted_told_and_not_repeated(
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
    await one.registrar.reconcile([(IMEI, "s1")])
    assert await entry(fake_redis) == (b"gw-1", b"s1")


async def test_the_end_of_a_session_is_repeated_until_redis_has_heard_it(
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


async def test_stopping_ends_the_task_though_redis_is_away(
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


async def test_at_shutdown_our_entries_go_and_those_of_others_stay(gateway: Make, fake_redis: Redis) -> None:
    one = gateway("gw-1")
    sessions = [(f"{number:015}", f"s{number}") for number in range(1200)]
    for imei, session in sessions:
        one.register(session, imei)
    await one.finish()
    await fake_redis.hset(KEYS.registry, sessions[7][0], "gw-2")
    await fake_redis.hset(KEYS.sessions, sessions[7][0], "theirs")
    assert await one.registrar.unregister_all(sessions, 10) == 0
    assert await fake_redis.hlen(KEYS.registry) == await fake_redis.hlen(KEYS.sessions) == 1
    assert await entry(fake_redis, sessions[7][0]) == (b"gw-2", b"theirs")


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


async def test_at_shutdown_a_redis_that_is_away_costs_no_time(
    gateway: Make, fake_server: fakeredis.FakeServer
) -> None:
    fake_server.connected = False
    assert await gateway("gw-1").registrar.unregister_all([(IMEI, "s1"), ("another", "s2")], 10) == 2


async def test_ends_that_redis_has_not_heard_are_told_at_shutdown(
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


async def test_a_process_that_was_replaced_changes_nothing_and_is_told_once(
    gateway: Make, fake_redis: Redis
) -> None:
    await fake_redis.set(KEYS.boot("gw-1"), "a newer process")
    one = gateway("gw-1")
    for number in range(700):
        one.register(f"s{number}", f"{number:015}")
    await one.registrar.run()
    assert (one.fenced, len(one.results)) == (1, 700)
    assert set(one.results.values()) == {RegisterResult(Registered.FENCED)}
    assert await fake_redis.hlen(KEYS.registry) == 0


async def test_holders_names_who_holds_each_device(gateway: Make, fake_redis: Redis) -> None:
    one = gateway("gw-1")
    one.register("s1")
    await one.finish()
    assert await one.registrar.holders([IMEI, "unknown"]) == {IMEI: "gw-1"}
    assert await one.registrar.holders([]) == {}
    assert await one.registrar.reconcile([]) == []


# With TLS and without


class Fleet:
    """Two instances that are alive."""

    def __init__(self, client: Redis) -> None:
        self.one, self.two = (Gateway(client, name, f"b{name}") for name in ("gw-1", "gw-2"))
        self._client = client

    async def live(self) -> None:
        for gateway in (self.one, self.two):
            await beat(self._client, gateway.name)
            await self._client.set(KEYS.boot(gateway.name), f"b{gateway.name}")


@pytest.fixture
async def fleet(fake_redis: Redis) -> Fleet:
    fleet = Fleet(fake_redis)
    await fleet.live()
    fleet.one.register("bgw-1-1-tls")
    await fleet.one.finish()
    return fleet


async def test_a_plain_session_does_not_take_a_device_from_a_live_one_with_tls(
    fleet: Fleet, fake_redis: Redis
) -> None:
    fleet.two.register("bgw-2-1")
    await fleet.two.finish()
    assert fleet.two.results == {"bgw-2-1": RegisterResult(Registered.INSECURE, "gw-1")}
    assert await entry(fake_redis) == (b"gw-1", b"bgw-1-1-tls")
    fleet.two.registrar.unregister(IMEI, "bgw-2-1")
    await fleet.two.finish()
    assert await entry(fake_redis) == (b"gw-1", b"bgw-1-1-tls")


async def test_a_session_with_tls_takes_a_device_from_any_other(fleet: Fleet, fake_redis: Redis) -> None:
    fleet.two.register("bgw-2-1-tls")
    await fleet.two.finish()
    assert await entry(fake_redis) == (b"gw-2", b"bgw-2-1-tls")


@pytest.mark.parametrize("end", ["closed", "no heartbeat", "another process", "nobody owns it", "no token"])
async def test_when_the_session_with_tls_is_dead_a_plain_one_is_welcome(
    fleet: Fleet, fake_redis: Redis, end: str
) -> None:
    if end == "closed":
        fleet.one.registrar.unregister(IMEI, "bgw-1-1-tls")
        await fleet.one.finish()
    elif end == "no heartbeat":
        await fake_redis.delete(KEYS.heartbeat("gw-1"))
    elif end == "another process":
        await fake_redis.set(KEYS.boot("gw-1"), "b-later")
    elif end == "nobody owns it":
        await fake_redis.delete(KEYS.boot("gw-1"))
    else:
        await fake_redis.hdel(KEYS.sessions, IMEI)
    fleet.two.register("bgw-2-1")
    await fleet.two.finish()
    assert await entry(fake_redis) == (b"gw-2", b"bgw-2-1")


@pytest.mark.parametrize(
    ("holder", "late", "wins"),
    [("1", "1-tls", True), ("1-tls", "1-tls", False), ("1", "1", False), ("1-tls", "1", False)],
)
async def test_a_late_registration_with_tls_takes_the_device_from_a_plain_session(
    gateway: Make, fake_redis: Redis, holder: str, late: str, wins: bool
) -> None:
    fleet = Fleet(fake_redis)
    await fleet.live()
    fleet.one.register(f"bgw-1-{holder}")
    await fleet.one.finish()
    asked = asyncio.ensure_future(fleet.two.registrar.reconcile([(IMEI, f"bgw-2-{late}")]))
    await asyncio.sleep(0)
    await fleet.two.finish()
    expected = (Registered.REGISTERED if wins else Registered.SUPERSEDED, "gw-1")
    assert [(result.status, result.holder) for result in await asked] == [expected]
    assert await fake_redis.hget(KEYS.registry, IMEI) == (b"gw-2" if wins else b"gw-1")


async def test_the_end_of_a_session_with_tls_removes_what_an_older_one_of_its_process_left(
    gateway: Make, fake_redis: Redis
) -> None:
    one = Gateway(fake_redis, "gw-1", "b")
    one.register("b-1-tls")
    one.registrar.unregister(IMEI, "b-2-tls")
    await one.finish()
    assert await entry(fake_redis) == (None, None)
