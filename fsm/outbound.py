"""Validates outbound entries; no other module does.

Every value is text. ``undefined``, ``null`` and the empty string mean absent, because template engines write
these for a missing value. A known field with a wrong value is an error; it never becomes a default silently.

Whoever may append to the stream may write any field, so no field says anything about what a gateway did. When
a command was accepted, and how often it was handed over, is in its ledger, which only gateways write.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from fsm.command import CommandRequest, Entry
from fsm.errors import InvalidCommand
from fsm.quick_values import maker
from fsm.serial import CODEC_12, CODEC_14
from fsm.verbs import verb_of

COMMAND_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
IMEI = re.compile(r"[0-9]{15}")
PRINTABLE = re.compile(r"[ -~]+")
# Hours and minutes are bounded: `fromisoformat` accepts an offset of 05:99, and in some releases 24:00.
_HOUR_MINUTE = r"([01]\d|2[0-3]):[0-5]\d"
RFC_3339 = re.compile(
    rf"\d{{4}}-\d\d-\d\d[Tt ]{_HOUR_MINUTE}:\d\d(\.\d{{1,9}})?([Zz]|[+-]{_HOUR_MINUTE})", re.ASCII
)
DECIMAL = re.compile(r"\d{1,4}(\.\d{1,6})?", re.ASCII)
SUPERSEDED = "superseded"
ABSENT = frozenset({"", "undefined", "null"})
TRUE, FALSE = ("1", "true"), ("0", "false")
FLAGS = (*TRUE, *FALSE)
CODECS = (CODEC_12, CODEC_14)
WAIT, FAIL = "wait", "fail"
ECHOED = ("requested_by", "confirmed_by", "correlation_id", "traceparent", "retry_of")
_ECHOED_BYTES = tuple((name, name.encode()) for name in ECHOED)
ECHO_LIMIT = 256
FIELD_LIMIT = 65_536
_HOUR_MS = 3600 * 1000
MAX_AHEAD_MS = 24 * _HOUR_MS
MAX_AHEAD_WAITING_MS = 30 * 24 * _HOUR_MS
"""How far ahead a command may expire, and one that waits for its device wherever that is."""
EPOCH_MS_FLOOR = 10**12


@dataclass(slots=True, frozen=True)
class Limits:
    """Defaults and limits that the operator sets, in seconds and bytes."""

    command_ttl: float = 300.0
    response_timeout: float = 30.0
    max_payload: int = 512


@dataclass(slots=True, frozen=True)
class CancelRequest:
    """A request of a producer to cancel a command."""

    command_id: str
    instance_id: str
    outbound_id: str
    echo: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True, frozen=True)
class SupersededHint:
    """Another instance says that it has taken over the device of a session."""

    imei: str
    session_id: str
    entry: Entry


_request = maker(CommandRequest)


class _Fields:
    """The fields of one entry, decoded; absent values are None."""

    def __init__(self, raw: Mapping[bytes, bytes]) -> None:
        self._raw = raw
        self.command_id: str | None = None
        command_id = self._text(b"command_id")
        if command_id is not None and command_id not in ABSENT and COMMAND_ID.fullmatch(command_id):
            self.command_id = command_id

    def _text(self, name: bytes) -> str | None:
        value = self._raw.get(name)
        if value is None or len(value) > FIELD_LIMIT:
            return None
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None

    def fault(self, field: str, problem: str) -> InvalidCommand:
        return InvalidCommand(field, problem, self.command_id)

    def get(self, field: str) -> str | None:
        """The text of the field, or None if it is absent."""
        value = self._raw.get(field.encode())
        if value is None:
            return None
        if len(value) > FIELD_LIMIT:
            raise self.fault(field, "is longer than 64 KiB")
        try:
            text = value.decode()
        except UnicodeDecodeError:
            raise self.fault(field, "is not UTF-8") from None
        return None if text in ABSENT else text

    def need(self, field: str) -> str:
        value = self.get(field)
        if value is None:
            raise self.fault(field, "is missing")
        return value

    def choice(self, field: str, allowed: tuple[str, ...], default: str) -> str:
        value = self.get(field)
        if value is None:
            return default
        if value not in allowed:
            raise self.fault(field, f"is not one of {', '.join(allowed)}")
        return value


def parse_entry(
    raw: Mapping[bytes, bytes],
    *,
    instance_id: str,
    outbound_id: str,
    now_ms: int,
    limits: Limits,
) -> CommandRequest | CancelRequest | SupersededHint:
    """Read one outbound entry.

    Args:
        raw: the fields of the entry as Redis returned them.
        instance_id: the instance whose stream holds the entry.
        outbound_id: the id of the entry; its milliseconds are the time of the entry.
        now_ms: epoch ms of Redis.

    Raises:
        InvalidCommand: a field is wrong; ``command_id`` is None if no id could be read.
    """
    fields = _Fields(raw)
    if fields.get("type") == SUPERSEDED:
        return SupersededHint(fields.need("imei"), fields.need("session_id"), Entry(instance_id, outbound_id))
    command_id = fields.need("command_id")
    if fields.command_id is None:
        raise fields.fault("command_id", "is not 1 to 64 of A-Z a-z 0-9 . _ : -")
    kind = fields.choice("type", ("command", "cancel"), "command")
    if kind == "cancel":
        return CancelRequest(command_id, instance_id, outbound_id, echo_of(raw))
    return _command(fields, raw, command_id, instance_id, outbound_id, now_ms, limits)


def verb_allowed(payload: bytes, verbs: Collection[str]) -> bool:
    """Whether the first word of `payload` is one of `verbs`; without verbs every command is allowed.

    Leading blanks, which stand for an empty login and password, are skipped. A word ends at the next blank,
    and upper and lower case differ. A command that begins with a login is not allowed, because the login
    would be taken as its verb.
    """
    if not verbs:
        return True
    word, _, _ = payload.decode("ascii").lstrip(" ").partition(" ")
    return word in verbs


def _command(
    fields: _Fields,
    raw: Mapping[bytes, bytes],
    command_id: str,
    instance_id: str,
    outbound_id: str,
    now_ms: int,
    limits: Limits,
) -> CommandRequest:
    imei = fields.need("imei")
    if not IMEI.fullmatch(imei):
        raise fields.fault("imei", "is not 15 digits")
    payload = _payload(fields, raw, limits.max_payload)
    entry_ms = _entry_time(outbound_id, now_ms)
    waits = fields.choice("offline", (FAIL, WAIT), FAIL) == WAIT
    echo = echo_of(raw)
    codec = fields.choice("codec", CODECS, "")
    expires_at = _expiry(fields, entry_ms, limits.command_ttl, waits)
    response_timeout = _seconds(fields, "response_timeout", limits.response_timeout)
    expect_response = fields.choice("expect_response", FLAGS, "1") in TRUE
    confirmed = fields.choice("confirm", FLAGS, "0") in TRUE
    confirmed_by = _confirmed_by(fields)
    return _request(  # by position, as `maker` wants it
        command_id,
        imei,
        payload,
        codec,
        expires_at,
        now_ms,
        response_timeout,
        expect_response,
        instance_id,
        outbound_id,
        0,
        waits,
        "",
        echo,
        confirmed,
        bool(confirmed_by) and _are_two(dict(echo).get("requested_by", ""), confirmed_by),
        verb_of(payload),
    )


def _entry_time(outbound_id: str, now_ms: int) -> int:
    """Epoch ms of an entry. A producer may choose its id: one of the far future is no time."""
    entry_ms = int(outbound_id.partition("-")[0])
    return entry_ms if entry_ms <= now_ms + MAX_AHEAD_MS else now_ms


def _payload(fields: _Fields, raw: Mapping[bytes, bytes], limit: int) -> bytes:
    text = fields.need("payload")
    if not PRINTABLE.fullmatch(text):
        raise fields.fault("payload", "holds a character that is not printable ASCII")
    if len(text) > limit:
        raise fields.fault("payload", f"is longer than {limit} bytes")
    return raw[b"payload"]


def _expiry(fields: _Fields, entry_ms: int, ttl: float, waits: bool) -> int:
    text = fields.get("expires_at")
    if text is None:
        return entry_ms + round(ttl * 1000)
    if text.isascii() and text.isdigit():
        expires = int(text) if len(text) <= 16 else 0
        if expires < EPOCH_MS_FLOOR:
            raise fields.fault("expires_at", "is a number but not an epoch time in milliseconds")
    else:
        expires = _rfc_3339(fields, text)
    if expires > entry_ms + (MAX_AHEAD_WAITING_MS if waits else MAX_AHEAD_MS):
        raise fields.fault("expires_at", f"is more than {'30 days' if waits else '24 h'} ahead")
    return expires


def _rfc_3339(fields: _Fields, text: str) -> int:
    try:
        if not RFC_3339.fullmatch(text):
            raise ValueError
        moment = datetime.fromisoformat(text.upper().replace("Z", "+00:00"))
        since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        raise fields.fault("expires_at", "is neither RFC 3339 nor epoch milliseconds") from None
    return (since.days * 86400 + since.seconds) * 1000 + since.microseconds // 1000


def _seconds(fields: _Fields, field: str, default: float) -> float:
    text = fields.get(field)
    if text is None:
        return default
    if not DECIMAL.fullmatch(text) or not 0.1 <= float(text) <= 3600:
        raise fields.fault(field, "is not a number of seconds from 0.1 to 3600")
    return float(text)


def _confirmed_by(fields: _Fields) -> str:
    """Who has confirmed the command; empty for nobody. A name that would be cut could hide who it is."""
    name = fields.get("confirmed_by") or ""
    if not name.isprintable() or len(name.encode()) > ECHO_LIMIT:
        raise fields.fault("confirmed_by", f"is not a name of at most {ECHO_LIMIT} printable bytes")
    return name


def _are_two(*names: str) -> bool:
    """Whether these are two names. Case, blanks around a name and its form in Unicode do not count."""
    bare = {unicodedata.normalize("NFKC", name).strip().casefold() for name in names}
    return len(bare) == 2 and "" not in bare


def echo_of(raw: Mapping[bytes, bytes]) -> tuple[tuple[str, str], ...]:
    """The fields of an entry that are repeated in every event, cut."""
    pairs = []
    for name, key in _ECHOED_BYTES:
        if value := raw.get(key):
            text = value[:ECHO_LIMIT].decode(errors="ignore")
            if text not in ABSENT:
                pairs.append((name, text))
    return tuple(pairs)
