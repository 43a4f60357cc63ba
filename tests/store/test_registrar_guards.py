"""The registrar when somebody stops waiting for it, or Redis does not answer at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest
from redis.asyncio import Redis

from fsm.registration import Registered, RegisterResult
from store.fleet.registry import Registrar
from store.keys import Keys

KEYS = Keys()
PATIENCE = 2.0
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


def ignore(*_: object) -> None:
    """A hook that nobody listens to."""


@pytest.fixture
def registrar(fake_redis: Redis) -> Registrar:
    return Registrar(fake_redis, KEYS, "gw-1", "boot-1", on_failure=ignore, on_fenced=ignore)


async def test_who_stops_waiting_for_the_registry_ends_nobody_elses_registration(
    registrar: Registrar, fake_redis: Redis
) -> None:
    """As a gateway does that stops: what is to be unregistered comes behind what nobody waits for."""
    waiting = asyncio.ensure_future(registrar.reconcile([("1", "s-1")]))
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    assert await registrar.unregister_all([("1", "s-1")], PATIENCE) == 0
    assert await fake_redis.exists(KEYS.registry) == 0


async def test_a_redis_that_does_not_answer_is_waited_for_only_so_long(
    registrar: Registrar, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(registrar, "_script", hang)
    async with asyncio.timeout(PATIENCE):
        assert await registrar.unregister_all([("1", "s-1"), ("2", "s-2")], 0.01) == 2


async def test_a_registrar_that_has_nothing_to_do_stops_at_once(registrar: Registrar, spawn: Spawn) -> None:
    task = spawn(registrar.run())
    await asyncio.sleep(0)
    registrar.stop()
    async with asyncio.timeout(PATIENCE):
        await task


async def test_a_receiver_that_fails_costs_the_others_nothing(registrar: Registrar) -> None:
    told: list[Registered] = []

    def fail(_: RegisterResult) -> None:
        raise ZeroDivisionError

    registrar.register("1", "s-1", fail)
    registrar.register("2", "s-2", lambda result: told.append(result.status))
    with pytest.raises(ZeroDivisionError):
        await registrar.run()
    assert (told, registrar.depth) == ([Registered.REGISTERED], 0)


async def test_a_first_registration_is_not_repeated_when_an_error_hides_what_became_of_it(
    registrar: Registrar, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Registered] = []

    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(registrar, "_script", fail)
    registrar.register("1", "s-1", lambda result: told.append(result.status))
    registrar.unregister("2", "s-2")
    with pytest.raises(ZeroDivisionError):
        await registrar.run()
    assert (told, registrar.depth) == ([Registered.FAILED], 1)
