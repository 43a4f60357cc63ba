"""Checks the keys that a fleet shares: their types, and the lengths, groups and ids of streams."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from fsm.outbound import Limits
from store.diagnosis.server import OK, WARNING, Report
from store.diagnosis.stream_ids import check_last_id, last_id
from store.keys import Keys
from store.ledger.ledger import DEADLETTER_MAXLEN
from store.streams.telemetry import UNDECODABLE_MAXLEN
from store.streams.unasked import PART

OVERGROWN = 2
"""A stream may reach its cap times this factor between two trims."""
BEHIND = 0.5
"""A group may leave this fraction of the cap unread without a finding."""

_RENAME = "RENAME {0} {0}:full: consumers read the rest there, and create their groups again, from 0."


@dataclass(slots=True, frozen=True)
class Bounds:
    """Settings of the gateways of the fleet. `session_events` is a separate stream, or empty."""

    responses_maxlen: int = 1_000_000
    telemetry_maxlen: int = 1_000_000
    messages_maxlen: int = 1_000_000
    session_events: str = ""
    limits: Limits = field(default_factory=Limits)


async def diagnose_shared(report: Report, client: Redis, keys: Keys, bounds: Bounds, now_ms: int) -> None:
    """Add the findings to `report`; `now_ms` is epoch ms of Redis.

    Raises:
        StoreError: the server cannot be reached, or refuses all calls now.
    """
    asked: Any = client
    caps = {
        keys.responses: bounds.responses_maxlen,
        keys.unasked: int(bounds.responses_maxlen * PART),
        keys.telemetry: bounds.telemetry_maxlen,
        keys.messages: bounds.messages_maxlen,
        keys.deadletter: DEADLETTER_MAXLEN,
        keys.undecodable: UNDECODABLE_MAXLEN,
    }
    if bounds.session_events:
        caps[bounds.session_events] = bounds.responses_maxlen
    for stream, cap in caps.items():
        await report.attempt(stream, _stream(report, client, stream, cap, now_ms), None)
    for key, kind in keys.shared.items():
        if kind == "set":
            await report.attempt(key, asked.sismember(key, ""), False)  # checks only its type


async def _stream(report: Report, client: Any, stream: str, cap: int, now_ms: int) -> None:
    length = await client.xlen(stream)
    found, mend = f"{length} entries of {cap}", "No gateway trims it: read their logs."
    report.add(WARNING if length > OVERGROWN * cap else OK, stream, found, mend)
    if finding := check_last_id(stream, await last_id(client, stream), now_ms, _RENAME.format(stream)):
        report.findings.append(finding)
    for group in await client.xinfo_groups(stream) if length else ():
        behind = group.get("lag") or 0  # Redis 6.2 does not report it
        if behind > BEHIND * cap:
            found = f"group {group['name'].decode(errors='replace')}: {behind} entries behind"
            mend = f"Let it read, or XGROUP DESTROY it: above {cap} entries, unread entries are trimmed."
            report.add(WARNING, stream, found, mend)
