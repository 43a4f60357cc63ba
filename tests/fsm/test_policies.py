"""The table of policies: complete, in keeping with the machine, and as the specification says."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from fsm.command import COMMAND, OUTCOMES, Command, decide
from fsm.errors import UnknownState
from fsm.events import CommandEvent
from fsm.machine import Edge, Table
from fsm.policies import (
    KEEP,
    POLICIES,
    REMOVE,
    STAGES,
    Fire,
    HandOver,
    LedgerOccasion,
    LiveOccasion,
    Park,
    Reject,
    Resume,
    Stage,
    fire_for,
    policy_for,
    stage_of,
)
from fsm.reasons import EDGE_RULES
from fsm.states import CommandState, CommandTrigger

ROOT = Path(__file__).parents[2]
CONTRACT = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
DRAWING = (ROOT / "diagrams" / "command.mmd").read_text(encoding="utf-8")
LIVE, LEDGER = get_args(LiveOccasion), get_args(LedgerOccasion)
ENDS = ("responded", "delivered", "failed", "timeout")
CLOSES = ("device_closed", "superseded", "shutdown", "protocol_error", "write_overflow", "fenced")


def gaps(
    command: Table = COMMAND,
    policies: Mapping[Any, Mapping[Any, Any]] = POLICIES,
    stages: Mapping[Any, tuple[str, ...]] = STAGES,
) -> Iterator[str]:
    """A name for each row that is missing where every state must be known, and for each that is too much."""
    states = [state for state in command.states if state != command.initial]
    for occasion, rows in policies.items():
        wanted = [
            stage
            for state in states
            for stage in (stages.get(state, (state,)) if occasion in LIVE else (state,))
        ]
        yield from (f"POLICIES has no row for {stage} at {occasion}" for stage in wanted if stage not in rows)
        yield from (f"POLICIES has a row for {stage} at {occasion}" for stage in rows if stage not in wanted)
    for edge in command:
        if (edge["trigger"], edge["source"]) not in EDGE_RULES:
            yield f"EDGE_RULES has no row for {edge['trigger']} from {edge['source']}"
    yield from (f"OUTCOMES has no row for {state}" for state in command.terminal - OUTCOMES.keys())
    for state in states:
        if state not in get_args(CommandState):
            yield f"CommandState does not name {state}"
        if f"`{state}`" not in CONTRACT:
            yield f"docs/contract.md does not name {state}"
        if state not in DRAWING:
            yield f"diagrams/command.mmd does not show {state}"
    for trigger in command.triggers:
        if trigger not in get_args(CommandTrigger):
            yield f"CommandTrigger does not name {trigger}"


def test_the_tables_know_every_state_at_every_occasion() -> None:
    assert list(gaps()) == []
    assert set(POLICIES) == {*LIVE, *LEDGER}
    assert {stage for rows in POLICIES.values() for stage in rows} == set(get_args(Stage))


def test_a_new_state_fails_by_name_for_each_missing_row() -> None:
    edges = (
        Edge(trigger="melt", source="queued", dest="melted"),
        Edge(trigger="fail", source="melted", dest="abandoned"),
    )
    table = replace(COMMAND, states=(*COMMAND.states, "melted", "abandoned"), edges=(*COMMAND.edges, *edges))
    named = set(gaps(command=table))
    assert named == {
        *(f"POLICIES has no row for {s} at {o}" for o in (*LIVE, *LEDGER) for s in ("melted", "abandoned")),
        "EDGE_RULES has no row for melt from queued",
        "EDGE_RULES has no row for fail from melted",
        "OUTCOMES has no row for abandoned",
        *(f"CommandState does not name {state}" for state in ("melted", "abandoned")),
        *(f"docs/contract.md does not name {state}" for state in ("melted", "abandoned")),
        *(f"diagrams/command.mmd does not show {state}" for state in ("melted", "abandoned")),
        "CommandTrigger does not name melt",
    }


def test_a_new_stage_fails_by_name_at_each_live_occasion() -> None:
    stages = {**STAGES, "sent": (*STAGES["sent"], "half_written")}
    assert set(gaps(stages=stages)) == {f"POLICIES has no row for half_written at {o}" for o in LIVE}


def test_a_row_that_is_taken_out_is_named() -> None:
    rows = {**POLICIES, "expiry": {s: p for s, p in POLICIES["expiry"].items() if s != "written"}}
    assert list(gaps(policies=rows)) == ["POLICIES has no row for written at expiry"]


def test_nothing_else_decides_by_the_state_of_a_command() -> None:
    """What compares a state for another purpose is named here."""
    allowed = {
        ("transport/commands/entries_in_hand.py", "oldest_queued"),  # a gauge
        ("transport/commands/in_flight.py", "answered"),  # `sent` is committed: the frame is written
        ("transport/commands/in_flight_command.py", "step"),  # what `sent` asks of the ledger
        ("transport/commands/in_flight_command.py", "waits"),  # whether a hand-over is possible now
    }
    places = ("transport/commands/*.py", "store/fleet/adoption.py", "fsm/cancel.py", "fsm/redelivery.py")
    found = {
        (path.relative_to(ROOT).as_posix(), function.name)
        for place in places
        for path in ROOT.glob(place)
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for compared in ast.walk(function)
        if isinstance(compared, ast.Compare) and {"QUEUED", "SENT"} & names(compared)
    }
    assert found == allowed


def names(node: ast.AST) -> set[str]:
    """The names and texts in a piece of code; a state by its text counts as by its name."""
    known = {"queued": "QUEUED", "sent": "SENT"}
    found = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    texts = (part.value for part in ast.walk(node) if isinstance(part, ast.Constant))
    return found | {known[text] for text in texts if isinstance(text, str) and text in known}


# What the rows say


def state_of(stage: str) -> str:
    """The state that a stage is part of."""
    return next((state for state, stages in STAGES.items() if stage in stages), stage)


def fires() -> Iterator[tuple[str, str, Fire]]:
    """Every row by which a command moves, also where it does so only if nothing better is possible."""
    for occasion, rows in POLICIES.items():
        for stage, policy in rows.items():
            while isinstance(policy, Resume | HandOver | Park):
                policy = policy.otherwise
            if isinstance(policy, Fire):
                yield occasion, stage, policy


@pytest.mark.parametrize("close", CLOSES)
@pytest.mark.parametrize(("occasion", "stage", "fire"), list(fires()))
def test_a_row_moves_a_command_along_an_edge_to_an_end(
    occasion: str, stage: str, fire: Fire, close: str
) -> None:
    event = decide(Command("c-1", state_of(stage), 1), fire.trigger, reason=fire.because(close))
    assert event.terminal
    before_the_write = stage in ("queued", "sending") or (stage == "sent" and occasion in LIVE)
    if occasion != "refused":
        assert (event.delivery == "not_sent") == before_the_write


def test_what_has_ended_never_moves() -> None:
    for occasion, rows in POLICIES.items():
        after = REMOVE if occasion in LEDGER else Reject("terminal") if occasion == "cancel" else KEEP
        assert [rows[end] for end in ENDS] == [after] * len(ENDS)


EXPECTED = {
    ("shutdown", "queued"): "park or fail gateway_shutdown",
    ("shutdown", "sending"): "wait",
    ("shutdown", "sent"): "withdraw gateway_shutdown",
    ("shutdown", "written"): "keep",
    ("drain_over", "queued"): "keep",
    ("drain_over", "sending"): "keep",
    ("drain_over", "sent"): "keep",
    ("drain_over", "written"): "fail gateway_shutdown",
    ("expiry", "queued"): "expire expired",
    ("expiry", "sending"): "expire expired",
    ("expiry", "sent"): "withdraw expired",
    ("expiry", "written"): "keep",
    ("cancel", "queued"): "fail cancelled",
    ("cancel", "sending"): "fail cancelled",
    ("cancel", "sent"): "reject sent",
    ("cancel", "written"): "reject sent",
    ("disconnect", "queued"): "await_device",
    ("disconnect", "sending"): "wait",
    ("disconnect", "sent"): "withdraw connection_lost",
    ("disconnect", "written"): "fail connection_lost",
    ("absence", "queued"): "park or fail device_not_connected",
    ("absence", "sending"): "wait",
    ("absence", "sent"): "keep",
    ("absence", "written"): "keep",
    ("dispute", "queued"): "fail identity_disputed",
    ("dispute", "sending"): "wait",
    ("dispute", "sent"): "withdraw identity_disputed",
    ("dispute", "written"): "keep",
    ("ledger_lost", "queued"): "fail ledger_lost",
    ("ledger_lost", "sending"): "fail ledger_lost",
    ("ledger_lost", "sent"): "keep",
    ("ledger_lost", "written"): "keep",
    ("refused", "queued"): "fail internal_error",
    ("refused", "sending"): "fail internal_error",
    ("refused", "sent"): "fail internal_error",
    ("refused", "written"): "fail internal_error",
    ("restart", "queued"): "resume or fail internal_error",
    ("restart", "sent"): "fail gateway_restart",
    ("adoption", "queued"): "hand over or park or fail instance_lost",
    ("adoption", "sent"): "fail instance_lost",
}


def described(policy: Any) -> str:
    match policy:
        case Fire(trigger, reason):
            return f"{trigger} {reason}"
        case Reject(detail):
            return f"reject {detail}"
        case Resume(otherwise):
            return f"resume or {described(otherwise)}"
        case HandOver(otherwise):
            return f"hand over or {described(otherwise)}"
        case Park(otherwise):
            return f"park or {described(otherwise)}"
    return str(policy.value)


def test_each_row_is_as_the_specification_says() -> None:
    found = {
        (occasion, stage): described(policy)
        for occasion, rows in POLICIES.items()
        for stage, policy in rows.items()
        if stage not in ENDS
    }
    assert found == EXPECTED


@pytest.mark.parametrize(
    ("close", "sent", "written"),
    [
        ("device_closed", "connection_lost", "connection_lost"),
        ("superseded", "session_superseded", "session_superseded"),
        ("shutdown", "gateway_shutdown", "gateway_shutdown"),
        ("protocol_error", "connection_lost", "protocol_error"),
        ("write_overflow", "connection_lost", "write_error"),
        ("tainted", "connection_lost", "connection_lost"),
    ],
)
def test_a_closed_connection_ends_a_command_for_its_own_reason(close: str, sent: str, written: str) -> None:
    rows = POLICIES["disconnect"]
    assert [rows[stage].because(close) for stage in ("sent", "written")] == [sent, written]  # type: ignore[union-attr]


# Looking up


def event(state: str, *, terminal: bool = False) -> CommandEvent:
    return CommandEvent("c-1", 2, state, "queued", "send", terminal)


@pytest.mark.parametrize(
    ("state", "pending", "written", "stage"),
    [
        ("new", event("queued"), False, "queued"),
        ("new", event("sent"), False, "sending"),
        ("queued", None, False, "queued"),
        ("queued", event("sent"), False, "sending"),
        ("queued", event("failed", terminal=True), False, "failed"),
        ("sent", None, False, "sent"),
        ("sent", None, True, "written"),
        ("sent", event("timeout", terminal=True), True, "timeout"),
        ("responded", None, True, "responded"),
    ],
)
def test_the_stage_counts_what_is_being_committed(
    state: str, pending: CommandEvent | None, written: bool, stage: str
) -> None:
    assert stage_of(state, pending, written) == stage


@pytest.mark.parametrize("stage", ["new", "melted", ""])
def test_a_stage_without_a_row_raises(stage: str) -> None:
    for occasion in POLICIES:
        with pytest.raises(UnknownState, match=repr(stage)):
            policy_for(occasion, stage)
        if stage != "new":
            with pytest.raises(UnknownState):
                fire_for(occasion, stage)


@pytest.mark.parametrize("occasion", ["shutdown", "absence"])
def test_only_a_command_that_waits_for_its_device_is_parked(occasion: Any) -> None:
    row = POLICIES[occasion]["queued"]
    assert isinstance(row, Park)
    assert policy_for(occasion, "queued", waits=True) == row
    assert policy_for(occasion, "queued") == fire_for(occasion, "queued") == row.otherwise


def test_a_command_that_does_not_wait_is_handed_over_or_ends() -> None:
    assert policy_for("adoption", "queued") == HandOver(Fire("fail", "instance_lost"))


def test_only_a_row_that_moves_the_command_is_one_to_fire() -> None:
    assert fire_for("expiry", "sent") == Fire("withdraw", "expired")
    assert fire_for("expiry", "written") is None
    assert fire_for("restart", "queued") is None
    assert fire_for("shutdown", "new") is None
