"""Whole fleets under faults: promises hold while it storms, and all comes to rest afterwards.

A failing seed prints what was violated and its trace, and is repeated by ``TELGW_SEED=...``. What it found
becomes a scene of `test_scenes.py`, and the seed an entry of `conftest.FAILED_ONCE`.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.checker import Violation
from tests.moves import COMMAND_MOVES
from tests.simulation.conftest import SHARDED
from tests.simulation.device import MANNERS
from tests.simulation.faults import RESTARTS
from tests.simulation.world import World, simulate

pytestmark = pytest.mark.xdist_group("seeds")
"""All in one process, which then knows what they have met."""

ENOUGH = 200
"""Runs that meet everything."""
TRACE = 400
"""Lines of a failing run that are shown, from its end."""

_runs: Counter[int] = Counter()
_sharded: Counter[int] = Counter()
_met: Counter[tuple[str, str]] = Counter()
"""What the runs have met, as (what kind of thing, which): a fault that never comes proves nothing."""


def check_seed(seed: int, *, calm: bool) -> None:
    """Run a seed, and remember what it met."""
    violations, world = simulate(seed, calm=calm)
    _runs[seed] += 1
    remember(world)
    assert not violations, report(seed, world, violations)


def report(seed: int, world: World, violations: list[Violation]) -> str:
    """What a reader needs to understand a failing seed."""
    return "\n".join([f"TELGW_SEED={seed}", *map(str, violations), "", *world.trace[-TRACE:]])


def remember(world: World) -> None:
    """Count what a run has met."""
    for _, entry in world.history.responses:
        kind = entry["kind"]
        if kind == "command":
            _met["move", f"{entry['prev']} {entry['trigger']} {entry['state']}"] += 1
            _met["recovered", entry.get("recovered", "")] += 1
        if kind == "note":
            _met["note", entry["note"]] += 1
        else:
            _met[f"{kind} reason", entry.get("reason", "")] += 1
    for entry in world.history.telemetry:
        _met["codec", entry["codec"]] += 1
        _met["payload", "frame" if "frame" in entry else "data"] += 1
    for entry in world.history.messages:
        _met["said", entry["codec"]] += 1
    for _, entry in world.history.responses:
        _met["attribution", entry.get("attribution", "")] += 1
    _met.update(world.met)


def test_no_promise_is_broken_while_faults_go_on(stormy_seed: int) -> None:
    check_seed(stormy_seed, calm=False)


def test_everything_comes_to_rest_when_the_faults_cease(calming_seed: int) -> None:
    check_seed(calming_seed, calm=True)


SHARDS = ((3,), (1, 3, 2))
"""How many shards gateways know: all the same number, or each start of one another number."""


def test_promises_hold_with_shards_and_while_their_number_changes(sharded_seed: int) -> None:
    violations, world = simulate(
        sharded_seed, calm=sharded_seed % 2 == 0, counts=SHARDS[sharded_seed // 2 % 2]
    )
    _sharded[sharded_seed] += 1
    _met.update(
        {("shards", which): number for (what, which), number in world.met.items() if what == "one shard"}
    )
    assert not violations, report(sharded_seed, world, violations)


def test_a_seed_is_a_run() -> None:
    first, second = (simulate(7, calm=True)[1] for _ in range(2))
    assert first.trace == second.trace
    assert first.history == second.history


# What the seeds above have met

MOVES = {" ".join(move) for move in COMMAND_MOVES}
REASONS = {
    *("cancelled", "device_not_connected", "expired", "invalid_command", "instance_lost", "gateway_restart"),
    *("gateway_shutdown", "connection_lost", "session_superseded", "response_timeout"),
    *("nack", "queue_full", "ledger_lost", "protocol_error", "write_error"),
}
NOTES = {
    *("late_response", "duplicate_ignored", "cancel_rejected", "unsolicited_response", "moved"),
    *("late_outcome", "parked"),
}
CLOSES = {
    *("device_closed", "superseded", "tainted", "shutdown", "protocol_error", "write_overflow", "fenced"),
    *("store_unavailable", "instance_lost"),
}
FATES = {
    *("a crash", "an orderly stop", "a freeze", "two processes of one name", "a dead instance at rest"),
    *("back when it is missed", "awake when it is missed", "asleep over a call", "cut off"),
    "a silent owner displaced",
    *("forgotten scripts", "down", "black", "flaky", "slow", "oom", "cut", "garbled"),
}


@pytest.mark.slow
def test_the_seeds_with_shards_have_met_faults_of_a_single_one() -> None:
    if len(_sharded) < ENOUGH // SHARDED:
        pytest.skip(f"needs {ENOUGH // SHARDED} seeds")
    met = {which for what, which in _met if what == "shards"}
    assert {"down", "black", "flaky", "slow", "cut", "garbled"} - met == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("move", MOVES),
        ("command reason", REASONS),
        ("session reason", CLOSES),
        ("note", NOTES),
        ("codec", {"8", "8E", "16"}),
        ("payload", {"data", "frame"}),
        ("recovered", {"1"}),
        ("said", {"12", "13"}),
        ("attribution", {"certain", "uncertain"}),
        ("fate", FATES),
        ("manner", set(MANNERS)),
        ("exit", {"0", "2", "3"}),
        ("redis", set(RESTARTS) - {""}),
    ],
)
def test_the_seeds_have_met(kind: str, wanted: set[str]) -> None:
    if len(_runs) < ENOUGH:
        pytest.skip(f"needs {ENOUGH} seeds")
    met = {which for what, which in _met if what == kind}
    assert wanted - met == set()
