"""Events and notes as the flat string fields of a stream entry. `store.streams.event_reader` reads them."""

from __future__ import annotations

import time
from itertools import chain

from fsm.events import SCHEMA_VERSION, CommandEvent, Note, SessionEvent

Fields = list[str]

_VERSION = str(SCHEMA_VERSION)


def _extras(event: CommandEvent | Note) -> Fields:
    """Fields that are written only when there is something to say."""
    fields: Fields = []
    if event.rtt_ms is not None:
        fields += ("rtt_ms", str(event.rtt_ms))
    if event.response is not None:
        fields += ("response", event.response)
    if event.response_hex is not None:
        fields += ("response_hex", event.response_hex)
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


COMMAND_NAMES = (
    *("v", "kind", "command_id", "seq", "state", "prev", "trigger"),
    *("terminal", "outcome", "reason", "detail", "delivery"),
    *("imei", "codec", "instance_id", "session_id", "outbound_id"),
)
"""The fields of every command event, in their order."""


def command_values(event: CommandEvent) -> Fields:
    """The values of `COMMAND_NAMES`, and then names and values in turn of what only some events have.

    So the names that all events have need not be sent to the store with each of them.
    """
    values = [
        *(_VERSION, "command", event.command_id, str(event.seq), event.state, event.prev, event.trigger),
        *("1" if event.terminal else "0", event.outcome, event.reason, event.detail, event.delivery),
        *(event.imei, event.codec, event.instance_id, event.session_id, event.outbound_id),
    ]
    if event.recovered:
        values += ("recovered", "1")
    values += _extras(event)
    return values


def command_fields(event: CommandEvent) -> Fields:
    """The entry of a command event, without the stamps (``at``, ``age_ms``) that the store adds."""
    values = command_values(event)
    always = chain.from_iterable(zip(COMMAND_NAMES, values, strict=False))
    return [*always, *values[len(COMMAND_NAMES) :]]


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
