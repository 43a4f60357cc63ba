"""A wall clock that is set, and replies that come late, move no deadline and bring no time back."""

from __future__ import annotations

import time

import pytest
from freezegun.api import FrozenDateTimeFactory

from transport import clock as clocks
from transport.clock import MEMORY_MS, Clock

HOUR = 3600.0


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_wall_clock_that_is_set_moves_neither_deadlines_nor_the_time_of_redis(
    monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    wall = time.time()
    clock = Clock()
    clock.sync(1_767_225_600_000)
    deadline, now_ms = clock.monotonic() + 30.0, clock.now_ms()
    monkeypatch.setattr(clocks.time, "time", lambda: wall + step)
    assert 29.0 < deadline - clock.monotonic() <= 30.0
    assert 0 <= clock.now_ms() - now_ms < 1000


def test_of_the_measurements_of_a_minute_the_one_furthest_ahead_counts(
    frozen: FrozenDateTimeFactory,
) -> None:
    clock, start = Clock(), round(time.time() * 1000)
    for measured in (0, 500, 100):
        clock.sync(start + measured)
    assert clock.now_ms() == start + 500
    frozen.tick(MEMORY_MS / 1000)
    clock.sync(start + round(MEMORY_MS) + 100)
    assert clock.now_ms() == start + round(MEMORY_MS) + 500
