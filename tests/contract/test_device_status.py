"""What is known of devices, on every backend: whose word counts, what is kept, and what is forgotten."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from fsm.device_status import DeviceStatus, HoldStatus, LastRecord
from store.client.errors import StoreError
from store.fleet.device_status import (
    DeviceStatusExpiry,
    DeviceStatusWriter,
    read_status,
    reporting,
    status_json,
)
from store.keys import Keys

KEYS = Keys()
IMEI, OTHER = "352093081452251", "352093081452252"
LAST = LastRecord(
    timestamp=1_767_225_600_000, latitude=54.6872, longitude=-25.2797001, speed=50, satellites=9
)
HERE = DeviceStatus(
    instance_id="gw-1",
    session_id="b1-1",
    state="ready",
    peer="[::1]:40000",
    connected_at=1_767_225_600_000,
    last_seen_at=1_767_225_600_500,
)
GONE = replace(HERE, state="closed", disconnected_at=1_767_225_700_000, reason="device_closed")
ELSEWHERE = replace(HERE, instance_id="gw-2", session_id="b2-1", connected_at=HERE.connected_at + 1)


async def write(client: Redis, *told: DeviceStatus, limit: int = 10) -> None:
    """Write statuses of one device, each in a call of its own."""
    for status in told:
        await write_all(client, {IMEI: status}, limit=limit)


async def write_all(client: Redis, told: dict[str, DeviceStatus], limit: int = 10) -> None:
    errors: list[StoreError | Exception] = []
    writer = DeviceStatusWriter(client, KEYS, on_error=errors.append, limit=limit)
    for imei, status in told.items():
        writer.put(imei, status)
    await writer._queue._attempt()
    assert errors == []


async def recalled(client: Redis) -> set[str]:
    """Who is known to have reported for ten minutes."""
    return {imei async for page in reporting(client, KEYS, 600.0) for imei in page}


async def known(client: Any) -> dict[str, DeviceStatus]:
    return {imei.decode(): read_status(text) for imei, text in (await client.hgetall(KEYS.status)).items()}


async def test_a_status_is_read_as_it_was_written(any_redis: Redis) -> None:
    doubt = HoldStatus(disputed=True, since=1, until=2, changes=2, before="::1", before_auth="tls")
    whole = replace(HERE, last=LAST, frames=3, records=7, serial=True, hold=doubt)
    await write_all(any_redis, {IMEI: whole, OTHER: HERE})
    reported = replace(whole, first_reported_at=HERE.last_seen_at)
    assert await known(any_redis) == {IMEI: reported, OTHER: HERE}


@pytest.mark.parametrize("late", [replace(HERE, last=LAST, records=1), replace(GONE, records=1)])
async def test_a_session_that_is_over_does_not_replace_a_newer_one(
    any_redis: Redis, late: DeviceStatus
) -> None:
    await write(any_redis, ELSEWHERE, late)
    assert await known(any_redis) == {IMEI: ELSEWHERE}


@pytest.fixture
def unscripted(any_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on the script may not be called."""
    execute = any_redis.execute_command

    async def plain(*words: Any, **options: Any) -> Any:
        assert not str(words[0]).startswith("EVAL")
        return await execute(*words, **options)

    return lambda: monkeypatch.setattr(any_redis, "execute_command", plain)


