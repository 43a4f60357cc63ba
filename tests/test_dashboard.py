"""The dashboard of `deploy/grafana`: its panels, and the metrics that they ask for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.rig.code_calls import ROOT
from tests.rig.promql import is_exposed, known_labels, labels_in, names_in

BOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "telgw.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
VARIABLES = {variable["name"] for variable in BOARD["templating"]["list"]}
OF_GRAFANA = {"__rate_interval": "5m"}
COLUMNS = 24


def expressions(panel: dict[str, Any]) -> list[str]:
    return [target["expr"] for target in panel["targets"]]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_asks_for_metrics_and_labels_of_the_code(panel: dict[str, Any]) -> None:
    assert expressions(panel)
    for expression in expressions(panel):
        assert names_in(expression)
        assert [name for name in names_in(expression) if not is_exposed(name)] == []
        assert labels_in(expression) - known_labels() == set()
        assert set(re.findall(r"\$(\w+)", expression)) <= VARIABLES | OF_GRAFANA.keys()
    shown = {
        label for target in panel["targets"] for label in re.findall(r"{{(\w+)}}", target["legendFormat"])
    }
    assert shown <= known_labels()


def test_prometheus_understands_each_expression(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("there is no promtool: Debian has it in its package prometheus")
    found = [expression for panel in PANELS for expression in expressions(panel)]
    for name, value in (OF_GRAFANA | dict.fromkeys(VARIABLES, ".*")).items():
        found = [expression.replace(f"${name}", value) for expression in found]
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(found)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    checked = subprocess.run(
        ["promtool", "check", "rules", file], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_each_panel_has_its_place_below_a_row() -> None:
    places = [panel["gridPos"] for panel in BOARD["panels"]]
    taken = Counter(
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    )
    assert set(taken.values()) == {1}
    assert max(x for x, _ in taken) < COLUMNS
    assert BOARD["panels"][0]["type"] == "row"
    assert all(one["y"] <= other["y"] for one, other in pairwise(places))
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    assert [panel["title"] for panel in BOARD["panels"] if panel["type"] == "row"] == [
        *("Fleet", "Commands", "Latency", "Redis", "Gateways", "Security")
    ]


def test_every_panel_asks_the_chosen_prometheus() -> None:
    sources = [panel["datasource"] for panel in PANELS]
    sources += [target["datasource"] for panel in PANELS for target in panel["targets"]]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
