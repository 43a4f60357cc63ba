"""JSON Schemas of the stream entries, generated from the dataclasses, tables and patterns of the gateway.

An entry is flat and every value is a string: a number is decimal digits, a flag is ``0`` or ``1``. The
required fields come from the code that writes the entry. Properties that a schema does not list are allowed,
because a later version may add fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from fsm import reasons
from fsm.command import COMMAND, OUTCOMES
from fsm.entries import NAMED, VALUE_KEPT
from fsm.events import CommandEvent, Note, SessionEvent
from fsm.machine import Table
from fsm.outbound import (
    COMMAND_ID,
    DECIMAL,
    ECHO_LIMIT,
    ECHOED,
    FAIL,
    FALSE,
    IMEI,
    PRINTABLE,
    TRUE,
    WAIT,
)
from fsm.record_data import RecordData
from fsm.serial import ATTRIBUTIONS
from fsm.session import SESSION
from store.streams import messages
from store.streams.events import command_fields, note_fields, session_fields
from transport.teltonika.errors import UNDECODABLE_REASONS
from transport.teltonika.message_json import CODEC_NAMES

Schema = dict[str, Any]

HEX = re.compile("([0-9a-f]{2})*")

DELIVERIES = (reasons.NOT_SENT, reasons.MAYBE_SENT, reasons.RECEIVED, reasons.ANSWERED)
TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "string", "pattern": "^[0-9]+$"}
FLAG: Schema = {"enum": ["0", "1"]}
MOMENT: Schema = {"type": "string", "format": "date-time"}
BYTES: Schema = {"type": "string", "description": "Raw bytes; here each byte is one character."}
COMMAND_CODEC: Schema = {"enum": ["12", "14"]}


def entry_schemas(ref: str) -> dict[str, Schema]:
    """A schema for each kind of entry, by its name. `ref` is the form of a reference: ``#/$defs/{name}``."""
    return {
        "Command": _command(),
        "Cancel": _cancel(),
        "CommandEvent": _event(),
        "Note": _note(),
        "SessionEvent": _session(),
        "DeadLetter": _letter(),
        "TelemetryRecord": _telemetry(ref),
        "UndecodableFrame": _undecodable(),
        "DeviceMessage": _message(),
        **record_schemas(ref),
    }


def record_schemas(ref: str) -> dict[str, Schema]:
    """The schemas of the JSON in a record, by their names."""
    return msgspec.json.schema_components([RecordData], ref_template=ref)[1]


def _command() -> Schema:
    properties: dict[str, Schema] = {
        "command_id": _matching(COMMAND_ID)
        | {"description": "Idempotency key: a command with the same id is never sent twice."},
        "imei": _matching(IMEI),
        "payload": _matching(PRINTABLE) | {"description": "The text, sent byte for byte."},
        "codec": COMMAND_CODEC
        | {"description": "Default: 12, or 14 for a device that sends serial-port data."},
        "type": {"enum": ["command"], "default": "command"},
        "expires_at": TEXT
        | {"description": "RFC 3339, or epoch ms; at most 24 h ahead, 30 days if it waits."},
        "response_timeout": _matching(DECIMAL) | {"description": "Seconds from the write, 0.1 to 3600."},
        "expect_response": {"enum": [*FALSE, *TRUE], "default": "1"},
        "confirm": {
            "enum": [*FALSE, *TRUE],
            "default": "0",
            "description": "1: confirms a command that a policy allows only then.",
        },
        "offline": {
            "enum": [FAIL, WAIT],
            "default": FAIL,
            "description": "wait: a device that is connected nowhere is waited for until expires_at.",
        },
        **_echo(),
        "confirmed_by": {
            "type": "string",
            "maxLength": ECHO_LIMIT,
            "description": "A person other than requested_by, whom a policy may require.",
        },
    }
    return _object("A command for a device.", properties, ("command_id", "imei", "payload"))


def _cancel() -> Schema:
    properties = {"command_id": _matching(COMMAND_ID), "type": {"enum": ["cancel"]}, **_echo()}
    return _object("A request to cancel a command that is not sent yet.", properties, ("command_id", "type"))


def _event() -> Schema:
    sample = CommandEvent("c", 1, "queued", "", "accept", terminal=False)
    known = sorted({reason for verdict in reasons.EDGE_RULES.values() for reason in verdict.reasons})
    properties = _wire(messages.CommandEvent) | {
        "kind": {"const": "command"},
        "state": {"enum": [state for state in COMMAND.states if state != COMMAND.initial]},
        "prev": {"enum": ["", *_left(COMMAND)]},
        "trigger": {"enum": list(COMMAND.triggers)},
        "outcome": {"enum": ["", *dict.fromkeys(OUTCOMES.values())]},
        "reason": {"enum": ["", *known]},
        "delivery": {"enum": list(DELIVERIES)},
        "attribution": {"enum": list(ATTRIBUTIONS)},
        "verb": TEXT | {"pattern": "^[a-z0-9_]{2,24}$"},
        "at": MOMENT,
    }
    event = _object("One transition of a command.", properties, (*command_fields(sample)[::2], "at"))
    return event | {"allOf": [_edge(*edge) for edge in reasons.RULES]}


def _edge(trigger: str, source: str) -> Schema:
    """What an event has that `trigger` caused in the state `source`."""
    rule = reasons.RULES[trigger, source]
    prev = "" if source == COMMAND.initial else source
    states = sorted(
        {one["dest"] for one in COMMAND.edges if (one["trigger"], one["source"]) == (trigger, source)}
    )
    then = {
        "state": {"enum": states},
        "terminal": {"enum": sorted({"1" if state in COMMAND.terminal else "0" for state in states})},
        "outcome": {"enum": sorted({OUTCOMES.get(state, "") for state in states})},
        "reason": {"enum": sorted(map(str, rule.reasons)) or [""]},
        "delivery": {"enum": list(dict.fromkeys((rule.delivery, rule.acknowledged)))},
    }
    return {
        "if": {"properties": {"trigger": {"const": trigger}, "prev": {"const": prev}}},
        "then": {"properties": then},
    }


