"""When a device has reported, so that whoever looks for its records leaves out all other times.

A stream of records is that of a whole fleet, and a device that sleeps has a few entries among a million.
"""

from __future__ import annotations

from typing import cast

from redis.asyncio import Redis

from fsm.device_status import FOREVER, Span
from fsm.registration import token_of
from store.client.client import Calls
from store.client.errors import StoreError
from store.fleet.device_status import read_status
from store.keys import Keys


async def report_times(client: Redis, keys: Keys, imei: str, since: int) -> list[Span] | None:
    """The times from `since` (epoch ms) on at which a device may have reported, the newest first.

    What gateways have not told counts as such a time. None if nothing is known of the device.

    Raises:
        StoreError: a call failed.
    """
    told, holder, registered = await _read(client, keys, imei)
    try:
        status = read_status(told) if told else None
    except ValueError:
        status = None  # any client may have written anything
    if status is None:
        return [(since, FOREVER)] if told or holder else None
    return status.may_have_records(since, token_of(registered) if holder else "")


async def _read(client: Redis, keys: Keys, imei: str) -> list[str]:
    replies = await cast(Calls, client).batch(
        [["HGET", key, imei] for key in (keys.status, keys.registry, keys.sessions)]
    )
    for reply in replies:
        if isinstance(reply, StoreError):
            raise reply
    return [(reply or b"").decode(errors="replace") for reply in replies]
