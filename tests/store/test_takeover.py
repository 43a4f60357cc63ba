"""Who owns an instance id: calls that come late, and processes that are not the owner yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import fakeredis
import pytest
from redis.asyncio import Redis

from fsm.registration import Registered, RegisterResult
from store.client.errors import CallFailed
from store.client.script import Script
from store.fleet.heartbeat import Heartbeat
from store.fleet.ownership import Holder, HolderWatched, InstanceHeld, Watch
from store.fleet.registry import Registrar
from store.keys import Keys
from tests.store.test_registry import HERE

KEYS = Keys()
NAMES = [KEYS.heartbeat("gw-1"), KEYS.boot("gw-1"), KEYS.instances, KEYS.holder("gw-1")]
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


async def call(client: Redis, act: str, boot: str, seen: str = "", heartbeat: str | None = None) -> Any:
    """One call of the script, as a process with this boot id makes it that has seen the last heartbeat."""
    last = await client.get(KEYS.heartbeat("gw-1")) or b"" if heartbeat is None else heartbeat
    arguments = [act, "gw-1", boot, "EX", 90, seen, last, "boot", boot]
    return await Script("heartbeat.lua")(client, NAMES, arguments)


async def beating(client: Redis) -> Heartbeat:
    """The heartbeat of a process that owns its id."""
    heartbeat = Heartbeat(
        client,
        KEYS,
        "gw-1",
        "boot 1",
        30,
        90,
        on_renewed=lambda _: None,
        on_failure=lambda _: None,
        on_fenced=lambda: None,
    )
    await heartbeat.take_over()
    return heartbeat


async def test_a_takeover_that_was_held_up_does_not_undo_a_later_one(fake_redis: Redis) -> None:
    await call(fake_redis, "take_over", "boot 1")
    await call(fake_redis, "take_over", "boot 3", seen="boot 1")
    assert await call(fake_redis, "take_over", "boot 2", seen="boot 1") == b"CHANGED"
    assert await fake_redis.get(KEYS.boot("gw-1")) == b"boot 3"


async def test_a_takeover_fails_if_the_owner_renewed_its_heartbeat(
    fake_redis: Redis,
) -> None:
    await call(fake_redis, "take_over", "boot 1")
    assert await call(fake_redis, "take_over", "boot 2", seen="boot 1", heartbeat="1") == b"CHANGED"
    assert await fake_redis.get(KEYS.boot("gw-1")) == b"boot 1"


async def test_a_takeover_that_is_repeated_after_a_lost_reply_is_one(fake_redis: Redis) -> None:
    await call(fake_redis, "take_over", "boot 1")
    assert await call(fake_redis, "take_over", "boot 1") > 0


async def test_a_replaced_process_leaves_its_successor_alone(fake_redis: Redis) -> None:
    await call(fake_redis, "take_over", "boot 1")
    await call(fake_redis, "take_over", "boot 2", seen="boot 1")
    for act in ("renew", "release"):
        assert await call(fake_redis, act, "boot 1") == b"FENCED"
    assert await fake_redis.get(KEYS.boot("gw-1")) == b"boot 2"
    assert await fake_redis.exists(KEYS.heartbeat("gw-1")) == 1


async def test_a_failed_heartbeat_is_not_the_last(
    fake_redis: Redis, fake_server: fakeredis.FakeServer, spawn: Spawn
) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    heartbeat = Heartbeat(
        fake_redis,
        KEYS,
        "gw-1",
        "boot 1",
        0.001,
        90,
        on_renewed=lambda _: told.put_nowait("heartbeat"),
        on_failure=lambda _: told.put_nowait("failure"),
        on_fenced=lambda: told.put_nowait("fenced"),
    )
    fake_server.connected = False
    task = spawn(heartbeat.run())
    assert await told.get() == "failure"
    fake_server.connected = True
    heard = asyncio.ensure_future(told.get())
    await asyncio.wait({task, heard}, return_when="FIRST_COMPLETED")
    assert heard.done()
    heartbeat.stop()


async def test_a_failed_read_restarts_the_time_without_a_heartbeat(
    fake_redis: Redis, fake_server: fakeredis.FakeServer
) -> None:
    clock = [0.0]
    watch = Watch("gw-1", lambda: Holder("boot 2", interval=5.0), monotonic=lambda: clock[0])
    await call(fake_redis, "take_over", "boot 1")
    hooks: Any = {"on_renewed": print, "on_failure": print, "on_fenced": print, "watch": watch}
    heartbeat = Heartbeat(fake_redis, KEYS, "gw-1", "boot 2", 5, 90, **hooks)
    for seconds, answers, raised in (
        (0.0, True, HolderWatched),
        (6.9, True, HolderWatched),
        (6.95, False, CallFailed),
        (7.0, True, HolderWatched),
        (13.9, True, HolderWatched),
    ):
        clock[0], fake_server.connected = seconds, answers
        with pytest.raises(raised):
            await heartbeat.take_over()
    clock[0] = 14.0
    await heartbeat.take_over()
    assert await fake_redis.get(KEYS.boot("gw-1")) == b"boot 2"


async def test_a_process_whose_id_is_in_use_stops_its_heartbeat(
    fake_redis: Redis,
) -> None:
    """It has begun while Redis was away."""
    told: list[Exception] = []
    owner = await beating(fake_redis)
    hooks: Any = {"on_renewed": print, "on_failure": told.append, "on_fenced": print, "on_held": told.append}

    async def beat_between(watched: HolderWatched) -> None:
        told.append(watched)
        await fake_redis.set(KEYS.heartbeat("gw-1"), "another")

    tasks: list[asyncio.Task[None]] = []
    hooks["on_watched"] = lambda watched: tasks.append(asyncio.create_task(beat_between(watched)))
    heartbeat = Heartbeat(fake_redis, KEYS, "gw-1", "boot 2", 0.001, 90, **hooks)
    async with asyncio.timeout(5):
        await heartbeat.run()
    assert [type(one) for one in told] == [HolderWatched, InstanceHeld]
    assert (heartbeat.taken, await heartbeat.renew()) == (False, None)
    assert await owner.renew() is not None


async def test_before_the_takeover_a_registration_fails_and_ends_nothing(
    fake_redis: Redis, spawn: Spawn
) -> None:
    fenced: list[bool] = []
    failures: list[int] = []
    registrar = Registrar(
        fake_redis,
        KEYS,
        "gw-1",
        "boot 2",
        on_failure=failures.append,
        on_fenced=lambda: fenced.append(True),
        owns=lambda: False,
    )
    await fake_redis.set(KEYS.boot("gw-1"), "boot 1")
    told: asyncio.Queue[RegisterResult] = asyncio.Queue()
    registrar.register("356307042441013", "s-1", HERE, told.put_nowait)
    spawn(registrar.run())
    assert (await told.get()).status is Registered.FAILED
    assert (failures, fenced) == ([1], [])


async def test_a_refusal_from_before_the_takeover_is_no_fence(
    fake_redis: Redis, spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    fenced, owned = list[bool](), list[bool]()
    registrar = Registrar(
        fake_redis,
        KEYS,
        "gw-1",
        "boot 2",
        on_failure=lambda _: None,
        on_fenced=lambda: fenced.append(True),
        owns=lambda: bool(owned),
    )
    await fake_redis.set(KEYS.boot("gw-1"), "boot 1")
    script = registrar._script

    async def slow(*call: Any) -> Any:
        reply = await script(*call)
        owned.append(True)
        return reply

    monkeypatch.setattr(registrar, "_script", slow)
    told: asyncio.Queue[RegisterResult] = asyncio.Queue()
    registrar.register("356307042441013", "s-1", HERE, told.put_nowait)
    spawn(registrar.run())
    assert (await told.get()).status is Registered.FAILED
    assert fenced == []


async def test_a_replaced_process_registers_no_device(fake_redis: Redis, spawn: Spawn) -> None:
    fenced: list[bool] = []
    registrar = Registrar(
        fake_redis,
        KEYS,
        "gw-1",
        "boot 1",
        on_failure=lambda _: None,
        on_fenced=lambda: fenced.append(True),
    )
    await fake_redis.set(KEYS.boot("gw-1"), "boot 2")
    told: asyncio.Queue[RegisterResult] = asyncio.Queue()
    registrar.register("356307042441013", "s-1", HERE, told.put_nowait)
    spawn(registrar.run())
    assert (await told.get()).status is Registered.FENCED
    assert fenced == [True]
    assert await fake_redis.hlen(KEYS.registry) == 0


async def test_a_fenced_process_takes_nothing_from_an_unseen_successor(
    fake_redis: Redis,
) -> None:
    heartbeat = await beating(fake_redis)
    await fake_redis.set(KEYS.boot("gw-1"), "boot 2")
    heartbeat.stop()
    await fake_redis.delete(KEYS.boot("gw-1"), KEYS.heartbeat("gw-1"))
    assert await heartbeat.renew() is None
    assert await fake_redis.exists(KEYS.boot("gw-1"), KEYS.heartbeat("gw-1")) == 0


async def test_a_release_waits_for_the_heartbeat_in_progress(fake_redis: Redis) -> None:
    heartbeat = await beating(fake_redis)
    script, calls = heartbeat._script, list[str]()

    async def noted(client: Redis, names: Any, arguments: Any) -> Any:
        calls.append(f"{arguments[0]} begins")
        await asyncio.sleep(0)  # whoever does not wait for it has its turn
        reply = await script(client, names, arguments)
        calls.append(f"{arguments[0]} ends")
        return reply

    heartbeat._script = noted  # type: ignore[assignment]
    await asyncio.gather(heartbeat.renew(), heartbeat.release())
    assert calls == ["renew begins", "renew ends", "release begins", "release ends"]
    assert await fake_redis.exists(KEYS.heartbeat("gw-1")) == 0
