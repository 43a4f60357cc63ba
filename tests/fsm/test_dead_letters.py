"""What is kept of a command that was given up."""

from __future__ import annotations

import pytest

from fsm.command import Command, CommandRequest, decide, evolve
from fsm.dead_letters import give_up, requeued_id
from fsm.events import CommandEvent
from fsm.moves import Discard
from fsm.outbound import COMMAND_ID, Limits, parse_entry
from fsm.parked import entry_of
from fsm.redelivery import events_of_refused

NOW = 1_767_225_600_000
ENTRY = {
    **{
        b"command_id": b"c-1",
        b"imei": b"352093081452251",
        b"payload": b"  setparam 2001:apn",
        b"codec": b"14",
    },
    **{b"offline": b"wait", b"confirm": b"1", b"response_timeout": b"2.5", b"expect_response": b"0"},
    **{b"requested_by": b"me", b"correlation_id": b"order-17", b"retry_of": b"c-0", b"unknown": b"x"},
}


def read(fields: dict[bytes, bytes], now_ms: int = NOW) -> CommandRequest:
    request = parse_entry(
        fields, instance_id="gw-1", outbound_id=f"{now_ms}-0", now_ms=now_ms, limits=Limits()
    )
    assert isinstance(request, CommandRequest)
    return request


REQUEST = read(ENTRY)
QUEUED = evolve(Command("c-1"), decide(Command("c-1"), "accept", request=REQUEST))
SENT = evolve(QUEUED, decide(QUEUED, "send", request=REQUEST, session_id="s-1", codec="14"))


def given_up(command: Command, refused: CommandEvent | None = None) -> Discard:
    events = events_of_refused(command, REQUEST, refused)
    return give_up(REQUEST, entry_of(REQUEST), events, lambda _: None)


@pytest.mark.parametrize("command", [Command("c-1"), QUEUED], ids=["new", "queued"])
def test_the_entry_that_is_kept_is_the_same_command(command: Command) -> None:
    kept = dict(given_up(command).kept)
    again = read(
        {name.encode(): text.encode() for name, text in kept.items()} | {b"command_id": b"n"}, NOW + 60_000
    )
    same = (
        "imei",
        "payload",
        "codec",
        "expires_at",
        "response_timeout",
        "expect_response",
        "confirmed",
        "waits",
    )
    assert [getattr(again, name) for name in same] == [getattr(REQUEST, name) for name in same]
    assert dict(again.echo) == {"requested_by": "me", "correlation_id": "order-17", "retry_of": "c-1"}


@pytest.mark.parametrize(
    ("command", "refused"),
    [
        (SENT, None),
        (QUEUED, decide(QUEUED, "fail", reason="cancelled", request=REQUEST)),
        (QUEUED, decide(QUEUED, "expire", reason="expired", request=REQUEST)),
        (SENT, decide(SENT, "withdraw", reason="connection_lost", request=REQUEST)),
    ],
    ids=["sent", "cancelled", "expired", "withdrawn"],
)
def test_what_may_have_been_sent_or_has_another_verdict_is_not_kept(
    command: Command, refused: CommandEvent | None
) -> None:
    letter = given_up(command, refused)
    assert (letter.kept, letter.error) == ((), "internal_error")


def test_a_letter_holds_no_text() -> None:
    letter = given_up(QUEUED)
    assert "setparam" not in str(letter.fields)
    assert dict(letter.fields)["payload_length"] == str(len(ENTRY[b"payload"]))


def test_the_new_id_follows_from_the_old_one() -> None:
    names = ["c-1", "c-2", requeued_id("c-1"), "x" * 64]
    ids = [requeued_id(name) for name in names]
    assert ids == [requeued_id(name) for name in names]
    assert len({*names, *ids}) == len([*names, *ids]) - 1  # the third name is the first id
    assert all(COMMAND_ID.fullmatch(one) for one in ids)
