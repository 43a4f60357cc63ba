"""What the source of the project says by its calls: names of metrics and of log events."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for package in ("transport", "store", "fsm") for path in (ROOT / package).rglob("*.py"))
FAMILIES = {"Gauge", "Histogram", "GaugeMetricFamily", "CounterMetricFamily"}
METRICS = {"counter", "gauge", "reading"}


def calls() -> Iterator[tuple[str, str]]:
    """(method, first argument) of every method call of the code whose first argument is a text."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
                if isinstance(node.args[0].value, str):
                    yield name, node.args[0].value


def exposed_metrics() -> set[str]:
    """The name of every metric that the code exposes under its own prefix."""
    found = list(calls())
    own = {f"teltonika_{name}" for method, name in found if method in METRICS}
    return own | {name for method, name in found if method in FAMILIES}
