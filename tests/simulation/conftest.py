"""How many seeds are run, and which."""

from __future__ import annotations

import os

import pytest

SEEDS = 14
"""In the normal suite; more with ``--seeds`` or TELGW_SEEDS, a single one with TELGW_SEED."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", _seeds(metafunc.config))


def _seeds(config: pytest.Config) -> list[int]:
    if single := os.environ.get("TELGW_SEED"):
        return [int(single)]
    wanted = config.getoption("--seeds") or int(os.environ.get("TELGW_SEEDS") or SEEDS)
    return list(range(1, wanted + 1))
