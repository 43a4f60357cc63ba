"""Messages of devices share the queue of records, and never stand in their way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from redis.asyncio import Redis

from fsm.telemetry import MESSAGE, RECORD, SERIAL
from store.client.errors import StoreRefused
from tests.store.telemetry_rig import IMEI, KEYS, TelemetryRig

SAID = b'["at","1700000000000","type","06","text","hello"]'
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


@pytest.fixture
def rig(fake_redis: Redis) -> TelemetryRig:
    return TelemetryRig(fake_redis)


async def test_each_message_is_an_entry_with_the_fields_of_the_contract(
    rig: TelemetryRig, fake_redis: Redis, spawn: Spawn
) -> None:
    rig.store("two", SAID, b'["type","06","hex","00ff"]', kind=SERIAL)
    spawn(rig.telemetry.run())
    assert await rig.telemetry.flush(10) == 0
    [(_, first), (_, second)] = await fake_redis.xrange(KEYS.messages)
    head = {b"imei": IMEI, b"codec": b"13", b"instance_id": b"gw-1", b"session_id": b"b1-7"}
    head |= {b"received_at": b"7"}
    assert first == head | {b"at": b"1700000000000", b"type": b"06", b"text": b"hello"}
    assert second == head | {b"type": b"06", b"hex": b"00ff"}
    assert rig.confirmed == ["two"]


@pytest.mark.parametrize(("kind", "known"), [(SERIAL, {IMEI}), (MESSAGE, set()), (RECORD, set())])
async def test_the_first_serial_message_marks_its_device(
    rig: TelemetryRig, fake_redis: Redis, spawn: Spawn, kind: str, known: set[bytes]
) -> None:
    rig.store("one", SAID, kind=kind)
    spawn(rig.telemetry.run())
    assert await rig.telemetry.flush(10) == 0
    assert await fake_redis.smembers(KEYS.serial) == known


async def test_a_message_is_kept_though_its_device_cannot_be_marked(
    rig: TelemetryRig, fake_redis: Redis, spawn: Spawn
) -> None:
    await fake_redis.set(KEYS.serial, "not a set")
    rig.store("one", SAID, kind=SERIAL)
    spawn(rig.telemetry.run())
    assert await rig.telemetry.flush(10) == 0
    assert await fake_redis.xlen(KEYS.messages) == 1


async def test_refused_messages_are_dropped_and_records_go_on(
    rig: TelemetryRig, fake_redis: Redis, spawn: Spawn
) -> None:
    await fake_redis.set(KEYS.messages, "not a stream")
    for name, kind in (("r1", RECORD), ("m1", SERIAL), ("r2", RECORD), ("m2", MESSAGE), ("r3", RECORD)):
        rig.store(name, SAID, kind=kind)
    spawn(rig.telemetry.run())
    assert await rig.telemetry.flush(10) == 0
    assert (rig.confirmed, rig.refused) == (["r1", "r2", "r3"], ["m1", "m2"])


async def test_a_call_refused_for_its_messages_costs_no_record(
    rig: TelemetryRig, fake_redis: Redis, spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An access rule checks the keys of a call before any of it is carried out."""
    allowed = False
    calls: list[tuple[int, ...]] = []
    script = rig.telemetry._kept.call

    async def guarded(which: Any, keys: Any, arguments: Any, *more: Any) -> Any:
        calls.append((len(keys), arguments.count(IMEI)))
        if len(keys) > 2 and not allowed:
            raise StoreRefused("NOPERM No permissions to access a key")
        return await script(which, keys, arguments, *more)

    monkeypatch.setattr(rig.telemetry._kept, "call", guarded)
    for name, kind in (("r1", RECORD), ("m1", SERIAL), ("m2", SERIAL), ("r2", RECORD), ("r3", RECORD)):
        rig.store(name, SAID, kind=kind)
    spawn(rig.telemetry.run())
    assert await rig.telemetry.flush(10) == 0
    assert (rig.confirmed, rig.refused) == (["r1", "r2", "r3"], ["m1", "m2"])
    assert calls == [(4, 5), (2, 1), (4, 1), (4, 1), (2, 2)]
    allowed = True
    rig.store("m3", SAID, kind=SERIAL)
    assert await rig.telemetry.flush(10) == 0
    for name, kind in (("r4", RECORD), ("m4", SERIAL)):
        rig.store(name, SAID, kind=kind)
    assert await rig.telemetry.flush(10) == 0
    assert calls[-1] == (4, 2)
