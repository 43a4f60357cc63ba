"""Stream entries as consumers read them: one class for each kind of entry, one attribute for each field.

An entry is flat and all of its values are text. `read_message` and `read_device_message` validate an entry
and read it with msgspec, which is fast. ``from_dict`` and ``to_dict`` of dataclasses-json convert between the
fields of an entry and a message. They are a hundred times slower, and ``from_dict`` validates nothing: give
it only what a gateway has written.

The gateway writes its entries without these classes (`store.streams.events`), and does not import them. A
test holds all three equal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from hashlib import sha256
from typing import Any, TypeVar

import msgspec
from dataclasses_json import DataClassJsonMixin, config

from fsm.events import SCHEMA_VERSION
from store.streams.record_data import RecordData, read_record

NUMBER = re.compile("0|[1-9][0-9]{0,19}")
FLAG = re.compile("[01]")

RawEntry = Mapping[str, str] | Mapping[bytes, bytes]
"""The fields of an entry, as a client of Redis returns them with or without decoding."""


def _is_none(value: object) -> bool:
    return value is None


def _is_empty(value: object) -> bool:
    return not value


def _write_flag(value: bool) -> str:
    return "1" if value else "0"


def _read_flag(text: str) -> bool:
    return text == "1"


def _number(**options: Any) -> Any:
    """A number, which is always written."""
    return field(metadata={"pattern": NUMBER} | config(encoder=str, decoder=int), **options)


def _optional_number() -> Any:
    """A number that is written only when it is known."""
    return field(
        default=None, metadata={"pattern": NUMBER} | config(encoder=str, decoder=int, exclude=_is_none)
    )


def _flag(*, always: bool = False) -> Any:
    """``0`` or ``1``; without `always` it is written only when it is ``1``."""
    options: dict[str, Any] = {} if always else {"default": False}
    exclude = None if always else _is_empty
    settings = config(encoder=_write_flag, decoder=_read_flag, exclude=exclude)
    return field(metadata={"pattern": FLAG} | settings, **options)


def _optional_text() -> Any:
    """Text that may be empty, and is written only when there is one."""
    return field(default=None, metadata=config(exclude=_is_none))


def _text_if_any() -> Any:
    """Text that is written only when it is not empty."""
    return field(default="", metadata=config(exclude=_is_empty))


@dataclass(slots=True, frozen=True, kw_only=True)
class CommandEvent(DataClassJsonMixin):
    """One change of a command's state. ``age_ms`` and ``rtt_ms`` are in ms, ``at`` is RFC 3339 in UTC.

    ``peer``, ``auth`` and ``session_age_ms`` tell of the session, in ``sent`` and with an answer.
    """

    v: int = _number(default=SCHEMA_VERSION)
    kind: str = "command"
    command_id: str
    seq: int = _number()
    state: str
    prev: str = ""
    trigger: str
    terminal: bool = _flag(always=True)
    outcome: str = ""
    reason: str = ""
    detail: str = ""
    delivery: str = ""
    imei: str = ""
    codec: str = ""
    instance_id: str = ""
    session_id: str = ""
    outbound_id: str = ""
    recovered: bool = _flag()
    rtt_ms: int | None = _optional_number()
    response: str | None = _optional_text()
    response_hex: str | None = _optional_text()
    truncated: bool = _flag()
    attribution: str = _text_if_any()
    peer: str = _text_if_any()
    auth: str = _text_if_any()
    session_age_ms: int | None = _optional_number()
    verb: str = _text_if_any()
    requested_by: str = _text_if_any()
    confirmed_by: str = _text_if_any()
    correlation_id: str = _text_if_any()
    traceparent: str = _text_if_any()
    retry_of: str = _text_if_any()
    at: str = _text_if_any()
    age_ms: int | None = _optional_number()


@dataclass(slots=True, frozen=True, kw_only=True)
class Note(DataClassJsonMixin):
    """A remark that changes no state; ``note`` is its name, ``note_id`` identifies repeated ones."""

    v: int = _number(default=SCHEMA_VERSION)
    kind: str = "note"
    note: str
    note_id: str
    command_id: str = ""
    state: str = ""
    detail: str = ""
    imei: str = ""
    codec: str = ""
    instance_id: str = ""
    session_id: str = ""
    outbound_id: str = ""
    rtt_ms: int | None = _optional_number()
    response: str | None = _optional_text()
    response_hex: str | None = _optional_text()
    truncated: bool = _flag()
    attribution: str = _text_if_any()
    peer: str = _text_if_any()
    auth: str = _text_if_any()
    requested_by: str = _text_if_any()
    confirmed_by: str = _text_if_any()
    correlation_id: str = _text_if_any()
    traceparent: str = _text_if_any()
    retry_of: str = _text_if_any()
    at: str = _text_if_any()


@dataclass(slots=True, frozen=True, kw_only=True)
class SessionEvent(DataClassJsonMixin):
    """One change of a session's state.

    ``peer`` is the device's ``host:port``; ``auth`` is ``plain``, ``tls``, or ``cert:`` and the SHA-256 of
    its certificate.
    """

    v: int = _number(default=SCHEMA_VERSION)
    kind: str = "session"
    session_id: str
    seq: int = _number()
    state: str
    prev: str = ""
    trigger: str
    reason: str = ""
    imei: str = ""
    peer: str = ""
    instance_id: str = ""
    terminal: bool = _flag(always=True)
    auth: str = _text_if_any()
    at: str = _text_if_any()


@dataclass(slots=True, frozen=True, kw_only=True)
class DeviceMessage(DataClassJsonMixin):
    """One message of a device that is neither a record nor an answer.

    ``received_at`` and ``at`` (the device's time) are epoch ms. ``hex`` holds what is no ``text``.
    """

    imei: str
    codec: str
    instance_id: str = ""
    session_id: str = ""
    received_at: int = _number()
    at: int | None = _optional_number()
    type: str
    text: str | None = _optional_text()
    hex: str | None = _optional_text()


@dataclass(slots=True, frozen=True, kw_only=True)
class TelemetryRecord:
    """One AVL record of a device, or with ``--payload raw`` the bytes of one frame of records.

    ``received_at`` is epoch ms. ``data`` is None for raw bytes, and ``frame`` is None otherwise.
    """

    imei: str
    codec: str
    instance_id: str = ""
    session_id: str = ""
    received_at: int
    data: RecordData | None = None
    frame: bytes | None = None

    @property
    def key(self) -> str:
        """The same for two entries of one record: a record may be stored twice."""
        body = self.frame if self.data is None else msgspec.json.encode(self.data)
        return f"{self.imei}:{sha256(body or b'').hexdigest()[:32]}"


Message = CommandEvent | Note | SessionEvent
"""An entry of the log."""

KINDS: dict[str, type[Message]] = {"command": CommandEvent, "note": Note, "session": SessionEvent}

M = TypeVar("M")

_PATTERNS: dict[type, list[tuple[str, re.Pattern[str]]]] = {
    cls: [(one.name, one.metadata["pattern"]) for one in fields(cls) if "pattern" in one.metadata]
    for cls in (*KINDS.values(), DeviceMessage)
}


def read_message(entry: RawEntry) -> Message | None:
    """Return the message that an entry of the log holds; None for a kind that this version does not know.

    Raises:
        ValueError: a field is missing, is no UTF-8 or has a wrong form. The error never shows its value.
    """
    texts = _decode(entry)
    cls = KINDS.get(texts.get("kind", ""))
    return None if cls is None else _read(cls, texts)


def read_device_message(entry: RawEntry) -> DeviceMessage:
    """Return the message that an entry of ``telemetry:messages`` holds.

    Raises:
        ValueError: as `read_message` does.
    """
    return _read(DeviceMessage, _decode(entry))


def read_telemetry(entry: RawEntry) -> TelemetryRecord:
    """Return the record that an entry of ``telemetry:records`` holds.

    Raises:
        ValueError: as `read_message` does.
    """
    frame = next((value for name, value in entry.items() if _text(name) == "frame"), None)
    others: Any = {name: value for name, value in entry.items() if _text(name) != "frame"}
    texts = _decode(others)
    body = texts.pop("data", None)
    if (frame is None) is (body is None):
        raise ValueError("data: is missing")
    values: dict[str, Any] = {"data": None if body is None else read_record(body)}
    if frame is not None:
        values["frame"] = frame.encode(errors="surrogateescape") if isinstance(frame, str) else frame
    if not NUMBER.fullmatch(texts.get("received_at", "")):
        raise ValueError("received_at: is not a number")
    return msgspec.convert(texts | values, TelemetryRecord, strict=False)


def _decode(entry: RawEntry) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in entry.items()}


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _read(cls: type[M], texts: dict[str, str]) -> M:
    for name, pattern in _PATTERNS[cls]:
        if name in texts and not pattern.fullmatch(texts[name]):
            raise ValueError(f"{name}: is not {'0 or 1' if pattern is FLAG else 'a number'}")
    return msgspec.convert(texts, cls, strict=False)
