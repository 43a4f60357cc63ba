"""Checks the keys that a fleet shares: their types, and the lengths, groups and ids of streams."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from fsm.outbound import Limits
from store.diagnosis.allow_list import diagnose_allow_list
from store.diagnosis.server import OK, WARNING, Report
from store.diagnosis.stream_ids import check_last_id, last_id
from store.keys import Keys
from store.ledger.ledger import DEADLETTER_MAXLEN, KEPT_MAXLEN
from store.streams.caps import CapSettings, StreamCaps, stream_caps
from store.streams.entry_ids import read_id
from store.streams.trimmer import read_memory
from store.streams.unasked import PART
from store.streams.volume import read_sizes

OVERGROWN = 2
"""A stream may reach its cap times this factor between two trims."""
BEHIND = 0.5
"""A group may leave this fraction of the cap in entries unread without a finding."""
FULL = 0.7
"""A group may leave this fraction of the cap in bytes unread without a finding."""

_RENAME = "RENAME {0} {0}:full: consumers read the rest there, and create their groups again, from 0."


@dataclass(slots=True, frozen=True, kw_only=True)
class Bounds(CapSettings):
    """Settings of the gateways of the fleet."""

    limits: Limits = field(default_factory=Limits)


async def diagnose_shared(report: Report, client: Redis, keys: Keys, bounds: Bounds, now_ms: int) -> None:
    """Add the findings to `report`; `now_ms` is epoch ms of Redis.

    Raises:
        StoreError: the server cannot be reached, or refuses all calls now.
    """
    asked: Any = client
    limit = (await read_memory(client)).limit
    for caps in stream_caps(keys, bounds):
        await check_caps(report, client, keys, caps, limit, now_ms)
    for stream, cap in (
        (keys.unasked, int(bounds.responses_maxlen * PART)),
        (keys.deadletter, DEADLETTER_MAXLEN),
        (keys.kept, KEPT_MAXLEN),
    ):
        await report.attempt(stream, _stream(report, client, stream, cap, now_ms), None)
    letters = await report.attempt(keys.deadletter, asked.xlen(keys.deadletter), 0)
    if letters:
        entries = "entry" if letters == 1 else "entries"
        found = f"{letters} {entries} of producers could not be processed as commands"
        mend = "Read why: telgw dead-letters. Correct the cause, then --requeue or --drop them."
        report.add(WARNING, "dead letters", found, mend, {"entries": letters})
    # These calls check only the types.
    await report.attempt(keys.serial, asked.sismember(keys.serial, ""), False)
    for key in (keys.auth, keys.families, keys.status, keys.traced):
        await report.attempt(key, asked.hget(key, ""), None)
    await diagnose_allow_list(report, client, keys)


async def check_caps(
    report: Report, client: Redis, keys: Keys, caps: StreamCaps, limit: int, now_ms: int
) -> None:
    """Check the bytes and the entries of a stream, its groups and its ids; `limit` is ``maxmemory``.

    Raises:
        StoreError: the server cannot be reached, or refuses all calls now.
    """
    await report.attempt(caps.key, _bytes(report, client, keys, caps, limit), None)
    await report.attempt(caps.key, _stream(report, client, caps.key, caps.maxlen, now_ms), None)


async def _stream(report: Report, client: Any, stream: str, cap: int, now_ms: int) -> None:
    length = await client.xlen(stream)
    found, mend = f"{length} entries of {cap}", "No gateway trims it: read their logs."
    counts = {"entries": length, "cap": cap}
    report.add(WARNING if length > OVERGROWN * cap else OK, stream, found, mend, counts)
    if finding := check_last_id(stream, await last_id(client, stream), now_ms, _RENAME.format(stream)):
        report.findings.append(finding)
    for group in await client.xinfo_groups(stream) if length else ():
        behind = group.get("lag") or 0  # Redis 6.2 does not report it
        if behind > BEHIND * cap:
            name = group["name"].decode(errors="replace")
            found = f"group {name}: {behind} entries behind"
            mend = f"Let it read, or XGROUP DESTROY it: above {cap} entries, unread entries are trimmed."
            report.add(WARNING, stream, found, mend, {f"behind:{name}": behind})


async def _bytes(report: Report, client: Any, keys: Keys, caps: StreamCaps, limit: int) -> None:
    """Check the bytes of a stream, and how many of them a group has not read."""
    sizes = await read_sizes(client, caps.key, keys.sizes(caps.key))
    held, cap = sum(size for _, size in sizes), caps.bytes(limit)
    subject = f"bytes of {caps.key}"
    found = f"{_mebibytes(held)} of {_mebibytes(cap)} MiB ({held / cap:.0%})"
    report.add(OK, subject, found, counts={"bytes": held, "cap_bytes": cap})
    for group in await client.xinfo_groups(caps.key) if sizes else ():
        read_to = read_id(group["last-delivered-id"])
        unread = sum(size for entry_id, size in sizes if entry_id > read_to)
        if unread > FULL * cap:
            name = group["name"].decode(errors="replace")
            found = f"group {name}: {_mebibytes(unread)} of {_mebibytes(cap)} MiB unread"
            mend = "Let it read, or XGROUP DESTROY it: above this cap, unread entries are trimmed."
            report.add(WARNING, subject, found, mend, {f"unread_bytes:{name}": unread})


def _mebibytes(number: int) -> str:
    return f"{number / 2**20:.0f}"