async def test_the_status_of_a_session_that_goes_on_is_written_without_the_script(
    any_redis: Redis, unscripted: Callable[[], None]
) -> None:
    await write(any_redis, replace(HERE, told_at=HERE.connected_at, records=1, last=LAST))
    unscripted()
    at = HERE.connected_at + 30_000
    later = replace(HERE, told_at=at, records=2, last=replace(LAST, speed=0))
    await write(any_redis, later)
    times = (HERE.connected_at // 1000, at // 1000)
    assert await known(any_redis) == {
        IMEI: replace(later, first_reported_at=HERE.last_seen_at, reported=times)
    }


async def test_a_device_for_which_there_is_no_room_costs_a_read(
    any_redis: Redis, unscripted: Callable[[], None]
) -> None:
    await write_all(any_redis, {"0": HERE}, limit=1)
    unscripted()
    await write_all(any_redis, {"1": HERE}, limit=1)
    assert set(await known(any_redis)) == {"0"}


@pytest.mark.parametrize("session_id", ["b1-1", "b2-"])
async def test_a_late_status_does_not_replace_that_of_a_newer_session_that_reports(
    any_redis: Redis, session_id: str
) -> None:
    newer = replace(ELSEWHERE, told_at=HERE.connected_at, records=1, last=LAST)
    await write(any_redis, newer, replace(newer, session_id=session_id, connected_at=HERE.connected_at))
    assert (await known(any_redis))[IMEI].session_id == newer.session_id


async def test_a_status_without_a_record_keeps_the_last_one(any_redis: Redis) -> None:
    here = replace(HERE, told_at=HERE.connected_at, records=1)
    await write(any_redis, replace(here, last=LAST), here, replace(here, state="closed"))
    status = (await known(any_redis))[IMEI]
    assert (status.state, status.last) == ("closed", LAST)


async def test_a_last_record_that_waits_is_not_lost(any_redis: Redis) -> None:
    writer = DeviceStatusWriter(any_redis, KEYS, on_error=lambda error: None)
    for status in (replace(HERE, last=LAST, records=1), replace(GONE, records=1)):
        writer.put(IMEI, status)
    await writer._queue._attempt()
    status = (await known(any_redis))[IMEI]
    assert (status.state, status.last) == ("closed", LAST)


async def test_a_newer_session_replaces_an_older_one_and_keeps_its_last_record(any_redis: Redis) -> None:
    await write(any_redis, replace(HERE, last=LAST, records=1), ELSEWHERE)
    first = HERE.last_seen_at
    assert await known(any_redis) == {IMEI: replace(ELSEWHERE, last=LAST, first_reported_at=first)}
    newer = replace(LAST, speed=0)
    await write(any_redis, replace(ELSEWHERE, last=newer))
    assert (await known(any_redis))[IMEI].last == newer


async def test_since_when_a_device_reports_is_kept(any_redis: Redis) -> None:
    seen = [replace(HERE, last_seen_at=HERE.last_seen_at + number) for number in range(4)]
    silent, first, again = seen[0], replace(seen[1], last=LAST), replace(ELSEWHERE, last=LAST)
    await write(any_redis, silent)
    assert (await known(any_redis))[IMEI].first_reported_at is None
    await write(any_redis, first, seen[2], again)
    assert (await known(any_redis))[IMEI].first_reported_at == first.last_seen_at


async def test_of_a_gateway_that_did_not_keep_it_the_session_counts(any_redis: Redis) -> None:
    await any_redis.hset(KEYS.status, IMEI, status_json(replace(HERE, last=LAST)))
    await write(any_redis, ELSEWHERE)
    assert (await known(any_redis))[IMEI].first_reported_at == HERE.connected_at


AT = 1_767_225_600
"""Epoch seconds: when the session `HERE` began."""


def told(seconds: int, records: int, status: DeviceStatus = HERE) -> DeviceStatus:
    """A status that was told `seconds` after the beginning of `HERE`, with so many records on its session."""
    return replace(status, told_at=(AT + seconds) * 1000, records=records)


NEXT = replace(ELSEWHERE, connected_at=(AT + 9000) * 1000)
"""A session that began 9,000 seconds after `HERE`, at another gateway."""


@pytest.mark.parametrize(
    ("words", "times"),
    [
        ([told(0, 0), told(30, 0)], ()),
        ([told(0, 1)], (0, 0)),
        ([told(0, 0), told(30, 2), told(60, 2)], (0, 30)),
        ([told(0, 0), told(30, 2), told(60, 3)], (0, 60)),
        ([told(30, 1), told(4000, 1), told(4030, 2)], (0, 30, 4000, 4030)),
        ([told(30, 1), told(4000, 2, GONE), told(9030, 1, NEXT)], (0, 4000, 9000, 9030)),
        ([told(30, 1), told(4000, 1, GONE), told(9000, 0, NEXT)], (0, 30)),
        ([told(30, 1), told(4000, 1), told(9000, 0, NEXT)], (0, 30, 4000, 4120)),
        ([told(30, 1), told(4000, 1), told(9030, 1, NEXT)], (0, 30, 4000, 4120, 9000, 9030)),
        ([told(30, 1), told(9020, 0, NEXT), told(9030, 2)], (0, 150)),
        ([told(30, 1), replace(told(20, 2), told_at=AT * 1000 + 20_500)], (0, 30)),
    ],
    ids=[
        *("never", "at once", "once", "for a while", "and again", "on two sessions", "not on the second"),
        *("the first was cut off", "cut off, then again", "a late word of the first", "a clock that was set"),
    ],
)
@pytest.mark.parametrize("last", [None, LAST], ids=["without a record", "with one"])
async def test_the_times_at_which_a_device_has_reported_are_kept(
    any_redis: Redis, words: list[DeviceStatus], times: tuple[int, ...], last: LastRecord | None
) -> None:
    await write(any_redis, *(replace(word, last=last if word.records else None) for word in words))
    assert (await known(any_redis))[IMEI].reported == tuple(AT + seconds for seconds in times)


async def test_the_oldest_of_many_such_times_are_forgotten(any_redis: Redis) -> None:
    words = [told(1000 * number, number) for number in range(1, 31)]
    for number, word in enumerate(words):
        await write(any_redis, told(1000 * number + 999, number), word)
    times = (await known(any_redis))[IMEI].reported
    assert len(times) == 48
    assert times[-4:] == (AT + 28_999, AT + 29_000, AT + 29_999, AT + 30_000)


async def test_of_a_gateway_that_does_not_tell_the_times_none_are_kept(any_redis: Redis) -> None:
    await write(any_redis, told(30, 1), ELSEWHERE)
    assert (await known(any_redis))[IMEI].reported == (AT, AT + 30)
    await any_redis.hset(KEYS.status, IMEI, status_json(ELSEWHERE))
    await write(any_redis, told(9030, 0, NEXT), told(9060, 1, NEXT))
    assert (await known(any_redis))[IMEI].reported == (AT + 9030, AT + 9060)


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ((HERE, GONE), False),
        ((HERE, replace(GONE, records=1, last=LAST)), True),
        ((replace(HERE, records=1, last=LAST), ELSEWHERE, replace(ELSEWHERE, state="closed")), True),
    ],
    ids=["never reported", "reported", "reported on an earlier session"],
)
async def test_a_device_that_never_reported_is_forgotten_when_it_leaves(
    any_redis: Redis, told: tuple[DeviceStatus, ...], kept: bool
) -> None:
    await write(any_redis, *told)
    assert bool(await known(any_redis)) is kept


