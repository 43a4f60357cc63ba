"""`telgw bench` as its user runs it: what it says, and that its ratios are within their bounds."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

BENCH = (sys.executable, "-P", "-c", "from transport.cli import main; main()", "bench")
BOUNDS = {
    "1 record, times the floor": 10,
    "5 records, times the floor": 18,
    "20 records, times the floor": 32,
    "1,000/s, times saturated": 12,
    "4,000/s, times saturated": 7,
}
"""Twice what a quiet machine shows: other programs disturb CPU times, too."""


def bench(*options: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*BENCH, *map(str, options)], capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == status, done.stderr
    return done


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The directory with the files of a run, and what it has printed."""
    directory = tmp_path_factory.mktemp("bench")
    files = ("--json", directory / "new.json", "--svg", directory / "new.svg")
    return directory, bench("--rounds", 1, "--seconds", 1, *files).stdout


def result(directory: Path) -> Any:
    return json.loads((directory / "new.json").read_text())


def test_each_load_has_a_cost(measured: tuple[Path, str]) -> None:
    directory, printed = measured
    series = {one["load"]: one for one in result(directory)["series"] if one["server"] == "telgw"}
    assert set(series) == {
        *("1 record", "5 records", "20 records", "250/s", "1,000/s", "4,000/s"),
        *("half a core", "command"),
    }
    assert all(one["server_us"] > 0 and one["redis_us"] > 0 for one in series.values())
    assert series["1 record"]["server_us"] < series["20 records"]["server_us"]
    assert all(load in printed for load in series)
    assert result(directory)["trackers_a_core"] > 10_000
    assert 0 < result(directory)["idle_connection_kib"] < 10


def test_its_drawing_is_svg(measured: tuple[Path, str]) -> None:
    root = ElementTree.parse(measured[0] / "new.svg").getroot()
    assert root.tag.endswith("svg")
    assert "20 records" in [text.text for text in root.iter() if text.text]


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
@pytest.mark.parametrize("name", BOUNDS)
def test_a_ratio_is_within_its_bound(measured: tuple[Path, str], name: str) -> None:
    assert result(measured[0])["ratios"][name] < BOUNDS[name]
