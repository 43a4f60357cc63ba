"""What `telgw bench` makes of its measurements."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.transport.conftest import Telgw
from transport.cli import bench
from transport.cli.benchmark.measuring import Cost
from transport.cli.benchmark.outcome import FLOOR, GATEWAY, Outcome, saturated, singly


def outcome(*, costs: tuple[float, ...] = (20.0, 60.0, 30.0), quiet: float = 80.0) -> Outcome:
    """Rounds in which the floor took 5, 10 and 5 us for a frame."""
    made = Outcome(interval=30.0)
    made.of(saturated(1), GATEWAY).costs += [Cost(cost, 4.0) for cost in costs]
    made.of(saturated(1), FLOOR).costs += [Cost(cost) for cost in (5.0, 10.0, 5.0)]
    made.of(singly(250), GATEWAY).costs += [Cost(quiet, 20.0, 250.0, 0.4, 1.5)] * 3
    return made


def test_ratios_are_medians_of_pairs_of_one_round() -> None:
    assert outcome().ratios() == {"1 record, times the floor": 6.0, "250/s, times saturated": 2.67}


def test_a_core_serves_trackers_by_the_median_cost() -> None:
    assert outcome().trackers_a_core() == 700_000  # 0.7 s of a core, 30 us each, one frame in 30 s


@pytest.mark.parametrize(("quiet", "status", "said"), [(80.0, 0, ""), (200.0, 1, "250/s")])
def test_what_is_worse_than_the_baseline_is_named(
    telgw: Telgw,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    quiet: float,
    status: int,
    said: str,
) -> None:
    baseline = tmp_path / "before.json"
    baseline.write_text(json.dumps(outcome().as_json()))

    def measured(_: Any, result: Outcome, *__: Any) -> Any:
        result.series = outcome(quiet=quiet).series
        return iter(())

    monkeypatch.setattr(bench, "_measured", measured)
    done = telgw("bench", "--baseline", baseline)
    assert done.exit_code == status
    assert said in done.stderr
    assert "worse" in done.stderr or not status


def test_a_baseline_that_is_none_is_an_error(
    telgw: Telgw, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    baseline = tmp_path / "before.json"
    baseline.write_text("[]")
    monkeypatch.setattr(bench, "_measured", lambda *_: iter(()))
    assert telgw("bench", "--baseline", baseline).exit_code == 2
