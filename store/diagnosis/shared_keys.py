"""Whether the keys that all of a fleet share are right: types, and lengths, groups and ids of streams."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from fsm.outbound import Limits
from store.diagnosis.server import OK, WARNING, Report
from store.diagnosis.stream_ids import judge_last_id, last_id
from store.keys import Keys
from store.ledger.ledger import DEADLETTER_MAXLEN
from store.streams.telemetry import UNDECODABLE_MAXLEN

OVERGROWN = 2
"""How many times its cap a stream may hold between two trims."""
BEHIND = 0.5
"""The part of its cap that a group may leave unread before it is told."""

_RENAME = "RENAME {0} {0}:full: consumers read the rest there, and make their groups anew, from 0."


@dataclass(slots=True, frozen=True)
class Bounds:
    """What the gateways of the fleet are set to; `session_events` is a stream of its own, or empty."""

    responses_maxlen: int = 1_000_000
    telemetry_maxlen: int = 1_000_000
    messages_maxlen: int = 1_000_000
    session_events: str = ""
    limits: Limits = field(default_factory=Limits)


async def diagnose_shared(report: Report, client: Redis, keys: Keys, bounds: Bounds, now_ms: int) -> None:
    """Add to `report` what is found; `now_ms` is epoch ms by the clock of Redis.

    Raises:
        StoreError: the server cannot be reached, or serves nobody for now.
    """
    asked: Any = client
    caps = {
        keys.responses: bounds.responses_maxlen,
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
            await report.attempt(key, asked.sismember(key, ""), False)  # for its type alone


async def _stream(report: Report, client: Any, stream: str, cap: int, now_ms: int) -> None:
    length = await client.xlen(stream)
    found, mend = f"{length} entries of {cap}", "No living gateway trims it: look at their logs."
    report.add(WARNING if length > OVERGROWN * cap else OK, stream, found, mend)
    if finding := judge_last_id(stream, await last_id(client, stream), now_ms, _RENAME.format(stream)):
        report.findings.append(finding)
    for group in await client.xinfo_groups(stream) if length else ():
        behind = group.get("lag") or 0  # Redis 6.2 does not tell
        if behind > BEHIND * cap:
            found = f"group {group['name'].decode(errors='replace')}: {behind} entries behind"
            mend = f"Let it read, or XGROUP DESTROY it: beyond {cap} entries what it has not read goes."
            report.add(WARNING, stream, found, mend)
