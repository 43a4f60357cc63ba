"""Finds commands that should have ended by now."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from redis.asyncio import Redis

from fsm.command import COMMAND, CommandRequest
from fsm.errors import InvalidCommand
from fsm.outbound import FIELD_LIMIT, Limits, parse_entry
from store.client.client import Calls
from store.client.errors import StoreError
from store.client.numbers import whole
from store.keys import Keys
from store.streams.entry_ids import after

MARGIN_MS = 5000
"""How much later than its deadline a terminal event may reach the ledger."""
MOST = 10_000
"""Entries of one stream that are checked, at most."""

_PAGE = 500

RawEntry = tuple[bytes, dict[bytes, bytes]]


@dataclass(slots=True)
class Backlog:
    """The entries on the stream of one instance.

    Attributes:
        checked: number of entries that were checked, the oldest first, `MOST` at most.
        overdue: ids of commands whose time is over and that have not ended; of invalid entries, their ids.
        finished: ids of commands that have ended, so that their entry should have been removed.
    """

    checked: int = 0
    overdue: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)


@dataclass(slots=True, frozen=True)
class _Case:
    """An entry, and the ledger of its command; empty if there is none, or it belongs to another entry."""

    entry_id: str
    request: CommandRequest | None
    ledger: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.request.command_id if self.request else f"entry {self.entry_id}"


async def find_overdue(client: Redis, keys: Keys, instance_id: str, limits: Limits, now_ms: int) -> Backlog:
    """Check every entry on the stream of `instance_id`, pending or unread.

    Args:
        limits: the defaults of the gateways for commands.
        now_ms: epoch ms of Redis.

    Raises:
        StoreError: a call failed.
    """
    backlog = Backlog()
    limits = replace(limits, max_payload=FIELD_LIMIT)  # the length of a text is checked by gateways only
    stream = keys.outbound(instance_id)
    async for page in _pages(client, stream):
        backlog.checked += len(page)
        for case in await _cases(client, keys, instance_id, page, limits, now_ms):
            found = _list_for(case, limits, now_ms, backlog)
            # A terminal event removes the entry: a command that ended during the check is fine.
            if found is not None and await client.xrange(stream, case.entry_id, case.entry_id):
                found.append(case.name)
    return backlog


async def _pages(client: Redis, stream: str) -> AsyncIterator[list[RawEntry]]:
    start: str | None = "-"
    left = MOST
    while start and left > 0:
        page: Any = await client.xrange(stream, start, count=min(_PAGE, left))
        if page:
            yield page
        if len(page) < _PAGE:
            return
        left -= len(page)
        start = after(page[-1][0])


async def _cases(
    client: Redis, keys: Keys, instance_id: str, page: list[RawEntry], limits: Limits, now_ms: int
) -> list[_Case]:
    cases = {entry[0].decode(): _request(instance_id, entry, limits, now_ms) for entry in page}
    ids = list({request.command_id for request in cases.values() if request})
    ledgers = dict(zip(ids, await read_ledgers(client, keys, ids), strict=True))
    found = []
    for entry_id, request in cases.items():
        ledger = ledgers[request.command_id] if request else {}
        ours = (ledger.get("instance_id"), ledger.get("outbound_id")) == (instance_id, entry_id)
        found.append(_Case(entry_id, request, ledger if ours else {}))
    return found


def _request(instance_id: str, entry: RawEntry, limits: Limits, now_ms: int) -> CommandRequest | None:
    entry_id, fields = entry
    at: Any = {"instance_id": instance_id, "outbound_id": entry_id.decode(), "now_ms": now_ms}
    try:
        request = parse_entry(fields, **at, limits=limits)
    except InvalidCommand:
        return None
    return request if isinstance(request, CommandRequest) else None


async def read_ledgers(client: Redis, keys: Keys, command_ids: list[str]) -> list[dict[str, str]]:
    """The ledgers of `command_ids`, in one round trip; empty for a command without one.

    Raises:
        StoreError: a call failed, or one of the keys is not a hash.
    """
    found = await cast(Calls, client).batch([["HGETALL", keys.ledger(each)] for each in command_ids])
    for refusal in found:
        if isinstance(refusal, StoreError):
            raise refusal
    return [
        {name.decode(errors="replace"): value.decode(errors="replace") for name, value in ledger.items()}
        for ledger in found
    ]


def _list_for(case: _Case, limits: Limits, now_ms: int, backlog: Backlog) -> list[str] | None:
    """The list in `backlog` to which the case belongs; None if it is all right."""
    if case.ledger.get("state") in COMMAND.terminal:
        return backlog.finished
    return backlog.overdue if now_ms > _deadline(case, limits) + MARGIN_MS else None


def _deadline(case: _Case, limits: Limits) -> int:
    """Epoch ms at which the command has to end at the latest."""
    request, expires = case.request, case.ledger.get("expires_at", "")
    if request is None:
        entry_ms = int(case.entry_id.partition("-")[0])
        return entry_ms + round((limits.command_ttl + limits.response_timeout) * 1000)
    return whole(expires, request.expires_at) + round(request.response_timeout * 1000)
