"""Whole fleets under faults: the promises hold while it storms, and everything is at rest when it ends.

A failing seed prints what was violated and its trace, and is repeated by ``TELGW_SEED=...``.
"""

from __future__ import annotations

from functools import cache

import pytest

from tests.checker import Violation
from tests.history import History
from tests.moves import COMMAND_MOVES
from tests.simulation.world import World, simulate

ENOUGH = 14
TRACE = 400
"""Lines of a failing run that are shown, from its end."""


def report(seed: int, world: World, violations: list[Violation]) -> str:
    """What a reader needs to understand a failing seed."""
    return "\n".join([f"TELGW_SEED={seed}", *map(str, violations), "", *world.trace[-TRACE:]])


def test_no_promise_is_broken_while_faults_go_on(seed: int) -> None:
    violations, world = simulate(seed, settle=False)
    _histories[seed, False] = world.history
    assert not violations, report(seed, world, violations)


def test_everything_comes_to_rest_when_the_faults_cease(seed: int) -> None:
    violations, world = simulate(seed, settle=True)
    _histories[seed, True] = world.history
    assert not violations, report(seed, world, violations)


def test_a_seed_is_a_run() -> None:
    first, second = (simulate(7, settle=False)[1] for _ in range(2))
    assert first.trace == second.trace
    assert first.history == second.history


# What the seeds above have met: a fault that never comes proves nothing.

_histories: dict[tuple[int, bool], History] = {}

RARE_MOVES = {("sent", "withdraw", "timeout"), ("sent", "deliver", "delivered")}
REASONS = {
    *("cancelled", "device_not_connected", "expired", "invalid_command", "instance_lost", "gateway_restart"),
    *("gateway_shutdown", "connection_lost", "session_superseded", "response_timeout", "nack", "queue_full"),
}
NOTES = {
    "late_response",
    "duplicate_ignored",
    "cancel_rejected",
    "unsolicited_response",
    "moved",
}
CLOSES = {"device_closed", "superseded", "tainted", "shutdown", "protocol_error", "write_overflow", "fenced"}


@cache
def met(field: str) -> set[str]:
    """Every value of `field` in the logs of all runs."""
    logs = [entry for history in _histories.values() for _, entry in history.responses]
    return {entry.get(field, "") for entry in logs}


@pytest.fixture
def whole_suite() -> None:
    """Few seeds do not meet everything."""
    if len(_histories) < 2 * ENOUGH:
        pytest.skip(f"needs {ENOUGH} seeds")


@pytest.mark.usefixtures("whole_suite")
def test_the_seeds_meet_every_move_of_the_table() -> None:
    logs = [entry for history in _histories.values() for _, entry in history.responses]
    moves = {
        (entry["prev"], entry["trigger"], entry["state"]) for entry in logs if entry["kind"] == "command"
    }
    assert COMMAND_MOVES.keys() - moves <= RARE_MOVES


@pytest.mark.usefixtures("whole_suite")
@pytest.mark.parametrize(("field", "wanted"), [("reason", REASONS | CLOSES), ("note", NOTES)])
def test_the_seeds_meet_what_is_rare(field: str, wanted: set[str]) -> None:
    assert wanted - met(field) == set()