async def test_no_more_devices_are_kept_than_the_limit(any_redis: Redis) -> None:
    many = {str(number): HERE for number in range(5)}
    await write_all(any_redis, many, limit=3)
    assert set(await known(any_redis)) == {"0", "1", "2"}
    await write_all(any_redis, {"0": ELSEWHERE, "7": HERE}, limit=3)
    assert (await known(any_redis))["0"] == ELSEWHERE
    assert len(await known(any_redis)) == 3


async def test_a_value_of_another_form_is_replaced(any_redis: Redis) -> None:
    await any_redis.hset(KEYS.status, IMEI, "{")
    await write(any_redis, HERE)
    assert await known(any_redis) == {IMEI: HERE}


async def test_what_was_last_heard_long_ago_is_forgotten_unless_somebody_holds_it(any_redis: Redis) -> None:
    old = replace(HERE, records=1, last=LAST)
    recent = replace(old, last_seen_at=old.last_seen_at + 1000)
    await write_all(any_redis, {"old": old, "held": old, "recent": recent})
    await any_redis.hset(KEYS.registry, "held", "gw-1")
    expiry = DeviceStatusExpiry(any_redis, KEYS)
    await expiry.expire(old.last_seen_at + 1)
    assert set(await known(any_redis)) == {"held", "recent"}


async def test_devices_that_have_reported_for_so_long_are_found(any_redis: Redis) -> None:
    first = replace(HERE, records=1, last=LAST)
    later = replace(first, last_seen_at=first.last_seen_at + 600_000)
    for status in (first, later):
        await write_all(any_redis, {str(number): status for number in range(3)}, limit=1000)
    short = replace(later, last_seen_at=later.last_seen_at - 1)
    await write_all(any_redis, {"new": later, "2": short, "silent": replace(later, last=None)}, limit=1000)
    await any_redis.hset(KEYS.status, "broken", "{")
    assert sorted(await recalled(any_redis)) == ["0", "1"]


async def test_they_are_read_in_pages(any_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.fleet.device_status.PAGE", 50)
    reports = replace(HERE, records=1, last=LAST, first_reported_at=HERE.last_seen_at - 600_000)
    many = {str(number): status_json(reports) for number in range(700)}
    await any_redis.hset(KEYS.status, mapping=many)
    assert sorted(await recalled(any_redis)) == sorted(many)


async def test_a_large_hash_is_gone_through_in_pages(
    any_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.fleet.device_status.PAGE", 50)
    old = replace(HERE, records=1, last=LAST)
    await write_all(any_redis, {str(number): old for number in range(200)}, limit=1000)
    expiry = DeviceStatusExpiry(any_redis, KEYS)
    rounds = 0
    while await known(any_redis):
        await expiry.expire(old.last_seen_at + 1)
        rounds += 1
        assert rounds < 200
    await expiry.expire(old.last_seen_at + 1)
