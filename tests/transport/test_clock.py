"""The clock of Redis as a process knows it: from replies, some of which were held up."""

from __future__ import annotations

import time

import pytest
from freezegun.api import FrozenDateTimeFactory

from transport import clock as clocks
from transport.clock import MEMORY_MS, Clock

HOUR = 3600.0

REDIS = 1_800_000_000_000


def test_the_wall_clock_is_used_before_the_time_of_redis(frozen: FrozenDateTimeFactory) -> None:
    clock = Clock()
    assert abs(clock.now_ms() - 1_767_225_600_000) <= 1
    clock.sync(REDIS)
    frozen.tick(2.0)
    assert abs(clock.now_ms() - REDIS - 2000) <= 1


def test_a_reply_that_was_held_up_does_not_put_the_clock_back(frozen: FrozenDateTimeFactory) -> None:
    clock = Clock()
    clock.sync(REDIS)
    frozen.tick(5.0)
    clock.sync(REDIS + 1000)
    assert abs(clock.now_ms() - REDIS - 5000) <= 1


def test_a_better_measurement_counts_at_once(frozen: FrozenDateTimeFactory) -> None:
    clock = Clock()
    clock.sync(REDIS)
    clock.sync(REDIS + 3000)
    assert abs(clock.now_ms() - REDIS - 3000) <= 1


def test_a_server_whose_clock_is_behind_is_believed_in_time(frozen: FrozenDateTimeFactory) -> None:
    clock = Clock()
    clock.sync(REDIS)
    for passed in range(1, 6):
        frozen.tick(MEMORY_MS / 2000)
        behind = REDIS - 3_600_000 + passed * round(MEMORY_MS / 2)
        clock.sync(behind)
    assert abs(clock.now_ms() - behind) <= 1


def test_after_a_long_pause_the_first_measurement_counts(frozen: FrozenDateTimeFactory) -> None:
    clock = Clock()
    clock.sync(REDIS)
    frozen.tick(2 * MEMORY_MS / 1000)
    clock.sync(REDIS - 3_600_000)
    assert abs(clock.now_ms() - REDIS + 3_600_000) <= 1


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_setting_the_wall_clock_moves_no_deadline(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    wall = time.time()
    clock = Clock()
    clock.sync(1_767_225_600_000)
    deadline, now_ms = clock.monotonic() + 30.0, clock.now_ms()
    monkeypatch.setattr(clocks.time, "time", lambda: wall + step)
    assert 29.0 < deadline - clock.monotonic() <= 30.0
    assert 0 <= clock.now_ms() - now_ms < 1000


def test_the_measurement_furthest_ahead_in_a_minute_counts(
    frozen: FrozenDateTimeFactory,
) -> None:
    clock, start = Clock(), round(time.time() * 1000)
    for measured in (0, 500, 100):
        clock.sync(start + measured)
    assert clock.now_ms() == start + 500
    frozen.tick(MEMORY_MS / 1000)
    clock.sync(start + round(MEMORY_MS) + 100)
    assert clock.now_ms() == start + round(MEMORY_MS) + 500
