"""The status of a session that goes on: what of the one before is kept.

This is by far the most frequent status, told with each heartbeat for each device that reports. What needs
more is left to ``store/scripts/device_status.lua``, which costs Redis ten times as much as a plain write.
"""

from __future__ import annotations

import re

from fsm.device_status import DeviceStatus
from fsm.session import CLOSED

APART = 600
"""Seconds without records between two of the times at which a device has reported."""

_KEPT = re.compile(rb'(\{"first_reported_at":\d+,"reported":\[(?:\d+,\d+,)*(\d+),)(\d+)\],')
_TOLD_AT = re.compile(rb'"told_at":(\d+)')
_RECORDS = re.compile(rb'"records":(\d+)')


def kept_while_it_goes_on(old: bytes, status: DeviceStatus) -> bytes:
    """How a status begins that replaces `old`, with the fields that Redis keeps, up to the comma.

    Empty if it is not known to be of the same session, or if more than the end of the last time at which the
    device has reported changes.
    """
    kept, told_at = _KEPT.match(old), _TOLD_AT.search(old)
    same = b'"session_id":"%b"' % status.session_id.encode() in old
    needs_more = status.last is None or status.state == CLOSED
    if kept is None or told_at is None:
        return b""
    if needs_more or not same:
        return b""
    start, last, before = int(kept[2]), int(kept[3]), int(told_at[1])
    if _records(old) != status.records:
        if not start * 1000 <= before <= status.told_at or before // 1000 - last >= APART:
            return b""
        last = max(last, -(-status.told_at // 1000))
    return b"%b%d]," % (kept[1], last)


def _records(text: bytes) -> int:
    found = _RECORDS.search(text)
    return int(found[1]) if found else 0
