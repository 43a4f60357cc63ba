"""A Redis stream with its consumer groups, as far as gateways use them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

EntryId = tuple[int, int]
FIRST: EntryId = (0, 0)
LAST: EntryId = (1 << 64, 0)
NODE = 100
"""Entries of a node: approximate trims remove whole ones."""


def read_id(text: bytes, missing: int = 0) -> EntryId:
    """An id as it is written; `missing` stands for a serial that is not there."""
    milliseconds, dash, serial = text.partition(b"-")
    return int(milliseconds), int(serial) if dash else missing


def spell_id(entry_id: EntryId) -> bytes:
    """An id as it is written."""
    return b"%d-%d" % entry_id


@dataclass
class Group:
    """Who was given what and has not acknowledged it."""

    delivered: EntryId
    pending: dict[EntryId, bytes] = field(default_factory=dict)  # id -> consumer, in the order of ids


class Stream:
    """Entries in the order of their ids."""

    def __init__(self) -> None:
        self.last = FIRST
        self.groups: dict[bytes, Group] = {}
        self._ids: list[EntryId] = []
        self._fields: dict[EntryId, list[bytes]] = {}

    @property
    def length(self) -> int:
        """How many entries there are."""
        return len(self._ids)

    def add(self, entry_id: EntryId, fields: list[bytes]) -> None:
        """Append an entry; its id is higher than all before."""
        self.last = entry_id
        self._ids.append(entry_id)
        self._fields[entry_id] = fields

    def next_id(self, now_ms: int) -> EntryId:
        """The id of an entry that is added now."""
        milliseconds, serial = self.last
        return (now_ms, 0) if now_ms > milliseconds else (milliseconds, serial + 1)

    def remove(self, entry_id: EntryId) -> bool:
        """Delete an entry; whether it was there."""
        if self._fields.pop(entry_id, None) is None:
            return False
        del self._ids[bisect_left(self._ids, entry_id)]
        return True

    def trim(self, keep: int, *, whole_nodes: bool, limit: int = 0) -> int:
        """Remove the oldest entries but for `keep`, and at most `limit` (0: all of them); how many went."""
        excess = max(0, self.length - keep)
        if limit:
            excess = min(excess, limit)
        if whole_nodes and excess < self.length:
            excess -= excess % NODE
        for entry_id in self._ids[:excess]:
            del self._fields[entry_id]
        del self._ids[:excess]
        return excess

    def younger(self, entry_id: EntryId) -> int:
        """How many entries have this id or a higher one."""
        return len(self._ids) - bisect_left(self._ids, entry_id)

    def between(self, first: EntryId, last: EntryId, count: int | None = None) -> list[Any]:
        """Entries from `first` to `last`, both included."""
        begin, end = bisect_left(self._ids, first), bisect_right(self._ids, last)
        if count is not None:
            end = min(end, begin + count)
        return [self.entry(entry_id) for entry_id in self._ids[begin:end]]

    def entry(self, entry_id: EntryId) -> list[Any]:
        """An entry as it is replied; without fields when it was deleted."""
        return [spell_id(entry_id), self._fields.get(entry_id)]

    # Groups

    def deliver(self, group: Group, consumer: bytes, count: int | None) -> list[Any]:
        """What the group has not been given yet."""
        begin = bisect_right(self._ids, group.delivered)
        fresh = self._ids[begin : None if count is None else begin + count]
        for entry_id in fresh:
            group.pending[entry_id] = consumer
            group.delivered = entry_id
        return [self.entry(entry_id) for entry_id in fresh]

    def redeliver(self, group: Group, consumer: bytes, after: EntryId, count: int | None) -> list[Any]:
        """What the consumer was given and has not acknowledged, after an id."""
        own = (one for one, owner in group.pending.items() if owner == consumer and one > after)
        return [self.entry(entry_id) for entry_id in islice(own, count)]

    def claim(self, group: Group, consumer: bytes, start: EntryId, count: int) -> list[Any]:
        """XAUTOCLAIM without an idle time: everything pending changes hands; what was deleted is let go."""
        found = [entry_id for entry_id in group.pending if entry_id >= start]
        claimed: list[Any] = []
        gone: list[bytes] = []
        while found and len(claimed) + len(gone) < count:
            entry_id = found.pop(0)
            if entry_id in self._fields:
                group.pending[entry_id] = consumer
                claimed.append(self.entry(entry_id))
            else:
                del group.pending[entry_id]
                gone.append(spell_id(entry_id))
        return [spell_id(found[0] if found else FIRST), claimed, gone]

    @staticmethod
    def summary(group: Group) -> list[Any]:
        """XPENDING without a range."""
        if not group.pending:
            return [0, None, None, None]
        ids = list(group.pending)
        owners = sorted(Counter(group.pending.values()).items())
        counts = [[owner, b"%d" % number] for owner, number in owners]
        return [len(ids), spell_id(ids[0]), spell_id(ids[-1]), counts]
