"""The package: pinned versions, types for its users, files that tools expect."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = [
    Requirement(line)
    for line in (*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in extra))
    if not line.startswith(PROJECT["name"])
]


def pins() -> dict[str, str]:
    """The version of each package in the constraints file."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [line.partition("==") for line in lines if line and not line.startswith("#")]
    return {name.lower().replace("_", "-"): version for name, _, version in found}


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_each_dependency_is_pinned_to_an_allowed_version(requirement: Requirement) -> None:
    assert requirement.specifier.contains(pins()[requirement.name], prereleases=True)


@pytest.mark.parametrize("package", ["fsm", "store", "transport"])
def test_each_package_offers_its_types(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
