"""Events and notes as the flat string fields of a stream entry, and back."""

from __future__ import annotations

import time
from dataclasses import fields as fields_of
from typing import Any

from fsm.events import SCHEMA_VERSION, CommandEvent, Note, SessionEvent
from fsm.outbound import ECHOED
from store.streams import messages
from store.streams.messages import Message, RawEntry, read_message

Event = CommandEvent | Note | SessionEvent
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
    fields += _origin(event)
    if isinstance(event, CommandEvent) and event.verb:
        fields += ("verb", event.verb)
    for name, value in event.echo:
        fields += (name, value)
    return fields


def _origin(event: CommandEvent | Note) -> Fields:
    """The session that it is about, where it tells of one."""
    fields: Fields = []
    if event.peer:
        fields += ("peer", event.peer)
    if event.auth:
        fields += ("auth", event.auth)
    if isinstance(event, CommandEvent) and event.session_age_ms is not None:
        fields += ("session_age_ms", str(event.session_age_ms))
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
        **({"auth": event.auth} if event.auth else {}),
        "at": rfc3339(at_ms),
    }


_EVENTS: dict[type[Message], type[Event]] = {
    messages.CommandEvent: CommandEvent,
    messages.Note: Note,
    messages.SessionEvent: SessionEvent,
}
_NAMES = {cls: [one.name for one in fields_of(cls) if one.name != "echo"] for cls in _EVENTS.values()}


def event_of(message: Message) -> Event:
    """Return the event or note that a message tells of, without the stamps of the store."""
    cls = _EVENTS[type(message)]
    values: dict[str, Any] = {name: getattr(message, name) for name in _NAMES[cls]}
    if not isinstance(message, messages.SessionEvent):
        values["echo"] = tuple((name, text) for name in ECHOED if (text := getattr(message, name)))
    return cls(**values)


def read_entry(entry: RawEntry) -> Event | None:
    """Return the event or note that an entry of the log holds; None for a kind this version does not know.

    Raises:
        ValueError: as `read_message` does.
    """
    message = read_message(entry)
    return None if message is None else event_of(message)
