"""Ids of stream entries: two numbers of 64 bits. A client may have chosen the highest one."""

from __future__ import annotations

from store.client.numbers import whole

EntryId = tuple[int, int]

HIGHEST = 2**64 - 1
"""The most that either part of an id can be."""

AHEAD_MS = 60_000
"""How far the last id may be ahead of the clock of the server; corrections of a clock are smaller."""

ORIGIN: EntryId = (0, 0)
"""Below every id of an entry."""
LAST: EntryId = (HIGHEST, HIGHEST)
"""The highest id that an entry can have."""


def read_id(entry_id: bytes) -> EntryId:
    """The two numbers of an id."""
    milliseconds, _, serial = entry_id.decode().partition("-")
    return whole(milliseconds, 0), whole(serial, 0)


def spell(entry_id: EntryId) -> str:
    """An id as Redis reads it."""
    return f"{entry_id[0]}-{entry_id[1]}"


def after(entry_id: bytes) -> str | None:
    """The start of a range that begins behind an entry; None when there can be nothing."""
    text = entry_id.decode()
    return None if text == spell(LAST) else f"({text}"


def before(entry_id: str) -> str:
    """The highest id below another, for a reader that begins behind it; the lowest stands for itself."""
    milliseconds, _, serial = entry_id.partition("-")
    if int(serial):
        return f"{milliseconds}-{int(serial) - 1}"
    return f"{int(milliseconds) - 1}-{HIGHEST}" if int(milliseconds) else entry_id


def successor(entry_id: EntryId) -> EntryId:
    """The lowest id above another; the highest has none, and stands for itself."""
    milliseconds, serial = entry_id
    if serial < HIGHEST:
        return milliseconds, serial + 1
    return (milliseconds + 1, 0) if milliseconds < HIGHEST else entry_id
