"""How many seeds are run, and which: odd ones storm to their end, even ones come to rest."""

from __future__ import annotations

import os

import pytest

from tests import tiers

SEEDS = 200
"""More with ``--seeds`` or TELGW_SEEDS, a single one, both ways, with TELGW_SEED."""
SHORT = 20
"""In the short tier."""
SHARDED = 5
"""Of so many seeds one is run with shards, too."""
FAILED_ONCE: dict[int, str] = {
    121: "a `sent` that was refused took effect later, and was taken for that of an earlier process",
    277: "a hold ended at once when a gateway with a wrong time learned that of Redis",
    664: "after a restart a newer command was written before one that was parked and taken up behind it",
}
"""Seeds that have found a fault of the gateway, and which: they are run whatever the number of seeds."""
RARE = {260: "a silent owner displaced"}
"""Seeds beyond the usual ones that meet what few others meet: they are run with these."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for name, odd in (("stormy_seed", 1), ("calming_seed", 0)):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, _seeds(metafunc.config, odd))
    if "sharded_seed" in metafunc.fixturenames:
        metafunc.parametrize("sharded_seed", _sharded(metafunc.config))


def _seeds(config: pytest.Config, odd: int) -> list[int]:
    if single := os.environ.get("TELGW_SEED"):
        return [int(single)]
    wanted = _wanted(config)
    seeds = {*range(1, wanted + 1), *FAILED_ONCE, *(RARE if wanted >= SEEDS else ())}
    return sorted(seed for seed in seeds if seed % 2 == odd)


def _sharded(config: pytest.Config) -> list[int]:
    if single := os.environ.get("TELGW_SEED"):
        return [int(single)]
    return list(range(1, _wanted(config) // SHARDED + 1))


def _wanted(config: pytest.Config) -> int:
    usual = SHORT if tiers.short(config) else SEEDS
    return int(config.getoption("--seeds") or os.environ.get("TELGW_SEEDS") or usual)
