"""Which instances are alive."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from redis.asyncio import Redis

from store.client.client import Calls
from store.client.errors import StoreError
from store.keys import Keys


async def known_instances(client: Redis, keys: Keys) -> list[str]:
    """The ids of all instances that are known, in alphabetical order.

    Raises:
        StoreError: the call failed.
    """
    found: Any = await cast(Any, client).hgetall(keys.instances)
    return sorted(name.decode(errors="replace") for name in found)


async def living(client: Redis, keys: Keys, instance_ids: Iterable[str]) -> dict[str, str]:
    """Those of the instances that have a heartbeat, and the boot id of the process of each.

    Raises:
        StoreError: a call failed.
    """
    names = list(dict.fromkeys(instance_ids))
    calls = [["GET", key(name)] for name in names for key in (keys.heartbeat, keys.boot)]
    replies = await cast(Calls, client).batch(calls) if calls else []
    for reply in replies:
        if isinstance(reply, StoreError):
            raise reply
    beats, boots = replies[::2], replies[1::2]
    return {
        name: (boot or b"").decode(errors="replace")
        for name, beat, boot in zip(names, beats, boots, strict=True)
        if beat is not None
    }
