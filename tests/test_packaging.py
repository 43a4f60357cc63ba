"""The package: pinned versions, types for its users, files that tools expect."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = [
    Requirement(line)
    for line in (*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in extra))
    if not line.startswith(PROJECT["name"])
]


LOCKS = ("run", "dev", "build", "sbom")
SHORT_OF_LOCK = ".ci/lock writes the locks anew"


def pins(file: str = "constraints.txt") -> dict[str, str]:
    """The version of each package in the constraints file, or in a lock."""
    text = (ROOT / file).read_text(encoding="utf-8")
    found = re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def lock(name: str) -> dict[str, str]:
    """The version of each package in a lock."""
    return pins(f"requirements/{name}.txt")


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_the_versions_of_the_constraints(name: str) -> None:
    locked, pinned = lock(name), pins()
    assert {each: locked[each] for each in locked.keys() & pinned} == {
        each: pinned[each] for each in locked.keys() & pinned
    }, SHORT_OF_LOCK


def test_the_locks_have_each_package_that_is_needed() -> None:
    assert pins().keys() - lock("dev").keys() == set(), SHORT_OF_LOCK
    needed = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    assert needed - lock("run").keys() == set(), SHORT_OF_LOCK
    assert lock("run").items() <= lock("dev").items(), SHORT_OF_LOCK


@pytest.mark.parametrize("name", LOCKS)
def test_each_package_of_a_lock_has_hashes(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines
    assert [line for line in lines if "--hash=sha256:" not in line] == []


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_each_dependency_is_pinned_to_an_allowed_version(requirement: Requirement) -> None:
    assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)], prereleases=True)


@pytest.mark.parametrize("package", ["fsm", "store", "transport"])
def test_each_package_offers_its_types(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
