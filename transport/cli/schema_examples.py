"""An example of each kind of stream entry, made by the code that writes such entries.

The values are fixed, so that the documents of ``telgw schema`` change only when the code does.
"""

from __future__ import annotations

from collections.abc import Iterable

from fsm import command, session
from fsm.command import Answer, Command, CommandRequest
from fsm.dead_letters import give_up
from fsm.device_status import DeviceStatus, LastRecord
from fsm.entries import letter_fields
from fsm.errors import InvalidCommand
from fsm.events import Note
from fsm.outbound import Limits, parse_entry
from fsm.reasons import CANCEL_REJECTED, LATE_RESPONSE
from fsm.redelivery import events_of_refused
from fsm.states import SessionTrigger
from store.ledger.ledger import KEPT_FOR
from store.ledger.move_codec import letter_of_discard
from store.streams.events import command_fields, note_fields, rfc3339, session_fields
from transport.teltonika.avl import decode_avl
from transport.teltonika.command import Message
from transport.teltonika.message_json import message_fields
from transport.teltonika.record_json import record_json

Entry = dict[str, str]

AT = 1_767_225_600_000
"""Epoch ms of all examples."""
COMMAND_ID = "6f1c1f0e-3a64-4f52-9f0e-0b1b7f1b8a11"
INSTANCE = "gw-1"
SESSION = "5dd2c1f4-1"
IMEI = "352093081452251"
FRAME = bytes.fromhex(
    "08010000016b40d8ea30010000000000000000000000000000000105021503010101425e0f01f10000601a014e00000000000000"
    "0001"
)
"""The example of codec 8 in the manufacturer's description: one record."""

_COMMAND = {
    **{"command_id": COMMAND_ID, "imei": IMEI, "payload": "getinfo"},
    **{"expires_at": "2026-01-01T00:05:00Z", "correlation_id": "order-17"},
}
STATUS = DeviceStatus(
    instance_id=INSTANCE,
    session_id=SESSION,
    state="ready",
    peer="203.0.113.7:41234",
    auth="imei",
    connected_at=AT,
    last_seen_at=AT + 5000,
    frames=1,
    records=1,
    last=LastRecord(timestamp=AT, latitude=54.6867, longitude=25.2797, speed=50, satellites=9),
)
"""A value of the hash ``devices:status``."""
_LIFE: tuple[SessionTrigger, ...] = ("accept", "identify", "open", "close")


def entry_examples() -> dict[str, list[Entry]]:
    """Examples of each kind of entry, by the names of `entry_schemas`."""
    return {
        "Command": [_COMMAND],
        "Cancel": [{"type": "cancel", "command_id": COMMAND_ID}],
        "CommandEvent": _events(),
        "Note": [_note(LATE_RESPONSE, response="Battery: 12.4 V"), _note(CANCEL_REJECTED, detail="sent")],
        "SessionEvent": _sessions(),
        "DeadLetter": [_letter(), _letter_of_given_up()],
        "TelemetryRecord": [_head("8", data=record_json(decode_avl(FRAME)[0]).decode())],
        "UndecodableFrame": [{"imei": IMEI, "codec": "8", "reason": "count", "frame": "\x08\x01\x02"}],
        "DeviceMessage": [_message(b"$SENSOR,1,23.4\r\n"), _message(bytes.fromhex("00ff"))],
    }


def _request() -> CommandRequest:
    raw = {name.encode(): text.encode() for name, text in _COMMAND.items()}
    found = parse_entry(raw, instance_id=INSTANCE, outbound_id=f"{AT}-0", now_ms=AT, limits=Limits())
    assert isinstance(found, CommandRequest)
    return found


def _events() -> list[Entry]:
    """The life of a command that is answered, and the one event of a command that is refused."""
    fields = []
    known = Command(COMMAND_ID)
    answer = Answer("Battery: 12.4 V", None, truncated=False, codec="12")
    for age, trigger, more in (
        (0, "accept", {"request": _request()}),
        (3, "send", {"request": _request(), "session_id": SESSION}),
        (
            1203,
            "respond",
            {"answer": answer, "rtt_ms": 1200},
        ),
    ):
        event = command.decide(known, trigger, **more)  # type: ignore[arg-type]
        known = command.evolve(known, event)
        fields.append(_stamped(command_fields(event), age))
    refused = command.decide(Command("c-2"), "refuse", request=_request(), reason="queue_full")
    return [*fields, _stamped(command_fields(refused), 0)]


def _note(name: str, **more: str) -> Entry:
    note = Note(name, "n-1", COMMAND_ID, imei=IMEI, codec="12", instance_id=INSTANCE, **more)  # type: ignore[arg-type]
    return _entry([*note_fields(note), "at", rfc3339(AT)])


def _sessions() -> list[Entry]:
    found, fields = session.Session(SESSION), []
    for trigger in _LIFE:
        reason = "device_closed" if trigger == "close" else ""
        about = {"imei": IMEI, "peer": "203.0.113.7:41234", "instance_id": INSTANCE}
        event = session.decide(found, trigger, reason=reason, **about)
        found = session.evolve(found, event)
        fields.append(session_fields(event, AT))
    return fields[1:]  # the first is never published


def _letter() -> Entry:
    fields = {b"imei": IMEI.encode(), b"payload": b"getinfo"}
    try:
        parse_entry(fields, instance_id=INSTANCE, outbound_id=f"{AT}-0", now_ms=AT, limits=Limits())
    except InvalidCommand as error:
        return {"error": str(error), **dict(letter_fields(fields))}
    raise AssertionError("a command without an id is valid")


def _letter_of_given_up() -> Entry:
    events = events_of_refused(Command(COMMAND_ID), _request(), None)
    letter = give_up(_request(), command.Entry(INSTANCE, f"{AT}-0"), events, lambda _: None)
    fields = [text for pair in letter_of_discard(letter) for text in pair]
    kept = ("kept_id", f"{AT}-0", "kept_until", str(AT + round(KEPT_FOR * 1000)))
    return _entry([*fields, *kept])


def _message(text: bytes) -> Entry:
    return _head("12", **_entry(message_fields(Message(12, 6, text, None, None))))


def _head(codec: str, **more: str) -> Entry:
    return {"imei": IMEI, "codec": codec, "instance_id": INSTANCE, "received_at": str(AT), **more}


def _stamped(fields: list[str], age_ms: int) -> Entry:
    return _entry([*fields, "at", rfc3339(AT + age_ms), "age_ms", str(age_ms)])


def _entry(flat: Iterable[str]) -> Entry:
    fields = iter(flat)
    return dict(zip(fields, fields, strict=True))
