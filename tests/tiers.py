"""Which tests run: a short tier, all of them, or the long rounds too.

``pytest`` alone runs the short tier, on every processor: units, frozen clocks, the embedded server, some
seeds of the simulation, and the core of the mutants. ``--all`` runs everything, and ``--long`` also the
rounds of minutes and hours. Whoever names tests, by a path, ``-k`` or ``-m``, gets what they name, in one
process; of a table that has a short form, the short form.

What a test is follows from its folder (`FOLDERS`) and its fixtures (`SERVERS`). Tests carry marks of their
own only for what these do not tell:

* ``slow``: not in the short tier. ``quick``: in the short tier, though its folder is slow.
* ``full``: the rest of a table of which a part always runs; only with ``--all``.
* ``long``: only with ``--long``.
* ``load``: takes all processors, or measures time: nothing runs beside it (`alone`).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FOLDERS = {
    "bench": ("slow",),
    "fuzz": ("fuzz",),
    "load": ("load", "process", "redis", "slow"),
    "mutation": ("mutation",),
    "process": ("process", "redis", "slow"),
    "simulation": ("simulation",),
}
"""The marks of each test in a folder."""
SERVERS = {"embedded_server", "redis7_server", "server"}
"""Fixtures that start a real server."""
WORKERS = 8
"""Processes at most: each starts servers of its own."""


def add_options(parser: pytest.Parser) -> None:
    """The options that choose a tier."""
    parser.addoption("--short", action="store_true", help="Run the short tier of what is named, too.")
    parser.addoption("--all", action="store_true", help="Run all tests, and tables in full.")
    parser.addoption("--long", action="store_true", help="Run the long rounds of faults, load and fuzz too.")


def choose(config: pytest.Config) -> None:
    """Decide what is wanted, and on how many processes; a worker decides the same from its arguments."""
    option = config.option
    option.all = option.all or option.long
    named = config.args_source is pytest.Config.ArgsSource.ARGS or option.keyword or option.markexpr
    option.short = option.short or not (named or option.all)
    single = named or option.usepdb or hasattr(config, "workerinput")
    if not single and getattr(option, "numprocesses", 0) is None:
        option.numprocesses = min(os.cpu_count() or 1, WORKERS)
        option.dist = "loadgroup"


def thorough(config: pytest.Config) -> bool:
    """Whether tables are run in full."""
    return bool(config.option.all)


def short(config: pytest.Config) -> bool:
    """Whether only the short tier is run."""
    return bool(config.option.short)


def mark(item: pytest.Item, root: Path) -> None:
    """Give a test the marks that its folder and its fixtures tell."""
    folder = item.path.relative_to(root).parts[0]
    for name in FOLDERS.get(folder, ()):
        item.add_marker(name)
    if SERVERS.intersection(getattr(item, "fixturenames", ())):
        item.add_marker("redis")


def wanted(item: pytest.Item) -> bool:
    """Whether a test is part of what is run."""
    option = item.config.option
    marks = {marker.name for marker in item.iter_markers()}
    if "long" in marks:
        return bool(option.long)
    if "full" in marks:
        return bool(option.all)
    return not option.short or "slow" not in marks or "quick" in marks


@contextmanager
def alone(item: pytest.Item, directory: Path) -> Iterator[None]:
    """Run a test under load when no other runs, and others when none under load does.

    Processes share two locks of files: whoever waits to be alone holds the door, so that nobody goes in
    meanwhile.
    """
    exclusive = item.get_closest_marker("load") is not None
    with (directory / "door").open("a") as door, (directory / "room").open("a") as room:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield
