"""The one rule for an entry that may be known already."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fsm.command import Command, CommandRequest, decide, evolve
from fsm.moves import MoveResult, Status
from fsm.policies import KEEP, LEAVE, REMOVE, Fire, HandOver, Park, Policy, Resume
from fsm.redelivery import MAX_HOPS, command_of, events_of_refused, movable, policy_at

NOW = 1_900_000_000_000
REQUEST = CommandRequest(
    "c-1", "352093081452251", b"getinfo", "12", NOW + 1, NOW - 1, 30.0, True, "gw-1", "1-0"
)
EXPIRED = replace(REQUEST, expires_at=NOW)
FURTHEST = replace(REQUEST, hops=MAX_HOPS)
OPENING = decide(Command("c-1"), "accept", request=REQUEST)

LOST = Fire("fail", "instance_lost")
WAITS = replace(REQUEST, waits=True)
EXPIRY = Fire("expire", "expired")


def test_an_entry_that_was_opened_is_new() -> None:
    assert command_of(OPENING, MoveResult(Status.OK)) == Command("c-1", "queued", 1, codec="12")


def test_an_entry_that_the_ledger_names_is_in_its_state() -> None:
    result = MoveResult(Status.REDELIVERED, state="sent", seq=2, session_id="s-1", codec="14")
    assert command_of(OPENING, result) == Command("c-1", "sent", 2, session_id="s-1", codec="14")


@pytest.mark.parametrize("status", [s for s in Status if s not in (Status.OK, Status.REDELIVERED)])
def test_an_entry_that_the_ledger_does_not_name_has_no_command(status: Status) -> None:
    assert command_of(OPENING, MoveResult(status, state="queued", seq=1)) is None


@pytest.mark.parametrize(
    ("request_", "occasion", "given", "expected"),
    [
        (REQUEST, "restart", {}, Resume(Fire("fail", "internal_error"))),
        (FURTHEST, "restart", {}, Resume(Fire("fail", "internal_error"))),
        (EXPIRED, "restart", {}, EXPIRY),
        (None, "restart", {}, Fire("fail", "internal_error")),
        (REQUEST, "restart", {"stopping": True}, Fire("fail", "gateway_shutdown")),
        (EXPIRED, "restart", {"stopping": True}, Fire("fail", "gateway_shutdown")),
        (REQUEST, "restart", {"absent": True}, Fire("fail", "device_not_connected")),
        (EXPIRED, "restart", {"absent": True}, EXPIRY),
        (REQUEST, "adoption", {}, HandOver(LOST)),
        (REQUEST, "adoption", {"stranded": True}, LOST),
        (FURTHEST, "adoption", {}, LOST),
        (EXPIRED, "adoption", {}, EXPIRY),
        (EXPIRED, "adoption", {"stranded": True}, EXPIRY),
        (None, "adoption", {}, LOST),
        (WAITS, "restart", {}, Resume(Fire("fail", "internal_error"))),
        (WAITS, "restart", {"stopping": True}, Park(Fire("fail", "gateway_shutdown"))),
        (WAITS, "restart", {"absent": True}, Park(Fire("fail", "device_not_connected"))),
        (WAITS, "adoption", {}, HandOver(Park(LOST))),
        (WAITS, "adoption", {"stranded": True}, Park(LOST)),
    ],
)
def test_a_queued_command_goes_on_unless_something_ends_it(
    request_: CommandRequest | None, occasion: str, given: dict[str, bool], expected: Policy
) -> None:
    assert policy_at(occasion, "queued", request_, NOW, **given) == expected


@pytest.mark.parametrize("request_", [REQUEST, EXPIRED, FURTHEST, None])
@pytest.mark.parametrize(
    ("occasion", "reason"), [("restart", "gateway_restart"), ("adoption", "instance_lost")]
)
def test_a_sent_command_ends_whatever_else_is_true(
    request_: CommandRequest | None, occasion: str, reason: str
) -> None:
    for given in ({}, {"stopping": True}, {"absent": True}, {"stranded": True}):
        assert policy_at(occasion, "sent", request_, NOW, **given) == Fire("fail", reason)


@pytest.mark.parametrize("state", ["responded", "delivered", "failed", "timeout"])
@pytest.mark.parametrize("occasion", ["restart", "adoption"])
def test_a_command_that_has_ended_leaves_only_an_entry_to_remove(occasion: str, state: str) -> None:
    for request in (REQUEST, EXPIRED, None):
        assert policy_at(occasion, state, request, NOW, stopping=True) is REMOVE


@pytest.mark.parametrize("occasion", ["restart", "adoption"])
def test_a_command_in_a_state_of_another_version_is_left_alone(occasion: str) -> None:
    assert policy_at(occasion, "parked", REQUEST, NOW) is LEAVE
    assert policy_at(occasion, "parked", None, NOW) is LEAVE
    assert LEAVE is not KEEP


def test_a_command_moves_no_further_than_the_limit() -> None:
    assert [movable(replace(REQUEST, hops=hops)) for hops in (0, MAX_HOPS - 1, MAX_HOPS)] == [
        True,
        True,
        False,
    ]


# A command whose ledger cannot be written

QUEUED = evolve(Command("c-1"), OPENING)
SENT = evolve(QUEUED, decide(QUEUED, "send", request=REQUEST, session_id="s-1"))
ANSWERED = decide(SENT, "respond", request=REQUEST)


@pytest.mark.parametrize(
    ("command", "refused", "expected"),
    [
        (Command("c-1"), OPENING, ["queued 1", "failed 2"]),
        (QUEUED, None, ["failed 2"]),
        (QUEUED, decide(QUEUED, "send", request=REQUEST), ["failed 2"]),
        (QUEUED, decide(QUEUED, "expire", reason="expired", request=REQUEST), ["timeout 2"]),
        (SENT, None, ["failed 3"]),
        (SENT, ANSWERED, ["responded 3"]),
        (evolve(SENT, ANSWERED), None, []),
    ],
)
def test_a_command_refused_by_redis_gets_all_its_events(
    command: Command, refused: object, expected: list[str]
) -> None:
    events = events_of_refused(command, REQUEST, refused)  # type: ignore[arg-type]
    assert [f"{event.state} {event.seq}" for event in events] == expected
    assert all(e.reason == "internal_error" for e in events if e.state == "failed")
