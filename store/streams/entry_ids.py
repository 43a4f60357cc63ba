"""Ids of stream entries: two numbers of 64 bits. A client may have chosen the highest one."""

from __future__ import annotations

EntryId = tuple[int, int]

HIGHEST = 2**64 - 1
"""The most that either part of an id can be."""

_LAST = f"{HIGHEST}-{HIGHEST}"


def after(entry_id: bytes) -> str | None:
    """The start of a range that begins behind an entry; None when there can be nothing."""
    text = entry_id.decode()
    return None if text == _LAST else f"({text}"


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
