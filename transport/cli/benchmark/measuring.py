"""One measurement of each kind, and the rounds of all of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from transport.settings import Address

from .processes import cpu_seconds, memory
from .trackers import Load, Trackers, frames_of

RECORDS = (1, 5, 20)
"""Records of the frames that are sent as fast as they are acknowledged."""
RATES = (250, 1000, 4000)
"""Frames a second, of one record each."""
IDLE = 1000
"""Connections by whose number the memory of one is measured."""
WARM = 0.5
"""Seconds of load before what is measured."""
TRACKERS = 500

_first_imei = count(350_000_000_000_000, 10_000)


@dataclass(slots=True, frozen=True)
class Server:
    """A server to measure.

    Attributes:
        pid: its process; None if it is not known.
        redis: the process of the Redis behind it; None without one.
    """

    name: str
    address: Address
    pid: int | None = None
    redis: int | None = None


@dataclass(slots=True)
class Cost:
    """What one frame, or one command, costs in one round, in microseconds of CPU time; None: not known."""

    server: float | None
    redis: float | None = None
    each_second: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None


@dataclass(slots=True)
class Series:
    """The rounds of one measurement of one server."""

    what: str
    server: str
    costs: list[Cost] = field(default_factory=list)

    def median(self, of: Callable[[Cost], float | None]) -> float | None:
        """The median of what the rounds have; None if they have none."""
        values = [value for one in self.costs if (value := of(one)) is not None]
        return statistics.median(values) if values else None


def trackers(server: Server, number: int = TRACKERS) -> Trackers:
    """Trackers of that server, with IMEIs that no others have."""
    return Trackers(server.address, number, next(_first_imei))


def measure_frames(server: Server, records: int, seconds: float, rate: float = 0.0) -> Cost:
    """The cost of a frame with so many records, at a rate of frames a second or (0) at saturation."""
    frames = frames_of(records)
    with trackers(server) as fleet:
        fleet.load(frames, WARM, rate)
        before = spent(server)
        load = fleet.load(frames, seconds, rate)
        return _cost(load, before, spent(server))


Spent = tuple[float | None, float | None]


def spent(server: Server) -> Spent:
    """CPU seconds that the server and its Redis have used so far."""
    return (
        None if server.pid is None else cpu_seconds(server.pid),
        None if server.redis is None else cpu_seconds(server.redis),
    )


def _cost(load: Load, before: Spent, after: Spent) -> Cost:
    server, redis = each(load.frames, before, after)
    rate = load.frames / load.seconds
    return Cost(server, redis, rate, load.quantile(0.5), load.quantile(0.99))


def each(number: int, before: Spent, after: Spent) -> tuple[float | None, float | None]:
    """The microseconds of server and Redis for each of so many."""
    return _share(number, before[0], after[0]), _share(number, before[1], after[1])


def _share(number: int, begun: float | None, ended: float | None) -> float | None:
    return None if begun is None or ended is None or not number else (ended - begun) * 1e6 / number


def measure_memory(server: Server) -> float | None:
    """KiB that one idle connection adds to a server."""
    if server.pid is None:
        return None
    with trackers(server, IDLE // 4):
        pass  # what the first connections add stays when they end
    before = memory(server.pid)
    with trackers(server, IDLE):
        return (memory(server.pid) - before) / IDLE / 1024
