"""What `telgw bench` makes of its measurements."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import pytest

from tests.transport.conftest import Telgw
from transport.cli import bench
from transport.cli.benchmark.curves import ACK, CPU_FRAME, CURVES, FULL, REDIS, Curve
from transport.cli.benchmark.measuring import Cost
from transport.cli.benchmark.outcome import (
    BEAT,
    COMMAND,
    FLOOR,
    GATEWAY,
    HALF,
    RAW,
    Outcome,
    saturated,
    singly,
)
from transport.cli.benchmark.plotting import plot


def outcome(*, costs: tuple[float, ...] = (20.0, 60.0, 30.0), quiet: float = 80.0) -> Outcome:
    """Rounds in which the floor took 5, 10 and 5 us for a frame."""
    made = Outcome(interval=30.0)
    for cost, least in zip(costs, (5.0, 10.0, 5.0), strict=True):
        made.add(saturated(1), GATEWAY, Cost(cost, 4.0))
        made.add(saturated(1), FLOOR, Cost(least))
        made.add(singly(250), GATEWAY, Cost(quiet, 20.0, 250.0, 0.4, 1.5))
    return made


def test_ratios_are_medians_of_pairs_of_one_round() -> None:
    assert outcome().ratios() == {"1 record, times the floor": 6.0, "250/s, times saturated": 2.67}


def test_what_needs_no_c_compiler_is_compared_with_a_frame_of_one_record() -> None:
    made = outcome()
    for what, cost in ((RAW, 15.0), (COMMAND, 240.0), (saturated(20), 120.0)):
        for _ in range(3):
            made.add(what, GATEWAY, Cost(cost))
    found = made.ratios()
    assert found["a raw frame against a decoded one"] == 0.5
    assert found["a command against a frame"] == 8.0
    assert found["20 records in a frame against one"] == 4.0
    assert found["command, times the floor"] == 48.0
    assert found["1 record, raw, times the floor"] == 3.0


def test_a_core_serves_trackers_by_the_median_cost_of_a_frame_and_of_a_heartbeat() -> None:
    made = outcome()
    assert made.trackers_a_core() == 500_000  # 0.5 s of a core, 30 us each, one frame in 30 s
    made.add(BEAT, GATEWAY, Cost(20.0))
    assert made.trackers_a_core() == 300_000  # and 20 us in 30 s
    made.add(HALF, GATEWAY, Cost(40.0))
    assert made.trackers_a_core() == 250_000  # at half load a frame costs more


@pytest.mark.parametrize(("reached", "said"), [(4000.0, False), (10_000.0, True)])
def test_the_latency_is_told_with_the_rate_that_was_reached(reached: float, said: bool) -> None:
    made = outcome()
    made.half_wanted = 10_000.0
    made.add(HALF, GATEWAY, Cost(30.0, 4.0, reached, 2.5, 9.0))
    [told] = [str(part) for part in made.parts() if "acknowledgements" in str(part)]
    assert f"At {reached:,.0f} frames a second half of the acknowledgements come within 2.50 ms" in told
    assert ("no time for 10,000" not in told) is said


def test_another_server_has_a_table_of_its_own() -> None:
    made = outcome()
    for _ in range(3):
        made.add(saturated(1), "10.0.0.1:5027", Cost(None, None, 900.0, 1.0, 2.0))
    tables = [part for part in made.parts() if not isinstance(part, str)]
    assert [table.columns[0].header for table in tables] == ["load", "10.0.0.1:5027"]


@pytest.mark.parametrize(
    ("files", "points"),
    [
        (1024, (100,)),
        (20_000, (100, 1000, 10_000, 19_000)),
        (resource.RLIM_INFINITY, (100, 1000, 10_000, 100_000)),
    ],
)
def test_connections_are_as_many_as_files_may_be_open(
    monkeypatch: pytest.MonkeyPatch, files: int, points: tuple[int, ...]
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (files, files))
    assert CURVES["connections"].curve().points == points


def test_a_curve_is_made_of_medians_and_leaves_out_what_was_not_reached() -> None:
    curve = Curve("A frame", "frames a second", (250, 12_000, FULL))
    for cost in (400.0, 380.0, 900.0):
        curve.add_cost(CPU_FRAME, GATEWAY, 250, Cost(cost, 100.0))
    curve.add_cost(CPU_FRAME, GATEWAY, FULL, Cost(30.0, None))
    curve.add(ACK, "half within", 250, 0.4)
    assert curve.line(CPU_FRAME, GATEWAY) == {250: 400.0, FULL: 30.0}
    assert curve.line(CPU_FRAME, REDIS) == {250: 100.0}
    assert curve.as_json()["panels"][CPU_FRAME.title][GATEWAY] == {"250": 400.0, "saturated": 30.0}
    [panel] = [part for part in curve.parts() if not isinstance(part, str)][:1]
    assert list(panel.columns[0].cells) == ["250", "saturated"]
    drawn = plot(curve)
    assert drawn.count("<polyline") == 3
    assert drawn.count("<circle") == 4


@pytest.mark.parametrize(
    "options", [("--curve", "rate", "--against", "127.0.0.1:1"), ("--curve", "speed")], ids=" ".join
)
def test_a_curve_that_cannot_be_measured_is_wrong_use(telgw: Telgw, options: tuple[str, ...]) -> None:
    assert telgw("bench", *options).exit_code == 2


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

    monkeypatch.setattr(bench, "measure", measured)
    monkeypatch.setattr(bench, "Stage", lambda _: None)
    done = telgw("bench", "--baseline", baseline)
    assert done.exit_code == status
    assert said in done.stderr
    assert "worse" in done.stderr or not status


def test_a_baseline_that_is_none_is_an_error(
    telgw: Telgw, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    baseline = tmp_path / "before.json"
    baseline.write_text("[]")
    monkeypatch.setattr(bench, "measure", lambda *_: iter(()))
    monkeypatch.setattr(bench, "Stage", lambda _: None)
    assert telgw("bench", "--baseline", baseline).exit_code == 2
