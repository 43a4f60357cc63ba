"""Sending, cancelling and following with the client for back ends, on an in-memory Redis."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from store.api import (
    CommandEvent,
    DeviceNotConnected,
    Gateways,
    InvalidCommand,
    NoGateway,
    NotPublished,
    StoreUnreachable,
    UnknownCommand,
)
from store.client.errors import CallFailed
from store.keys import Keys
from store.streams.entry_ids import HIGHEST, before
from store.streams.messages import read_telemetry

KEYS = Keys("{test}:")
IMEI = "352093081452251"


@pytest.fixture
def redis(fake_redis: Any) -> Any:
    """The imitation, without the driver's types of replies."""
    return fake_redis


@pytest.fixture
def errors() -> list[Exception]:
    return []


@pytest.fixture
def gateways(redis: Any, errors: list[Exception]) -> Gateways:
    return Gateways(redis, KEYS, errors.append)


async def event(redis: Any, command_id: str, seq: int, **more: str) -> bytes:
    """Append an event, and put the first one of a command into its ledger, as a gateway does."""
    fields = {"kind": "command", "command_id": command_id, "seq": str(seq), "state": "queued", "trigger": "t"}
    entry_id: bytes = await redis.xadd(KEYS.responses, fields | {"terminal": "0"} | more)
    await redis.hsetnx(KEYS.ledger(command_id), "first", entry_id)
    await redis.hset(KEYS.ledger(command_id), "instance_id", "gw-1")
    return entry_id


async def test_a_command_goes_to_the_gateway_that_holds_the_device(redis: Any, gateways: Gateways) -> None:
    await redis.hset(KEYS.registry, IMEI, "gw-2")
    sent = await gateways.send(IMEI, " getinfo", codec="14", response_timeout=2.5, correlation_id="order-17")
    ((entry_id, fields),) = await redis.xrange(KEYS.outbound("gw-2"))
    assert (sent.instance_id, sent.outbound_id) == ("gw-2", entry_id.decode())
    assert {name.decode(): value.decode() for name, value in fields.items()} == {
        "command_id": sent.command_id,
        "imei": IMEI,
        "payload": " getinfo",
        "codec": "14",
        "response_timeout": "2.500",
        "correlation_id": "order-17",
    }


async def test_the_expiry_is_by_the_clock_of_redis(
    redis: Any, gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def now() -> tuple[int, int]:
        return 1_767_225_600, 500_000

    monkeypatch.setattr(redis, "time", now)
    await redis.hset(KEYS.registry, IMEI, "gw-1")
    await gateways.send(IMEI, "getinfo", expires_in=60)
    ((_, fields),) = await redis.xrange(KEYS.outbound("gw-1"))
    assert fields[b"expires_at"] == b"2026-01-01T00:01:00.500Z"


async def test_nothing_is_sent_to_a_device_that_nobody_holds(redis: Any, gateways: Gateways) -> None:
    with pytest.raises(DeviceNotConnected) as raised:
        await gateways.send(IMEI, "getinfo")
    assert raised.value.imei == IMEI
    with pytest.raises(UnknownCommand):
        await gateways.cancel("c1")
    assert await redis.keys() == []


async def test_a_command_that_waits_goes_to_any_live_gateway(redis: Any, gateways: Gateways) -> None:
    for name in ("gw-1", "gw-2", "gw-3"):
        await redis.hset(KEYS.instances, name, "1")
    with pytest.raises(NoGateway):
        await gateways.send(IMEI, "getinfo", offline="wait")
    await redis.set(KEYS.heartbeat("gw-2"), "1")
    sent = await gateways.send(IMEI, "getinfo", offline="wait", expires_in=7 * 86400)
    ((_, fields),) = await redis.xrange(KEYS.outbound("gw-2"))
    assert (sent.instance_id, fields[b"offline"]) == ("gw-2", b"wait")
    await redis.hset(KEYS.registry, IMEI, "gw-3")
    assert (await gateways.send(IMEI, "getinfo", offline="wait")).instance_id == "gw-3"


async def test_any_live_gateway_cancels_a_parked_command(redis: Any, gateways: Gateways) -> None:
    await redis.hset(KEYS.ledger("c1"), "instance_id", "")
    await redis.hset(KEYS.instances, "gw-1", "1")
    with pytest.raises(NoGateway):
        await gateways.cancel("c1")
    await redis.set(KEYS.heartbeat("gw-1"), "1")
    assert (await gateways.cancel("c1")).instance_id == "gw-1"


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("imei", {"imei": "1"}),
        ("payload", {"payload": "a\n"}),
        ("codec", {"codec": "8"}),
        ("expires_at", {"expires_in": 1e6}),
        ("response_timeout", {"response_timeout": 0.0}),
    ],
)
async def test_what_a_gateway_would_refuse_is_refused_before_redis_is_asked(
    fake_server: Any, gateways: Gateways, field: str, wrong: dict[str, Any]
) -> None:
    fake_server.connected = False
    with pytest.raises(InvalidCommand) as raised:
        await gateways.send(**{"imei": IMEI, "payload": "getinfo"} | wrong)
    assert raised.value.field == field


