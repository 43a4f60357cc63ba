"""The validation of outbound entries, and its results, checked against `tests.fuzz.contract`."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import msgspec

from fsm.cancel import Cancelled, decide_cancel
from fsm.command import Command, CommandRequest, decide
from fsm.entries import FIELDS_KEPT, VALUE_KEPT, entry_fields, letter_fields
from fsm.errors import InvalidCommand
from fsm.events import CommandEvent
from fsm.moves import Discard, Entry, Move, Open
from fsm.outbound import CancelRequest, Limits, parse_entry, verb_allowed
from fsm.reasons import INVALID_COMMAND
from store.ledger.move_codec import encode_move
from store.streams.event_reader import read_entry
from store.streams.events import command_fields
from tests.fuzz import contract
from tests.fuzz.contract import ENTRY_MS, NOW_MS, Fields
from tests.transport.command_rig import CommandRig
from tests.transport.fake_ledger import US, now_ms

VERBS = ("getinfo", "setparam", "cpureset")
READ_MS = ENTRY_MS + 3_600_000
"""When a gateway reads the entry: no value of an expiry is near it."""
Met = set[str]


def outbound(text: bytes) -> Met:
    """An entry is a command, a cancel, or refused for a wrong field; it can be stored and handed on."""
    fields = contract.read_fields(text)
    expected = contract.validate(fields)
    try:
        found = _parse(fields)
    except InvalidCommand as error:
        _taken(fields, "failed invalid_command" if error.command_id else "")
        return _refused(fields, expected, error)
    assert isinstance(expected, dict), f"taken though wrong: {expected}"
    if isinstance(found, CancelRequest):
        assert (found.command_id, found.echo) == (expected["command_id"], expected["echo"])
        assert expected["type"] == "cancel"
        return {"cancel"}
    _compare(found, expected)
    _stored(found)
    _handed_on(found)
    _taken(fields, "timeout expired" if found.expires_at <= READ_MS else "queued")
    word = found.payload.strip(b" ").split(b" ")[0].decode()
    assert verb_allowed(found.payload, VERBS) == (word in VERBS)
    assert verb_allowed(found.payload, ())
    kinds = {
        f"codec {found.codec or 'of the gateway'}",
        "expired" if found.expires_at <= NOW_MS else "command",
    }
    kinds |= {"echo"} if found.echo else set()
    return kinds | (set() if found.expect_response else {"no answer"})


def _parse(fields: Fields, at_ms: int = ENTRY_MS) -> CommandRequest | CancelRequest:
    return parse_entry(
        fields, instance_id="gw-1", outbound_id=f"{at_ms}-0", now_ms=at_ms + 5, limits=Limits()
    )


def _refused(fields: Fields, expected: set[str] | dict[str, Any], error: InvalidCommand) -> Met:
    assert not isinstance(expected, dict), f"refused though right: {error}"
    assert error.field in expected
    assert error.problem in contract.PROBLEMS
    assert str(error) == f"{error.field}: {error.problem}"
    assert (error.command_id is None) == ("command_id" in expected)
    entry = Entry("gw-1", f"{ENTRY_MS}-0")
    if error.command_id is None:
        pairs = letter_fields(fields)
        assert len(pairs) <= FIELDS_KEPT + 1
        assert all(len(name) <= 64 + 7 and len(value) <= 2 * VALUE_KEPT for name, value in pairs)
        assert not {name for name, _ in pairs} & {"payload", "payload_hex"}
        _spelt(Discard(entry, _ignore, error=str(error), fields=pairs))
        return {f"refused: {error.field}", "no command"}
    assert error.command_id.encode() == fields[b"command_id"]
    event = decide(
        Command(error.command_id), "refuse", reason=INVALID_COMMAND, detail=str(error), entry=entry
    )
    _spelt(Open(event, entry, _ignore))
    return {f"refused: {error.field}"}


def _taken(fields: Fields, said: str) -> None:
    """A gateway that is handed the entry twice says once what becomes of it; without an id it is kept."""
    commands = CommandRig(None)  # type: ignore[arg-type]
    commands.ledger.set_clock_ahead(READ_MS - now_ms())
    commands.clock.sync(READ_MS)
    entry = Entry(US, f"{ENTRY_MS}-0")
    commands.ledger.put(entry, {"command_id": "c-1"})
    for fresh in (True, False):
        commands.dispatcher.receive([(entry.outbound_id, fields)], fresh)
        commands.ledger.commit()
    events = [event for event in commands.ledger.log if isinstance(event, CommandEvent)]
    assert [f"{event.state} {event.reason}".strip() for event in events] == [said] * bool(said)
    assert len(commands.ledger.deadletters) == (not said)
    assert (entry in commands.ledger.stream) == (said == "queued")
    commands.audit()


def _compare(found: CommandRequest, expected: dict[str, Any]) -> None:
    assert found.payload == expected["payload"]
    assert (found.accepted_at, found.hops) == (NOW_MS, 0)
    for name in ("command_id", "imei", "codec", "expires_at", "response_timeout", "echo"):
        assert getattr(found, name) == expected[name], name
    assert found.expect_response == (expected["expect_response"] in ("1", "true"))
    assert found.confirmed == (expected["confirm"] in ("1", "true"))


def _stored(request: CommandRequest) -> None:
    """Its first event is read back as it was written; the text of the command has no part in it."""
    event = decide(Command(request.command_id), "accept", request=request)
    flat = command_fields(event)
    assert read_entry(dict(zip(flat[::2], flat[1::2], strict=True))) == event
    other = replace(request, payload=b"another text")
    alike = decide(Command(request.command_id), "accept", request=other)
    entry = Entry(request.instance_id, request.outbound_id)
    stored, as_well = Open(event, entry, _ignore, request), Open(alike, entry, _ignore, other)
    assert _spelt(stored) == _spelt(as_well), "what is stored depends on the text beyond its digest"


def _handed_on(request: CommandRequest) -> None:
    """Another instance reads the same command from the entry that is written for it."""
    if request.expires_at <= NOW_MS:
        return  # such a command is never handed on
    fields = {name.encode(): value.encode() for name, value in entry_fields(request)}
    later = _parse(fields, NOW_MS + 1000)
    assert isinstance(later, CommandRequest)
    assert later == replace(request, accepted_at=later.accepted_at, outbound_id=later.outbound_id)


def _spelt(move: Move) -> Any:
    """A move as the script gets it: JSON that any reader takes, with text in it and nothing else."""
    return json.loads(msgspec.json.encode(encode_move(move, {})))


def _ignore(_: object) -> None:
    pass


def cancel(text: bytes) -> Met:
    """Whatever a ledger holds, a cancel is decided, or the ledger is called unreadable by a known error."""
    ledger = {
        name.decode(errors="replace"): value.decode(errors="replace")
        for name, value in contract.read_fields(text).items()
    }
    try:
        verdict = decide_cancel(CancelRequest("c-1", "gw-1", f"{ENTRY_MS}-0"), ledger)
    except (KeyError, ValueError):
        return {"unreadable"}
    if isinstance(verdict, str):
        assert verdict == ("unknown" if not ledger else "sent" if ledger["state"] == "sent" else "terminal")
        return {verdict}
    assert isinstance(verdict, Cancelled)
    assert (ledger["state"], verdict.event.delivery, verdict.event.reason) == (
        "queued",
        "not_sent",
        "cancelled",
    )
    assert verdict.event.seq == int(ledger["seq"]) + 1
    assert verdict.held == Entry(ledger["instance_id"], ledger["outbound_id"])
    return {"called off"}
