"""The clock of Redis as a process knows it: from replies, some of which were held up."""

from __future__ import annotations

from freezegun.api import FrozenDateTimeFactory

from transport.clock import MEMORY_MS, Clock

REDIS = 1_800_000_000_000


def test_the_wall_clock_stands_in_until_redis_has_said_the_time(frozen: FrozenDateTimeFactory) -> None:
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


def test_after_a_long_silence_the_first_word_counts(frozen: FrozenDateTimeFactory) -> None:
    clock = Clock()
    clock.sync(REDIS)
    frozen.tick(2 * MEMORY_MS / 1000)
    clock.sync(REDIS - 3_600_000)
    assert abs(clock.now_ms() - REDIS + 3_600_000) <= 1
