"""Acknowledgements in time: of the handshake always, of frames while the telemetry store can be reached."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator

from tests import wire_format
from tests.history import Bytes, History

HANDSHAKE = 100.0
"""Milliseconds from the handshake to ``01``, whatever the store does."""
ACK = 100.0
"""Milliseconds from the last byte of a frame to its ack, while the store of telemetry can be reached."""
AFTERMATH = 7_000.0
"""Milliseconds for which trouble lasts on: a call is waited for, and a pause follows it."""

Intervals = list[tuple[float, float]]


def late_acks(history: History, trouble: dict[str, Intervals], frozen: dict[str, Intervals]) -> Iterator[str]:
    """What was acknowledged late, as sentences.

    `trouble` of the telemetry store, and when the process was `frozen`, are by connection, in epoch ms.
    """
    traffic: dict[str, list[Bytes]] = defaultdict(list)
    for data in history.traffic:
        traffic[data.connection].append(data)
    for connection, passed in traffic.items():
        for what, came, acked in _waits(passed):
            bound = HANDSHAKE if what == "handshake" else ACK
            excused = frozen[connection] + (trouble[connection] if what == "frame" else [])
            if acked - came > bound and not _overlaps(excused, came, acked):
                yield f"a {what} on {connection} waited {acked - came:.0f} ms from {came:.0f}"


def _waits(passed: Iterable[Bytes]) -> Iterator[tuple[str, float, float]]:
    """What was acknowledged on one connection: what it was, when it came, when it was acknowledged."""
    up, down = wire_format.from_device(), wire_format.from_gateway()
    came: deque[float] = deque()
    hello_at = 0.0
    for data in passed:
        if data.up:
            for item in up.feed(data.data):
                if isinstance(item, bytes) and item[0] in wire_format.AVL_CODECS.values():
                    came.append(data.at)
            if not hello_at and len(up.opening) == 17:
                hello_at = data.at
            continue
        if not down.opening:
            yield "handshake", hello_at, data.at
        for item in down.feed(data.data):
            if isinstance(item, int) and came:
                yield "frame", came.popleft(), data.at


def _overlaps(intervals: Intervals, begin: float, end: float) -> bool:
    return any(start <= end and begin <= stop + AFTERMATH for start, stop in intervals)
