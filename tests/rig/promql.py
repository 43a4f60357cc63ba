"""What an expression of PromQL names, and what the code has."""

from __future__ import annotations

import re

from prometheus_client import Counter, Gauge, Histogram

from tests.rig.code_calls import exposed_metrics
from transport.metrics import Metrics

OF_LIBRARIES = re.compile(r"up|ALERTS|process_\w+")
"""Metrics of Prometheus and of its client library."""
EVERYWHERE = {"job", "instance", "worker", "le", "alertname", "alertstate"}
"""Labels that Prometheus, the page of several workers and histograms add."""


def names_in(expression: str) -> set[str]:
    """The metrics of an expression of PromQL."""
    plain = re.sub(r'"[^"]*"|\{[^}]*\}|\b(by|on)\s*\([^)]*\)', " ", expression)
    return set(re.findall(r"\b(?:teltonika|process)_\w+|\bup\b|\bALERTS\b", plain))


def labels_in(expression: str) -> set[str]:
    """The labels that an expression chooses or groups by."""
    chosen = re.findall(r"(\w+)\s*=~?\s*\"", expression)
    groups = re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expression)
    return {*chosen, *(label.strip() for group in groups for label in group.split(","))}


def known_labels() -> set[str]:
    """The labels that the metrics of the code have."""
    metrics = Metrics()
    metrics.build("1.0")
    families = [
        family
        for family in metrics.registry._collector_to_names
        if isinstance(family, Counter | Gauge | Histogram)
    ]
    return EVERYWHERE | {label for family in families for label in family._labelnames}


def is_exposed(name: str) -> bool:
    """Whether the code has this metric, or the histogram that it is a part of."""
    part = re.sub(r"_(bucket|sum|count)$", "", name)
    return bool({name, part} & exposed_metrics() or OF_LIBRARIES.fullmatch(name))
