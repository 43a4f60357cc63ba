"""Moves and their results in the terms of ``scripts/moves.lua``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fsm.command import SENT
from fsm.entries import entry_fields
from fsm.events import CommandEvent, Note
from fsm.moves import Discard, Entry, Move, MoveResult, Open, ParkMove, Remark, Status, Step, Transfer
from fsm.reasons import DUPLICATE_IGNORED
from store.client.replies import read_time
from store.streams.events import command_values, note_fields

BASE_WEIGHT = 1000
MOVE_BYTES = 80
"""About what a move has in the script's argument besides what it appends to the log."""


def encode_move(move: Move, ledgers: dict[str, int]) -> dict[str, Any]:
    """A move in the script's own terms; `ledgers` numbers the commands whose keys the call declares."""
    match move:
        case Step():
            return _encode_step(move, _index(ledgers, move.event.command_id))
        case Open():
            return _encode_open(move, _index(ledgers, move.event.command_id))
        case Transfer():
            return _encode_transfer(move, _index(ledgers, move.note.command_id))
        case ParkMove():
            return _encode_park(move, _index(ledgers, move.note.command_id))
        case Remark():
            return _encode_remark(move, ledgers)
        case Discard():
            return _encode_discard(move, ledgers)


def command_of(move: Move) -> str:
    """The command that a move is of; empty for none."""
    match move:
        case Open() | Step():
            return move.event.command_id
        case Transfer() | ParkMove() | Remark():
            return move.note.command_id
        case Discard():
            return ""


def duplicate_of(move: Open) -> Remark:
    """The answer to an entry whose command id another entry has used: it is noted, and removed."""
    event, entry = move.event, move.entry
    note = Note(
        note=DUPLICATE_IGNORED,
        note_id=move.token,
        command_id=event.command_id,
        imei=event.imei,
        codec=event.codec,
        instance_id=entry.instance_id,
        outbound_id=entry.outbound_id,
        echo=event.echo,
    )
    return Remark(note, _ignore, remove=entry)


def _ignore(_: MoveResult) -> None:
    """Nobody waits for it."""


def weight(move: Move) -> int:
    """About the number of bytes of a move in the script's argument, where a byte may be escaped with six."""
    match move:
        case Step() | Open():
            entry: CommandEvent | Note = move.event
        case Discard():
            pairs = (*move.fields, *move.kept)
            return BASE_WEIGHT + 6 * sum(len(name) + len(value) for name, value in pairs)
        case Transfer() | ParkMove() | Remark():
            entry = move.note
    return BASE_WEIGHT + 2 * len(entry.response or entry.response_hex or "")


def appended_bytes(size: int, moves: int) -> int:
    """About the bytes that so many moves append to the log, for which the script gets `size` bytes."""
    return max(0, size - moves * MOVE_BYTES)


def read_results(reply: Any, moves: int) -> list[MoveResult]:
    """The script's reply to so many moves: the outcome of each. Of a refusal all share one.

    Raises:
        ValueError, TypeError, AttributeError: it is no such reply.
    """
    now, rows = reply
    now_ms = read_time(now)
    if isinstance(rows, bytes):
        status = Status(rows.decode())
        return [MoveResult(status, now_ms) for _ in range(moves)]
    if len(rows) != moves:
        raise ValueError("not a result for each move")
    done = MoveResult(Status.OK, now_ms)
    return [done if row == 1 else _read_result(now_ms, row) for row in rows]


def _read_result(now_ms: int, row: list[Any]) -> MoveResult:
    status, state, seq, session, accepted, token, detail, codec, hops, parked = row
    return MoveResult(
        status=Status(status.decode()),
        now_ms=now_ms,
        state=state.decode(),
        seq=_number(seq),
        session_id=session.decode(),
        accepted_at=_number(accepted),
        token=token.decode(),
        detail=detail.decode(errors="replace"),
        codec=codec.decode(errors="replace"),
        hops=_number(hops),
        parked_id=parked.decode(),
    )


