"""The route of a simulated vehicle: laps on a closed course, with bends, traffic lights and speed limits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

METRES_PER_DEGREE = 111_320.0
"""Metres of one degree of latitude, and of longitude at the equator."""

# A ring through a town: longitude, latitude, metres above sea level, speed limit (km/h) to the next point.
COURSE = (
    (25.2797, 54.6872, 112, 50),
    (25.2711, 54.6901, 104, 50),
    (25.2622, 54.6949, 96, 60),
    (25.2580, 54.7034, 101, 70),
    (25.2649, 54.7119, 118, 90),
    (25.2793, 54.7161, 134, 90),
    (25.2956, 54.7142, 141, 90),
    (25.3078, 54.7066, 139, 70),
    (25.3092, 54.6967, 127, 50),
    (25.3011, 54.6894, 119, 50),
    (25.2904, 54.6861, 114, 30),
)
ACCELERATION = 1.8
"""Metres per second squared."""


@dataclass(slots=True, frozen=True)
class Position:
    """Degrees, metres above sea level, degrees clockwise from north, km/h."""

    longitude: float
    latitude: float
    altitude: int
    angle: int
    speed: int


class Route:
    """A drive along the course. Two routes with the same seed are the same drive."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._leg = self._random.randrange(len(COURSE))
        self._done = 0.0
        self._speed = self._random.uniform(0, 12)
        self._waiting = 0.0
        self._offset = (self._random.uniform(-0.002, 0.002), self._random.uniform(-0.001, 0.001))

    def advance(self, seconds: float) -> float:
        """Drive on for `seconds`; the metres driven."""
        driven = 0.0
        while seconds > 0:
            step = min(seconds, 1.0)
            seconds -= step
            driven += self._step(step)
        return driven

    def position(self) -> Position:
        """Where the vehicle is now."""
        x0, y0, z0, _ = COURSE[self._leg]
        x1, y1, z1, _ = COURSE[(self._leg + 1) % len(COURSE)]
        share = self._done / self._length()
        east, north = self._offset
        return Position(
            longitude=round(x0 + (x1 - x0) * share + east, 7),
            latitude=round(y0 + (y1 - y0) * share + north, 7),
            altitude=round(z0 + (z1 - z0) * share),
            angle=round(math.degrees(math.atan2((x1 - x0) * _narrowing(y0), y1 - y0))) % 360,
            speed=round(self._speed * 3.6),
        )

    def _step(self, seconds: float) -> float:
        if self._waiting > 0:
            self._waiting -= seconds
            self._speed = 0.0
            return 0.0
        limit = COURSE[self._leg][3] / 3.6
        wanted = limit * self._random.uniform(0.85, 1.05)
        change = ACCELERATION * seconds
        self._speed = max(self._speed - change, min(self._speed + change, wanted))
        driven = self._speed * seconds
        self._drive(driven)
        return driven

    def _drive(self, metres: float) -> None:
        self._done += metres
        while self._done >= self._length():
            self._done -= self._length()
            self._leg = (self._leg + 1) % len(COURSE)
            if self._random.random() < 0.3:  # a red light
                self._waiting = self._random.uniform(5, 40)
                self._done = 0.0

    def _length(self) -> float:
        x0, y0, *_ = COURSE[self._leg]
        x1, y1, *_ = COURSE[(self._leg + 1) % len(COURSE)]
        return math.hypot((x1 - x0) * _narrowing(y0), y1 - y0) * METRES_PER_DEGREE


def _narrowing(latitude: float) -> float:
    """Length of a degree of longitude at `latitude`, as a fraction of its length at the equator."""
    return math.cos(math.radians(latitude))
