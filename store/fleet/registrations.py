"""Reading the registry: who holds devices, and which of our registrations are not as they should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import cast

from redis.asyncio import Redis

from store.client.client import Calls
from store.client.errors import StoreError
from store.client.replies import one_each, understood
from store.keys import Keys


async def holders(client: Redis, keys: Keys, imeis: Sequence[str]) -> dict[str, str]:
    """The instance that holds each device, for the devices that an instance holds.

    Raises:
        StoreError: Redis could not be asked.
    """
    (found,) = await _fields(client, [keys.registry], imeis)
    return {
        imei: holder.decode(errors="replace")
        for imei, holder in zip(imeis, found, strict=True)
        if holder is not None
    }


async def differing(client: Redis, keys: Keys, instance_id: str, values: Mapping[str, str]) -> list[str]:
    """The devices that the registry does not name for the instance and with this value (`value_of`).

    Raises:
        StoreError: Redis could not be asked.
    """
    imeis, us = list(values), instance_id.encode()
    found, told = await _fields(client, [keys.registry, keys.sessions], imeis)
    return [
        imei
        for imei, holder, value in zip(imeis, found, told, strict=True)
        if holder != us or value != values[imei].encode()
    ]


async def _fields(client: Redis, hashes: Sequence[str], names: Sequence[str]) -> list[list[bytes | None]]:
    """These fields of each hash."""
    if not names:
        return [[] for _ in hashes]
    replies = await cast(Calls, client).batch([("HMGET", key, *names) for key in hashes])
    for reply in replies:
        if isinstance(reply, StoreError):
            raise reply
    return [await understood(client, reply, partial(one_each, names)) for reply in replies]
