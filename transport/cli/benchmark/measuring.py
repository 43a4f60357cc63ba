"""One measurement of each kind."""

from __future__ import annotations

import statistics
import time
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
IDLE = 4000
"""Connections by whose number the memory of one is measured."""
BEATING = 4000
"""Devices by whose number the cost of a heartbeat is measured: with few, calls cost more than devices."""
WARM = 0.5
"""Seconds of load before what is measured."""
TRACKERS = 500
LOOK, AT_REST, ENOUGH = 0.25, 0.1, 20.0
"""A server is idle when it uses so small a share of a core for so many seconds; it is waited for so long."""

_first_imei = count(350_000_000_000_000, 1_000_000)


@dataclass(slots=True, frozen=True)
class Server:
    """A server to measure.

    Attributes:
        pids: its processes; none if they are not known.
        redis: the process of the Redis behind it; none without one.
    """

    name: str
    address: Address
    pids: tuple[int, ...] = ()
    redis: tuple[int, ...] = ()


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


class Loaded:
    """A server with trackers that stay connected from one measurement to the next; a context manager."""

    def __init__(self, server: Server, number: int = TRACKERS) -> None:
        self.server = server
        self.fleet = trackers(server, number)

    def __enter__(self) -> Loaded:
        self.fleet.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.fleet.__exit__()

    def frames(self, records: int, seconds: float, rate: float = 0.0, window: int = 0) -> Cost:
        """The cost of a frame with so many records.

        Args:
            rate: frames a second of all trackers; 0 for as many as are acknowledged.
            window: frames that wait at any time; 0 for one of each tracker.
        """
        frames = frames_of(records)
        self.fleet.load(frames, min(WARM, seconds), rate, window)
        before = spent(self.server)
        done = self.fleet.load(frames, seconds, rate, window)
        return _cost(done, before, spent(self.server))


Spent = tuple[float | None, float | None]


def spent(server: Server) -> Spent:
    """CPU seconds that the server and its Redis have used so far."""
    return _sum(server.pids), _sum(server.redis)


def _sum(pids: tuple[int, ...]) -> float | None:
    return sum(map(cpu_seconds, pids)) if pids else None


def _cost(done: Load, before: Spent, after: Spent) -> Cost:
    server, redis = each(done.frames, before, after)
    rate = done.frames / done.seconds
    return Cost(server, redis, rate, done.quantile(0.5), done.quantile(0.99))


def each(number: int, before: Spent, after: Spent) -> tuple[float | None, float | None]:
    """The microseconds of server and Redis for each of so many."""
    return _share(number, before[0], after[0]), _share(number, before[1], after[1])


def _share(number: int, begun: float | None, ended: float | None) -> float | None:
    return None if begun is None or ended is None or not number else (ended - begun) * 1e6 / number


def memory_of(server: Server) -> int:
    """Bytes that the processes of a server hold."""
    return sum(map(memory, server.pids))


def wait_until_idle(server: Server) -> None:
    """Wait until a server and its Redis have nothing left to do for devices that have come or gone."""
    until = time.monotonic() + ENOUGH
    while time.monotonic() < until:
        used = [seconds for seconds in _spent_in(server, LOOK) if seconds is not None]
        if all(seconds < AT_REST * LOOK for seconds in used):
            return


def measure_memory(server: Server) -> float:
    """KiB that one idle connection adds to a server: its device has named itself and sent one frame."""
    with trackers(server, IDLE // 4) as first:  # they stay: the memory that they leave would be used again
        first.report(frames_of(1)[0])
        wait_until_idle(server)
        before = memory_of(server)
        with trackers(server, IDLE) as fleet:
            fleet.report(frames_of(1)[0])
            wait_until_idle(server)
            return (memory_of(server) - before) / IDLE / 1024


def measure_heartbeat(server: Server, interval: float) -> Cost:
    """The cost of a connected device at one heartbeat of its gateway, since which it has sent a frame.

    What the gateway does without devices is left out. Where other programs disturb that, nothing is known.
    """
    frame = frames_of(1)[0]
    wait_until_idle(server)
    at_rest = _spent_in(server, interval)
    with trackers(server, BEATING) as fleet:
        fleet.report(frame)
        wait_until_idle(server)
        fleet.report(frame)
        time.sleep(LOOK)  # the frames themselves are no part of it
        busy = _spent_in(server, interval)
    gateway, redis = each(BEATING, at_rest, busy)
    return Cost(_positive(gateway), _positive(redis))


def _positive(cost: float | None) -> float | None:
    return cost if cost is not None and cost > 0 else None


def _spent_in(server: Server, seconds: float) -> Spent:
    """CPU seconds that the server and its Redis use in so many seconds."""
    before = spent(server)
    time.sleep(seconds)
    return _difference(before[0], spent(server)[0]), _difference(before[1], spent(server)[1])


def _difference(begun: float | None, ended: float | None) -> float | None:
    return None if begun is None or ended is None else ended - begun
