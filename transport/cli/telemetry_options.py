"""The settings of ``telgw run`` for telemetry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fsm.shards import MOST

from .options import setting
from .parameters import AvlFamily

_SHARDS = click.IntRange(1, MOST)

TELEMETRY: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...] = (
    setting(
        "Telemetry",
        "--payload",
        click.Choice(["json", "raw"]),
        "`json`: one entry per record; `raw`: one entry per frame, with its bytes.",
    ),
    setting(
        "Telemetry",
        "--telemetry-shards",
        _SHARDS,
        "Streams that records are spread over, by the IMEI; the same number for all gateways of a fleet.",
    ),
    setting(
        "Telemetry",
        "--io-names",
        click.Choice(["off", "on"]),
        "`on`: records have `named`, the IO values with their names, signs, factors and units.",
    ),
    setting(
        "Telemetry",
        "--avl-family",
        AvlFamily(),
        "Family or model of devices that the hash devices:family does not name, for --io-names.",
    ),
    setting(
        "Telemetry",
        "--avl-ids",
        click.Path(dir_okay=False, path_type=Path),
        "CSV file with AVL ids of your own, which add to those of the package and replace them.",
        default=None,
        show_default="none",
    ),
)
"""Decorators in the order of the help."""
