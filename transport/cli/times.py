"""Times as people read them: local with the offset, or UTC; and how long something takes."""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


class Times:
    """Shows times in one time zone.

    Args:
        utc: in UTC instead of the local time zone.
    """

    def __init__(self, utc: bool) -> None:
        self._utc = utc

    def show(self, epoch_ms: int | None, *, precise: bool = False) -> str:
        """A date with its time and offset; empty for None, the number itself if no calendar has it."""
        if epoch_ms is None:
            return ""
        try:
            moment = datetime.fromtimestamp(epoch_ms / 1000, UTC)
            moment = moment if self._utc else moment.astimezone()
        except (ValueError, OverflowError, OSError):
            return str(epoch_ms)
        fraction = f".{moment.microsecond // 1000:03d}" if precise else ""
        return f"{moment:%Y-%m-%d %H:%M:%S}{fraction}{moment:%z}"


def duration(milliseconds: int | None) -> str:
    """A time span in its two largest units, such as ``3h12m``; empty for None."""
    if milliseconds is None:
        return ""
    seconds = max(0, milliseconds) // 1000
    for place, (size, unit) in enumerate(_UNITS):
        if seconds >= size:
            rest = seconds % size // _UNITS[place + 1][0] if unit != "s" else 0
            return f"{seconds // size}{unit}" + (f"{rest}{_UNITS[place + 1][1]}" if rest else "")
    return "0s"


def epoch_ms_of(at: str) -> int | None:
    """An RFC 3339 time in epoch ms; None if it is none."""
    try:
        return round(datetime.fromisoformat(at).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
