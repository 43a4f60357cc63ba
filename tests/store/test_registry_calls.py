"""A storm of devices makes few calls, and an outage keeps little of it."""

from __future__ import annotations

import asyncio
from typing import Any

import fakeredis
import pytest
from redis.asyncio import Redis

from fsm.registration import RegisterResult
from store.fleet.registry import BATCH, Registrar
from store.keys import Keys


async def test_registrations_that_wait_go_out_together(fake_redis: Redis) -> None:
    registrar = Registrar(
        fake_redis, Keys(), "gw-1", "boot", on_failure=lambda _: None, on_fenced=lambda: None
    )
    calls: list[int] = []
    script, results = registrar._script, list[RegisterResult]()

    async def counted(*given: Any) -> Any:
        calls.append(len(results))
        await asyncio.sleep(0)
        return await script(*given)

    registrar._script = counted  # type: ignore[assignment]
    for number in range(BATCH + 1):
        registrar.register(f"{number:015}", "s", results.append)
    registrar.stop()
    await registrar.run()
    assert (calls, len(results)) == ([0, BATCH], BATCH + 1)


async def test_of_the_ends_that_redis_has_not_heard_the_latest_are_kept(
    fake_redis: Redis, fake_server: fakeredis.FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.fleet.registry.RETAINED", 3)
    registrar = Registrar(
        fake_redis, Keys(), "gw-1", "boot", on_failure=lambda _: None, on_fenced=lambda: None
    )
    for number in range(5):
        registrar.unregister(f"{number:015}", "s")
    fake_server.connected = False
    registrar.stop()
    await registrar.run()
    assert [call.imei[-1] for call in registrar._queue] == ["2", "3", "4"]