def _note() -> Schema:
    sample = Note("moved", "n")
    properties = _wire(messages.Note) | {
        "kind": {"const": "note"},
        "note": {"enum": list(reasons.NOTES)},
        "attribution": {"enum": list(ATTRIBUTIONS)},
        "at": MOMENT,
    }
    return _object("A note, which changes no state.", properties, (*note_fields(sample)[::2], "at"))


def _session() -> Schema:
    sample = SessionEvent("s", 1, "identified", "handshake", "identify")
    properties = _wire(messages.SessionEvent) | {
        "kind": {"const": "session"},
        "state": {"enum": [state for state in SESSION.states if state != SESSION.initial]},
        "prev": {"enum": ["", *_left(SESSION)]},
        "trigger": {"enum": list(SESSION.triggers)},
        "reason": {"enum": ["", *sorted(reasons.CLOSE_REASONS)]},
        "at": MOMENT,
    }
    return _object("One transition of a session.", properties, session_fields(sample, 0))


def _telemetry(ref: str) -> Schema:
    properties: dict[str, Schema] = {
        "imei": _matching(IMEI),
        "codec": {"enum": ["8", "8E", "16"]},
        "instance_id": TEXT,
        "session_id": TEXT,
        "received_at": NUMBER | {"description": "Epoch ms."},
        "data": TEXT
        | {"contentMediaType": "application/json", "contentSchema": {"$ref": ref.format(name="RecordData")}},
        "frame": BYTES
        | {"description": "Instead of data, with --payload raw: the validated bytes of the frame."},
    }
    record = _object("One AVL record.", properties, ("imei", "codec", "instance_id", "received_at"))
    return record | {"oneOf": [{"required": ["data"]}, {"required": ["frame"]}]}


def _undecodable() -> Schema:
    properties: dict[str, Schema] = {
        "imei": _matching(IMEI),
        "codec": TEXT | {"description": "As in a record or message; an unknown one as its byte in hex."},
        "session_id": TEXT,
        "reason": {"enum": list(UNDECODABLE_REASONS)},
        "frame": BYTES,
    }
    always = ("imei", "codec", "reason", "frame")
    return _object("A frame with a good checksum that could not be decoded.", properties, always)


def _letter() -> Schema:
    kept = TEXT | {"maxLength": VALUE_KEPT}
    properties: dict[str, Schema] = {
        "error": TEXT | {"description": "Why it is no command; it never repeats a value."},
        **dict.fromkeys(sorted(NAMED), kept),
        "payload_length": NUMBER | {"description": "Bytes of the text, which is not kept."},
        "cut": {"const": "1", "description": "Something is missing."},
        "delivery": {"enum": list(DELIVERIES), "description": "Of its verdict, if the command has one."},
        "outbound_id": TEXT | {"description": "The entry, if the command has a verdict."},
        "kept_id": TEXT | {"description": "Its entry on commands:deadletter:kept, if it can be put back."},
        "kept_until": NUMBER | {"description": "Epoch ms until which that entry is kept."},
    }
    letter = _object("An entry that could not be processed as a command.", properties, ("error",))
    return letter | {"patternProperties": {"_length$": NUMBER, "_hex$": _matching(HEX)}}


def _message() -> Schema:
    texts: dict[str, Schema] = {
        "imei": _matching(IMEI),
        "codec": {"enum": list(CODEC_NAMES.values())},
        "received_at": NUMBER | {"description": "Epoch ms."},
        "at": NUMBER | {"description": "Epoch ms by the device; codecs 13 and 15 only."},
        "type": {"type": "string", "pattern": "^[0-9A-F]{2}$"},
        "text": TEXT | {"description": "The message, if it is printable ASCII, tabs and line breaks."},
        "hex": _matching(HEX) | {"description": "Instead of text."},
    }
    always = ("imei", "codec", "instance_id", "received_at", "type")
    properties = _wire(messages.DeviceMessage) | texts
    message = _object("A message of a device that is neither a record nor an answer.", properties, always)
    return message | {"oneOf": [{"required": ["text"]}, {"required": ["hex"]}]}


def _wire(cls: type) -> dict[str, Schema]:
    """The fields of a message as they are written."""
    _, components = msgspec.json.schema_components([cls])
    properties = {name: _as_text(kind) for name, kind in components[cls.__name__]["properties"].items()}
    return properties | {name: text for name, text in _echo().items() if name in properties}


def _as_text(kind: Schema) -> Schema:
    kinds = {kind.get("type"), *(option.get("type") for option in kind.get("anyOf", ()))}
    return NUMBER if "integer" in kinds else FLAG if "boolean" in kinds else TEXT


def _echo() -> dict[str, Schema]:
    return {name: TEXT | {"maxLength": ECHO_LIMIT} for name in ECHOED}


def _left(table: Table) -> list[str]:
    """States that an edge starts from, without the initial state."""
    return [state for state in table.states if state not in table.terminal and state != table.initial]


def _matching(pattern: re.Pattern[str]) -> Schema:
    return {"type": "string", "pattern": f"^(?:{pattern.pattern})$"}


def _object(description: str, properties: dict[str, Schema], required: Iterable[str]) -> Schema:
    return {
        "description": description,
        "type": "object",
        "properties": properties,
        "required": list(required),
    }
