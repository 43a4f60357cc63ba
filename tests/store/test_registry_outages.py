"""The registrar while Redis is away, and a registry that somebody else has written to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import fakeredis
import pytest
from redis.asyncio import Redis

from fsm.registration import Registered, RegisterResult
from store.fleet.registry import BATCH, Registrar
from tests.store.test_registry import HERE, IMEI, KEYS, Gateway, entry

TIME_LIMIT = 20.0
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


async def test_during_an_outage_registrations_fail_at_once(
    fake_redis: Redis, fake_server: fakeredis.FakeServer, spawn: Any
) -> None:
    one = Gateway(fake_redis, "gw-1")
    fake_server.connected = False
    for number in range(BATCH + 100):
        one.registrar.unregister(f"{number:015}", "gone")
    one.register("s1")
    one.register("s2", "another")
    task = spawn(one.registrar.run())
    await one.until(lambda: bool(one.failures))
    assert (one.failures, set(one.results.values())) == ([2], {RegisterResult(Registered.FAILED)})
    assert one.registrar.depth == BATCH + 100
    fake_server.connected = True
    await fake_redis.hset(KEYS.registry, IMEI, "gw-2")
    one.registrar.stop()
    await task
    if one.registrar.depth:  # the task ended in its pause
        await one.registrar.run()
    assert one.registrar.depth == 0
    assert await fake_redis.hgetall(KEYS.registry) == {IMEI.encode(): b"gw-2"}


async def test_the_end_of_a_session_is_kept_once_in_an_outage(
    fake_redis: Redis, fake_server: fakeredis.FakeServer, spawn: Any
) -> None:
    one = Gateway(fake_redis, "gw-1")
    fake_server.connected = False
    for _ in range(3):
        one.registrar.unregister(IMEI, "gone")
        one.registrar.unregister("another", "gone")
    one.register("s1")
    spawn(one.registrar.run())
    await one.until(lambda: bool(one.failures))
    assert one.registrar.depth == 2


async def test_a_binary_holder_name_does_no_harm(fake_redis: Redis, spawn: Any) -> None:
    await fake_redis.hset(KEYS.registry, mapping={IMEI: b"\xff\xfe", "another": "gw-2"})
    one = Gateway(fake_redis, "gw-1")
    assert await one.registrar.holders([IMEI, "another"]) == {IMEI: "\ufffd\ufffd", "another": "gw-2"}
    spawn(one.registrar.run())
    one.register("s1")
    one.register("s2", "third")
    await one.until(lambda: len(one.results) == 2)
    assert one.results["s1"] == RegisterResult(Registered.REGISTERED, "\ufffd\ufffd")
    assert await entry(fake_redis) == (b"gw-1", b"s1")


async def test_a_registration_lists_the_instance_after_a_data_loss(
    fake_redis: Redis,
) -> None:
    one, other = Gateway(fake_redis, "gw-1"), Gateway(fake_redis, "gw-2")
    other.registrar.unregister("another", "gone")
    one.register("s1")
    for gateway in (one, other):
        await gateway.finish()
    (found,) = (await fake_redis.hgetall(KEYS.instances)).items()
    assert found[0] == b"gw-1"
    assert int(found[1]) == pytest.approx(time.time() * 1000, abs=60_000)


@pytest.mark.parametrize("owned", [True, False])
async def test_a_late_registration_is_a_new_sign_of_life(fake_redis: Redis, owned: bool) -> None:
    """It was delayed until its process was dead and adopted."""
    await fake_redis.hset(KEYS.instances, "gw-1", "7")
    if owned:
        await fake_redis.set(KEYS.boot("gw-1"), "boot of gw-1")
    one = Gateway(fake_redis, "gw-1")
    one.register("s1")
    await one.finish()
    assert (await fake_redis.hgetall(KEYS.instances) == {b"gw-1": b"7"}) is owned


@pytest.mark.parametrize(("first", "then"), [("9", "a"), ("ff", "100")])
async def test_the_end_of_an_unregistered_session_removes_older_ones(
    fake_redis: Redis, first: str, then: str
) -> None:
    one = Gateway(fake_redis, "gw-1", boot="b00t")
    one.register(f"b00t-{first}")
    await one.finish()
    one.registrar.unregister(IMEI, f"b00t-{then}")
    await one.finish()
    assert await entry(fake_redis) == (None, None)


@pytest.mark.parametrize("held", ["b00t-b", "b00t-10", "0ther-9", "b00t-", "b00t-x", "foreign"])
async def test_the_end_of_a_session_leaves_entries_of_others(fake_redis: Redis, held: str) -> None:
    one = Gateway(fake_redis, "gw-1", boot="b00t")
    one.register(held)
    one.registrar.unregister(IMEI, "b00t-a")
    await one.finish()
    assert await entry(fake_redis) == (b"gw-1", held.encode())


async def test_waiting_registrations_are_bounded(fake_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.fleet.registry.QUEUED", 3)
    one = Gateway(fake_redis, "gw-1")
    for number in range(5):
        one.register(f"s{number}", f"{number:015}")
    one.registrar.unregister("000000000000001", "s1")
    await one.until(lambda: len(one.results) == 2)
    assert (one.registrar.depth, one.failures) == (3, [1, 1])
    assert set(one.results.values()) == {RegisterResult(Registered.FAILED)}
    assert await one.registrar.unregister_all([("000000000000009", "s9")], within=10.0) == 0


def ignore(*_: object) -> None:
    """A hook that nobody listens to."""


@pytest.fixture
def registrar(fake_redis: Redis) -> Registrar:
    return Registrar(fake_redis, KEYS, "gw-1", "boot-1", on_failure=ignore, on_fenced=ignore)


async def test_a_cancelled_wait_ends_no_registration(registrar: Registrar, fake_redis: Redis) -> None:
    """As a gateway does that stops: what is to be unregistered comes behind what nobody waits for."""
    waiting = asyncio.ensure_future(registrar.reconcile([("1", "s-1", HERE)]))
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    assert await registrar.unregister_all([("1", "s-1")], TIME_LIMIT) == 0
    assert await fake_redis.exists(KEYS.registry) == 0


async def test_a_redis_that_does_not_answer_is_waited_for_only_so_long(
    registrar: Registrar, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(registrar, "_script", hang)
    async with asyncio.timeout(TIME_LIMIT):
        assert await registrar.unregister_all([("1", "s-1"), ("2", "s-2")], 0.01) == 2


async def test_a_registrar_that_has_nothing_to_do_stops_at_once(registrar: Registrar, spawn: Spawn) -> None:
    task = spawn(registrar.run())
    await asyncio.sleep(0)
    registrar.stop()
    async with asyncio.timeout(TIME_LIMIT):
        await task


async def test_a_receiver_that_fails_costs_the_others_nothing(registrar: Registrar) -> None:
    told: list[Registered] = []

    def fail(_: RegisterResult) -> None:
        raise ZeroDivisionError

    registrar.register("1", "s-1", HERE, fail)
    registrar.register("2", "s-2", HERE, lambda result: told.append(result.status))
    with pytest.raises(ZeroDivisionError):
        await registrar.run()
    assert (told, registrar.depth) == ([Registered.REGISTERED], 0)


async def test_a_registration_of_unknown_outcome_is_not_repeated(
    registrar: Registrar, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Registered] = []

    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(registrar, "_script", fail)
    registrar.register("1", "s-1", HERE, lambda result: told.append(result.status))
    registrar.unregister("2", "s-2")
    with pytest.raises(ZeroDivisionError):
        await registrar.run()
    assert (told, registrar.depth) == ([Registered.FAILED], 1)


async def test_registrations_that_wait_go_out_together(fake_redis: Redis) -> None:
    registrar = Registrar(fake_redis, KEYS, "gw-1", "boot", on_failure=lambda _: None, on_fenced=lambda: None)
    calls: list[int] = []
    script, results = registrar._script, list[RegisterResult]()

    async def counted(*given: Any) -> Any:
        calls.append(len(results))
        await asyncio.sleep(0)
        return await script(*given)

    registrar._script = counted  # type: ignore[assignment]
    for number in range(BATCH + 1):
        registrar.register(f"{number:015}", "s", HERE, results.append)
    registrar.stop()
    await registrar.run()
    assert (calls, len(results)) == ([0, BATCH], BATCH + 1)


async def test_the_latest_unstored_session_ends_are_kept(
    fake_redis: Redis, fake_server: fakeredis.FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.fleet.registry.RETAINED", 3)
    registrar = Registrar(fake_redis, KEYS, "gw-1", "boot", on_failure=lambda _: None, on_fenced=lambda: None)
    for number in range(5):
        registrar.unregister(f"{number:015}", "s")
    fake_server.connected = False
    registrar.stop()
    await registrar.run()
    assert [call.imei[-1] for call in registrar._queue] == ["2", "3", "4"]