def _number(value: Any) -> int:
    if type(value) is not int:
        raise ValueError("not a number")
    return value


def _index(ledgers: dict[str, int], command_id: str) -> int:
    return ledgers.setdefault(command_id, len(ledgers) + 1)


def _ledger_fields(move: Open) -> list[str]:
    """What a new ledger keeps besides what the event and its entry say, as names and values in turn."""
    return ["expires_at", str(move.request.expires_at)] if move.request else []


def _encode_open(move: Open, key: int) -> dict[str, Any]:
    entry = move.entry
    return {
        "act": "open",
        "key": key,
        "instance": entry.instance_id,
        "entry": entry.outbound_id,
        "token": move.token,
        "event": command_values(move.event),
        "ledger": _ledger_fields(move),
    }


def _encode_step(move: Step, key: int) -> dict[str, Any]:
    event = move.event
    encoded: dict[str, Any] = {
        "act": "step",
        "key": key,
        **_place(move.entry),
        "token": move.token,
        "event": command_values(event),
        "accepted": move.accepted_at,
    }
    if move.remove:
        encoded["remove"] = [_whole_place(entry) for entry in move.remove]
    if move.held_imei:
        encoded["imei"] = move.held_imei
    if move.by_default:
        encoded["by_default"] = True
    if event.state == SENT:
        encoded["codec"] = event.codec
    if move.allow_missing:
        encoded["ledger"] = []
    return encoded


def _encode_park(move: ParkMove, key: int) -> dict[str, Any]:
    fields = entry_fields(move.request)
    return {
        "act": "park",
        "key": key,
        **_place(move.entry),
        "token": move.token,
        "prev": move.note.state,
        "seq": move.seq,
        "imei": move.request.imei,
        "expires": move.request.expires_at,
        "limit": move.limit,
        "note": note_fields(move.note),
        "fields": _in_turn(fields),
    }


def _place(entry: Entry) -> dict[str, str]:
    """The entry that a move is about, as the script names it; `device` is that of a parked one."""
    place = {"instance": entry.instance_id, "entry": entry.outbound_id}
    return place | {"device": entry.imei} if entry.imei else place


def _in_turn(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Names and values in turn."""
    return [text for pair in pairs for text in pair]


def _whole_place(entry: Entry) -> list[str]:
    return [entry.instance_id, entry.outbound_id, entry.imei]


def _encode_transfer(move: Transfer, key: int) -> dict[str, Any]:
    return {
        "act": "transfer",
        "key": key,
        **_place(move.entry),
        "token": move.token,
        "prev": move.note.state,
        "seq": move.seq,
        "to": move.to_instance,
        "note": note_fields(move.note),
        "fields": _in_turn(move.fields),
    }


def _encode_remark(move: Remark, ledgers: dict[str, int]) -> dict[str, Any]:
    encoded: dict[str, Any] = {"act": "remark", "note": note_fields(move.note)}
    if move.note.command_id:
        encoded["key"] = _index(ledgers, move.note.command_id)
    elif not move.remove:
        encoded["unasked"] = True
    if move.remove:
        encoded["remove"] = [_whole_place(move.remove)]
    return encoded


def _encode_discard(move: Discard, ledgers: dict[str, int]) -> dict[str, Any]:
    encoded: dict[str, Any] = {
        "act": "discard",
        **_place(move.entry),
        "events": [command_values(event) for event in move.events],
    }
    if move.events:
        last = move.events[-1]
        encoded |= {"key": _index(ledgers, last.command_id), "state": last.state, "seq": last.seq}
    if move.error:
        encoded["fields"] = _in_turn(letter_of_discard(move))
    if move.kept:
        encoded["kept"] = _in_turn(move.kept)
    return encoded


def letter_of_discard(move: Discard) -> Iterator[tuple[str, str]]:
    """The fields of a dead letter: why, which entry, and whether the command may have been sent."""
    yield "error", move.error
    yield from move.fields
    if move.events:
        yield "delivery", move.events[-1].delivery
        yield "outbound_id", move.entry.outbound_id
