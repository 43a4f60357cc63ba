"""Parked commands: queued commands in Redis that wait for a device which is connected nowhere.

A parked command belongs to no instance. Its entry is on the stream of its device, its ledger names that entry
and no instance, and its state is `queued`. The instance that the device connects to takes it up: it moves the
entry to its own stream. Janitors end it when its time is over. A ledger that names another entry, or has
ended, means that the parked entry is of no more use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fsm.command import QUEUED, Command, CommandRequest, Entry, decide
from fsm.dead_letters import give_up
from fsm.entries import entry_fields, letter_fields
from fsm.errors import InvalidCommand
from fsm.events import CommandEvent, Note
from fsm.moves import Discard, Done, Move, MoveResult, Status, Step, Transfer
from fsm.outbound import FIELD_LIMIT, Limits, SupersededHint, parse_entry
from fsm.policies import REMOVE, fire_for
from fsm.reasons import INTERNAL_ERROR, MOVED
from fsm.redelivery import events_of_refused, policy_at

_LIMITS = Limits(max_payload=FIELD_LIMIT)
"""The gateway that accepted a command has checked its length; it may allow more than this one."""
_FIRST = 1
"""The `seq` of a queued command."""


def read_parked(imei: str, entry_id: str, fields: Mapping[bytes, bytes], now_ms: int) -> CommandRequest:
    """Read one entry of the parked stream of a device.

    Raises:
        InvalidCommand: it is no command for this device.
    """
    request = parse_entry(fields, instance_id="", outbound_id=entry_id, now_ms=now_ms, limits=_LIMITS)
    if not isinstance(request, CommandRequest) or request.imei != imei:
        command_id = None if isinstance(request, SupersededHint) else request.command_id
        raise InvalidCommand("type", "is no command for this device", command_id)
    return replace(request, waits=True)


def entry_of(request: CommandRequest) -> Entry:
    """The entry of a parked command."""
    return Entry("", request.outbound_id, request.imei)


def command_of(request: CommandRequest) -> Command:
    """A parked command, as its ledger has it."""
    return Command(request.command_id, QUEUED, _FIRST)


def take_up(request: CommandRequest, instance_id: str, note_id: str, done: Done) -> Transfer:
    """The move of a parked command to the stream of the instance that holds its device."""
    note = Note(
        note=MOVED,
        note_id=note_id,
        command_id=request.command_id,
        detail=instance_id,
        imei=request.imei,
        outbound_id=request.outbound_id,
        state=QUEUED,
        echo=request.echo,
    )
    return Transfer(note, entry_of(request), _FIRST, instance_id, entry_fields(request), done)


def expire(request: CommandRequest, done: Done) -> Step:
    """The end of a parked command whose time is over."""
    return Step(_end(request, "expiry"), entry_of(request), done, accepted_at=request.accepted_at)


def left_over(request: CommandRequest, move: Transfer | Step, result: MoveResult, done: Done) -> Move | None:
    """What is to be done about a parked command that `move` did not find where it was; None for nothing.

    Without its ledger it ends: nothing is sent without one. If Redis refuses the move for good, the command
    goes to the dead letters. If it has ended, or goes on elsewhere, only its entry is removed.
    """
    entry = entry_of(request)
    if result.status is Status.MISSING:
        event = move.event if isinstance(move, Step) else _end(request, "ledger_lost")
        step = Step(replace(event, recovered=True), entry, done, allow_missing=True)
        step.accepted_at = request.accepted_at
        return step
    if result.status is Status.ERROR:
        events = events_of_refused(command_of(request), request, None)
        return give_up(request, entry, events, done)
    if result.status is Status.CONFLICT and _is_over(result):
        return Discard(entry, done)
    return None


def unreadable(imei: str, entry_id: str, fields: Mapping[bytes, bytes], error: InvalidCommand) -> Discard:
    """The end of an entry that cannot be read: it goes to the dead letters, and its command ends."""
    entry = Entry("", entry_id, imei)
    events: tuple[CommandEvent, ...] = ()
    if error.command_id is not None:
        command = Command(error.command_id, QUEUED, _FIRST)
        events = (decide(command, "fail", reason=INTERNAL_ERROR, detail=str(error), entry=entry),)
    return Discard(entry, _nothing, error=str(error), fields=letter_fields(fields), events=events)


def _is_over(result: MoveResult) -> bool:
    """Whether the ledger has ended or names another entry; a state of another version is left alone."""
    return result.state == QUEUED or policy_at("restart", result.state, None, 0) is REMOVE


def _end(request: CommandRequest, occasion: str) -> CommandEvent:
    fire = fire_for("expiry" if occasion == "expiry" else "ledger_lost", QUEUED)
    assert fire is not None
    return decide(command_of(request), fire.trigger, reason=fire.reason, request=request)


def _nothing(result: MoveResult) -> None:
    """Nobody waits for this answer."""
