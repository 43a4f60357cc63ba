"""The delays between calls to Redis that fail."""

from __future__ import annotations

import asyncio

import pytest
from redis import backoff as driver

from store.client.delays import Backoff


@pytest.mark.parametrize(("part", "cut"), [(0.0, 0.5), (1.0, 1.0)])
def test_delays_double_up_to_a_limit_with_equal_jitter(
    monkeypatch: pytest.MonkeyPatch, part: float, cut: float
) -> None:
    monkeypatch.setattr(driver.random, "uniform", lambda low, high: low + (high - low) * part)
    backoff = Backoff(first=1.0, last=30.0)
    delays = [backoff.next() for _ in range(7)]
    assert delays == [cut * full for full in (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0)]
    backoff.reset()
    assert backoff.next() == cut


def test_delays_stay_at_the_longest_through_an_outage_of_days() -> None:
    backoff = Backoff(first=0.05, last=1.0)
    assert all(0.025 <= backoff.next() <= 1.0 for _ in range(5000))
    assert backoff.next() >= 0.5


async def test_a_delay_ends_with_a_stop() -> None:
    stop = asyncio.Event()
    stop.set()
    async with asyncio.timeout(20):
        await Backoff(first=3600.0, last=3600.0).wait(stop)
