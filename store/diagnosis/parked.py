"""Checks parked commands: those that no gateway takes up, and those that no gateway ends."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from store.diagnosis.server import OK, WARNING, Report, examples
from store.keys import Keys

OVERDUE_MS = 300_000
"""How long after its time a parked command may stay: janitors look once a minute."""
TAKEN_UP_MS = 60_000
"""How long a device may be connected before its parked commands are taken up: milliseconds are usual."""
MOST = 1000
"""Devices that are checked, at most: those whose commands expire first."""


async def diagnose_parked(report: Report, client: Redis, keys: Keys, now_ms: int) -> None:
    """Add the findings to `report`; `now_ms` is epoch ms of Redis.

    Raises:
        StoreError: the server cannot be reached, or refuses all calls now.
    """
    asked: Any = client
    count = await report.attempt(keys.parked_devices, asked.zcard(keys.parked_devices), 0)
    if not count:
        return
    await report.attempt(keys.parked_devices, _overdue(report, asked, keys, count, now_ms), None)
    await report.attempt(keys.parked(""), _not_taken(report, asked, keys, now_ms), None)


async def _overdue(report: Report, client: Any, keys: Keys, count: int, now_ms: int) -> None:
    late = await client.zrangebyscore(keys.parked_devices, "-inf", now_ms - OVERDUE_MS, start=0, num=MOST)
    found = f"devices for which commands are parked: {count}"
    if late:
        found += f"; of {len(late)} they have expired: {examples([imei.decode() for imei in late])}"
    mend = "No janitor ends them: start a gateway of this version, or read the logs."
    counts = {"devices": count, "expired": len(late)}
    report.add(WARNING if late else OK, keys.parked_devices, found, mend, counts)


async def _not_taken(report: Report, client: Any, keys: Keys, now_ms: int) -> None:
    """Devices that are connected to a live gateway, and for which commands are parked all the same."""
    imeis = await client.zrangebyscore(keys.parked_devices, "-inf", "+inf", start=0, num=MOST)
    holders = await client.hmget(keys.registry, imeis)
    stuck: list[str] = []
    for imei, holder in zip(imeis, holders, strict=True):
        if holder is None or not await client.exists(keys.heartbeat(holder.decode(errors="replace"))):
            continue
        first = await client.xrange(keys.parked(imei.decode()), count=1)
        if first and now_ms - int(first[0][0].partition(b"-")[0]) > TAKEN_UP_MS:
            stuck.append(f"{imei.decode()} ({holder.decode(errors='replace')})")
    if stuck:
        found = f"not taken up although the device is connected: {examples(stuck)}"
        mend = "Update that gateway if it is of an older version; if not, restart it and read its log."
        report.add(WARNING, f"{keys.parked('')}*", found, mend, {"devices": len(stuck)})
