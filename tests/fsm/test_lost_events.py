"""What is told a second time: only what leads from where the ledger stands to the verdict that was given."""

from __future__ import annotations

import pytest

from fsm.command import Command, CommandRequest, decide, evolve
from fsm.events import CommandEvent
from fsm.lost_events import restore_lost_events
from fsm.outbound import Limits, parse_entry


def request_of(instance_id: str = "gw-1", outbound_id: str = "1767225600000-0") -> CommandRequest:
    raw = {b"command_id": b"c-1", b"imei": b"352093081452251", b"payload": b"getinfo"}
    at = {"instance_id": instance_id, "outbound_id": outbound_id}
    found = parse_entry(raw, **at, now_ms=1_767_225_600_000, limits=Limits())  # type: ignore[arg-type]
    assert isinstance(found, CommandRequest)
    return found


REQUEST = request_of()


def verdict_of(trigger: str, *before: str, **facts: str) -> CommandEvent:
    """The verdict that `trigger` gives to a command after `before`."""
    command = Command("c-1")
    for step in before:
        command = evolve(command, decide(command, step, request=REQUEST))
    return decide(command, trigger, request=REQUEST, **facts)  # type: ignore[arg-type]


ANSWERED = verdict_of("respond", "accept", "send")
CANCELLED = verdict_of("fail", "accept", reason="cancelled")
REFUSED = verdict_of("refuse", reason="queue_full")


@pytest.mark.parametrize(
    ("verdict", "state", "seq", "told"),
    [
        (ANSWERED, "new", 0, [(1, "queued"), (2, "sent"), (3, "responded")]),
        (ANSWERED, "queued", 1, [(2, "sent"), (3, "responded")]),
        (ANSWERED, "sent", 2, [(3, "responded")]),
        (ANSWERED, "failed", 1, []),
        (ANSWERED, "responded", 3, []),
        (CANCELLED, "new", 0, [(1, "queued"), (2, "failed")]),
        (CANCELLED, "queued", 1, [(2, "failed")]),
        (CANCELLED, "sent", 2, []),
        (REFUSED, "new", 0, [(1, "failed")]),
        (REFUSED, "queued", 1, []),
    ],
)
def test_missing_events_are_restored_on_the_same_path_only(
    verdict: CommandEvent, state: str, seq: int, told: list[tuple[int, str]]
) -> None:
    events = restore_lost_events(verdict, Command("c-1", state, seq), REQUEST)
    assert [(event.seq, event.state) for event in events] == told
    assert [event.recovered for event in events] == [False] * (len(told) - 1) + [True] * bool(told)


def test_a_restored_outcome_names_the_redelivered_entry() -> None:
    again = request_of("gw-2", "1767225700000-0")
    [event] = restore_lost_events(ANSWERED, Command("c-1", "sent", 2), again)
    assert (event.instance_id, event.outbound_id) == ("gw-2", "1767225700000-0")


def test_restored_events_name_the_codec_used() -> None:
    command = evolve(Command("c-1"), decide(Command("c-1"), "accept", request=REQUEST))
    command = evolve(command, decide(command, "send", request=REQUEST, codec="14"))
    verdict = decide(command, "fail", request=REQUEST, reason="connection_lost")
    events = restore_lost_events(verdict, Command("c-1"), REQUEST)
    assert [event.codec for event in events] == ["14", "14", "14"]
