"""Events and notes as the flat string fields of a stream entry, and back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from fsm.events import SCHEMA_VERSION, CommandEvent, Note, SessionEvent
from fsm.outbound import ECHOED

Fields = list[str]

_VERSION = str(SCHEMA_VERSION)
_OPTIONAL = ("rtt_ms", "response", "response_hex")


def _extras(event: CommandEvent | Note) -> Fields:
    """Fields that are written only when there is something to say."""
    fields: Fields = []
    for name in _OPTIONAL:
        value = getattr(event, name)
        if value is not None:
            fields += (name, str(value))
    if event.truncated:
        fields += ("truncated", "1")
    if event.attribution:
        fields += ("attribution", event.attribution)
    for name, value in event.echo:
        fields += (name, value)
    return fields


def command_fields(event: CommandEvent) -> Fields:
    """The entry of a command event, without the stamps (``at``, ``age_ms``) that the store adds."""
    fields = [
        *("v", _VERSION, "kind", "command", "command_id", event.command_id, "seq", str(event.seq)),
        *("state", event.state, "prev", event.prev, "trigger", event.trigger),
        *("terminal", "1" if event.terminal else "0", "outcome", event.outcome),
        *("reason", event.reason, "detail", event.detail, "delivery", event.delivery),
        *("imei", event.imei, "codec", event.codec, "instance_id", event.instance_id),
        *("session_id", event.session_id, "outbound_id", event.outbound_id),
    ]
    if event.recovered:
        fields += ("recovered", "1")
    return fields + _extras(event)


def note_fields(note: Note) -> Fields:
    """The entry of a note, without the stamp ``at``."""
    return [
        *("v", _VERSION, "kind", "note", "note", note.note, "note_id", note.note_id),
        *("command_id", note.command_id, "state", note.state, "detail", note.detail),
        *("imei", note.imei, "codec", note.codec, "instance_id", note.instance_id),
        *("session_id", note.session_id, "outbound_id", note.outbound_id),
        *_extras(note),
    ]


def rfc3339(epoch_ms: int) -> str:
    """Epoch ms as RFC 3339 in UTC with milliseconds."""
    seconds, milliseconds = divmod(epoch_ms, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{milliseconds:03d}Z"


def session_fields(event: SessionEvent, at_ms: int) -> dict[str, str]:
    """The entry of a session event."""
    return {
        "v": _VERSION,
        "kind": "session",
        "session_id": event.session_id,
        "seq": str(event.seq),
        "state": event.state,
        "prev": event.prev,
        "trigger": event.trigger,
        "reason": event.reason,
        "imei": event.imei,
        "peer": event.peer,
        "instance_id": event.instance_id,
        "terminal": "1" if event.terminal else "0",
        "at": rfc3339(at_ms),
    }


def _echo(entry: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, entry[name]) for name in ECHOED if name in entry)


def _number(entry: Mapping[str, str], name: str) -> int | None:
    return int(entry[name]) if name in entry else None


def _command_event(entry: Mapping[str, str]) -> CommandEvent:
    return CommandEvent(
        command_id=entry["command_id"],
        seq=int(entry["seq"]),
        state=entry["state"],
        prev=entry["prev"],
        trigger=entry["trigger"],
        terminal=entry["terminal"] == "1",
        outcome=entry["outcome"],
        reason=entry["reason"],
        detail=entry["detail"],
        delivery=entry["delivery"],
        imei=entry["imei"],
        codec=entry["codec"],
        instance_id=entry["instance_id"],
        session_id=entry["session_id"],
        outbound_id=entry["outbound_id"],
        rtt_ms=_number(entry, "rtt_ms"),
        response=entry.get("response"),
        response_hex=entry.get("response_hex"),
        truncated=entry.get("truncated") == "1",
        attribution=entry.get("attribution", ""),
        recovered=entry.get("recovered") == "1",
        echo=_echo(entry),
    )


def _note(entry: Mapping[str, str]) -> Note:
    return Note(
        note=entry["note"],
        note_id=entry["note_id"],
        command_id=entry["command_id"],
        detail=entry["detail"],
        imei=entry["imei"],
        codec=entry["codec"],
        instance_id=entry["instance_id"],
        session_id=entry["session_id"],
        outbound_id=entry["outbound_id"],
        state=entry["state"],
        rtt_ms=_number(entry, "rtt_ms"),
        response=entry.get("response"),
        response_hex=entry.get("response_hex"),
        truncated=entry.get("truncated") == "1",
        attribution=entry.get("attribution", ""),
        echo=_echo(entry),
    )


def _session_event(entry: Mapping[str, str]) -> SessionEvent:
    return SessionEvent(
        session_id=entry["session_id"],
        seq=int(entry["seq"]),
        state=entry["state"],
        prev=entry["prev"],
        trigger=entry["trigger"],
        reason=entry["reason"],
        imei=entry["imei"],
        peer=entry["peer"],
        instance_id=entry["instance_id"],
        terminal=entry["terminal"] == "1",
    )


_READERS: dict[str, Callable[[Mapping[str, str]], CommandEvent | Note | SessionEvent]] = {
    "command": _command_event,
    "note": _note,
    "session": _session_event,
}


def read_entry(entry: Mapping[str, str]) -> CommandEvent | Note | SessionEvent | None:
    """The event or note that an entry of the log holds; None for a kind this version does not know.

    Raises:
        KeyError, ValueError: a known kind lacks a field or holds nonsense in one.
    """
    reader = _READERS.get(entry.get("kind", ""))
    return reader(entry) if reader else None