async def test_without_redis_nothing_was_handed_over(
    fake_server: Any, gateways: Gateways, errors: list[Exception]
) -> None:
    fake_server.connected = False
    with pytest.raises(NotPublished):
        await gateways.send(IMEI, "getinfo", expires_in=5, patience=0.15)
    assert len(errors) == 1


async def test_a_call_with_an_unknown_outcome_may_have_handed_it_over(
    redis: Any, gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    await redis.hset(KEYS.registry, IMEI, "gw-1")

    async def publish(*_: Any) -> str:
        await redis.delete(KEYS.registry)
        raise StoreUnreachable("lost") from CallFailed("no reply")

    monkeypatch.setattr(gateways._producer, "publish", publish)
    with pytest.raises(StoreUnreachable, match="may have been") as raised:
        await gateways.send(IMEI, "getinfo")
    assert not isinstance(raised.value, NotPublished)


async def test_a_cancel_goes_to_the_gateway_of_the_ledger(redis: Any, gateways: Gateways) -> None:
    await event(redis, "c1", 1)
    sent = await gateways.cancel("c1")
    ((_, fields),) = await redis.xrange(KEYS.outbound("gw-1"))
    assert (sent.command_id, fields) == ("c1", {b"type": b"cancel", b"command_id": b"c1"})


async def test_a_command_is_followed_from_its_first_event_to_its_last(redis: Any, gateways: Gateways) -> None:
    await event(redis, "other", 1)
    await event(redis, "c1", 1)
    await redis.xadd(KEYS.responses, {"kind": "note", "note": "moved", "note_id": "n1", "command_id": "c1"})
    await redis.xadd(KEYS.responses, {"kind": "command", "command_id": "c1", "seq": "x"})
    await event(redis, "c1", 1)
    await event(redis, "c1", 2, state="failed", terminal="1")
    await event(redis, "c1", 3)
    found = [message async for message in gateways.follow("c1")]
    assert [getattr(message, "seq", None) for message in found] == [1, None, 2]
    assert (await gateways.outcome("c1")).state == "failed"


async def test_a_command_that_is_not_accepted_yet_is_followed_from_now(
    redis: Any, gateways: Gateways
) -> None:
    await event(redis, "other", 1)
    following = asyncio.create_task(gateways.outcome("c1"))
    await asyncio.sleep(0)
    await event(redis, "c1", 1, state="failed", terminal="1")
    assert isinstance(await asyncio.wait_for(following, 10), CommandEvent)


async def test_what_was_before_a_position_is_not_shown(redis: Any, gateways: Gateways) -> None:
    await event(redis, "c1", 1)
    position = await gateways.position()
    await event(redis, "c1", 2, terminal="1")
    assert [message.seq async for message in gateways.follow("c1", after=position)] == [2]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("entry_id", "expected"), [("5-3", "5-2"), ("5-0", f"4-{HIGHEST}"), ("0-1", "0-0"), ("0-0", "0-0")]
)
def test_the_id_before_another(entry_id: str, expected: str) -> None:
    assert before(entry_id) == expected


HEAD = {"imei": IMEI, "codec": "8", "instance_id": "gw-1", "received_at": "7"}
DATA = (
    '{"timestamp":1,"priority":0,"longitude":0.0,"latitude":0.0,"altitude":0,"angle":0,"satellites":0,"speed":0,'
    '"event_id":0,"io":{"21":3}}'
)


def test_a_record_is_read_with_its_data_or_its_bytes() -> None:
    record = read_telemetry(HEAD | {"data": DATA})
    assert record.data is not None
    assert (record.imei, record.received_at, record.data.io, record.frame) == (IMEI, 7, {"21": 3}, None)
    encoded = {name.encode(): value.encode() for name, value in HEAD.items()}
    raw = read_telemetry(encoded | {b"frame": b"\x08\xff"})
    assert (raw.data, raw.frame) == (None, b"\x08\xff")


def test_two_entries_of_one_record_have_one_key() -> None:
    first, again = (read_telemetry(HEAD | {"data": DATA, "received_at": at}) for at in ("7", "8"))
    other = read_telemetry(HEAD | {"data": DATA.replace('"timestamp":1', '"timestamp":2')})
    elsewhere = read_telemetry(HEAD | {"data": DATA, "imei": "352093081452252"})
    assert first.key == again.key
    assert len({first.key, other.key, elsewhere.key}) == 3


@pytest.mark.parametrize(
    "wrong", [{}, {"data": "{}"}, {"data": DATA, "frame": "x"}, {"data": DATA, "received_at": ""}]
)
def test_an_entry_that_is_no_record_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"data|received_at|timestamp"):
        read_telemetry(HEAD | wrong)
