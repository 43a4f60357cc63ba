"""What docs/contract.md says of an outbound entry, to check the gateway's own validation.

An entry is written as text, so that a corpus can be read: ``name=value`` a line, with ``\\x0a`` for a byte
that would not stand there. A line ``--`` parts the entries of a log.
"""

from __future__ import annotations

import re
from calendar import monthrange, timegm
from typing import Any
from unicodedata import category

ENTRY_MS = 1_900_000_000_000
NOW_MS = ENTRY_MS + 5
"""The time of the entry, and that of the clock when it is read."""
DAY_MS = 24 * 3600 * 1000
TTL_MS, ANSWER_S, MAX_PAYLOAD = 300_000, 30.0, 512

KNOWN = (
    "command_id",
    "type",
    "imei",
    "payload",
    "codec",
    "expires_at",
    "response_timeout",
    "expect_response",
    "confirm",
    "offline",
)
ECHOED = ("requested_by", "confirmed_by", "correlation_id", "traceparent", "retry_of")
ABSENT = (b"", b"undefined", b"null")
TOO_LONG = 65_536

PROBLEMS = frozenset(
    {
        "is missing",
        "is not UTF-8",
        "is longer than 64 KiB",
        "is not 1 to 64 of A-Z a-z 0-9 . _ : -",
        "is not 15 digits",
        "holds a character that is not printable ASCII",
        "is longer than 512 bytes",
        "is not one of command, cancel",
        "is not one of 12, 14",
        "is not one of 1, true, 0, false",
        "is neither RFC 3339 nor epoch milliseconds",
        "is a number but not an epoch time in milliseconds",
        "is more than 24 h ahead",
        "is more than 30 days ahead",
        "is not one of fail, wait",
        "is not a name of at most 256 printable bytes",
        "is not a number of seconds from 0.1 to 3600",
        "is not a whole number",
    }
)
"""All that a refusal may say besides the name of a field: nothing of a value, which may be a password."""

Fields = dict[bytes, bytes]


def read_fields(text: bytes) -> Fields:
    """The entry that `text` spells; whatever it is."""
    fields = {}
    for line in text.split(b"\n"):
        name, equals, value = line.partition(b"=")
        if equals:
            fields[_unescaped(name)] = _unescaped(value)
    return fields


def spell_fields(fields: Fields) -> bytes:
    """`fields` as text."""
    return b"".join(_escaped(name) + b"=" + _escaped(value) + b"\n" for name, value in fields.items())


def read_log(text: bytes) -> list[Fields]:
    """The entries that `text` spells."""
    return [fields for part in re.split(rb"(?m)^--\n", text) if (fields := read_fields(part))]


def spell_log(entries: list[Fields]) -> bytes:
    """`entries` as text."""
    return b"--\n".join(map(spell_fields, entries))


def _unescaped(text: bytes) -> bytes:
    return re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes.fromhex(match[1].decode()), text)


def _escaped(text: bytes) -> bytes:
    return re.sub(rb"[^ -<>-\[\]-~]", lambda match: b"\\x%02x" % match[0][0], text)


def validate(fields: Fields) -> set[str] | dict[str, Any]:
    """The fields at fault; or, when there is none, what is asked."""
    if (kind := _given(fields, "type")) == b"cancel" and not _wrong_id(fields):
        return {"type": "cancel", "command_id": fields[b"command_id"].decode(), "echo": echo(fields)}
    faults = {"command_id"} if _wrong_id(fields) else set()
    if kind not in (None, b"command", b"cancel"):
        faults.add("type")
    values: dict[str, Any] = {}
    for name, read in _READERS.items():
        value = _given(fields, name)
        try:
            values[name] = read(value)
        except ValueError:
            faults.add(name)
    most = ENTRY_MS + DAY_MS * (30 if _given(fields, "offline") == b"wait" else 1)
    if values.get("expires_at", 0) > most and not faults & {"offline"}:
        faults.add("expires_at")
    if faults:
        return faults
    return values | {"command_id": fields[b"command_id"].decode(), "echo": echo(fields)}


def echo(fields: Fields) -> tuple[tuple[str, str], ...]:
    """What is repeated in every event."""
    found = [(name, fields.get(name.encode(), b"")[:256].decode(errors="ignore")) for name in ECHOED]
    return tuple((name, text) for name, text in found if text not in ("", "undefined", "null"))


def _given(fields: Fields, name: str) -> bytes | None:
    value = fields.get(name.encode())
    return None if value in ABSENT else value


def _wrong_id(fields: Fields) -> bool:
    return not re.fullmatch(rb"[A-Za-z0-9._:-]{1,64}", _given(fields, "command_id") or b"")


def _check(right: bool) -> None:
    if not right:
        raise ValueError


def _imei(value: bytes | None) -> str:
    _check(value is not None and re.fullmatch(rb"[0-9]{15}", value) is not None)
    return (value or b"").decode()


def _payload(value: bytes | None) -> bytes:
    _check(value is not None and 1 <= len(value) <= MAX_PAYLOAD and all(32 <= byte <= 126 for byte in value))
    return value or b""


def _one_of(*allowed: bytes) -> Any:
    def read(value: bytes | None) -> str:
        _check(value is None or value in allowed)
        return (value or allowed[0]).decode()

    return read


def _timeout(value: bytes | None) -> float:
    if value is None:
        return ANSWER_S
    _check(re.fullmatch(rb"[0-9]{1,4}(\.[0-9]{1,6})?", value) is not None)
    _check(100_000 <= round(float(value) * 1_000_000) <= 3_600_000_000)
    return float(value)


def _expires(value: bytes | None) -> int:
    if value is None:
        return ENTRY_MS + TTL_MS
    if re.fullmatch(rb"[0-9]+", value):
        _check(len(value) <= 16)  # longer than any time, whatever zeros stand in front
        at = int(value)
        _check(at >= 10**12)
    else:
        at = _moment(value)
    return at


_RFC_3339 = re.compile(
    rb"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    rb"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)


def _moment(value: bytes) -> int:
    """Epoch ms. A leap second has none, and no year before 1 is known."""
    match = _RFC_3339.fullmatch(value)
    if match is None:
        raise ValueError
    year, month, day, hour, minute, second = (int(match[place]) for place in range(1, 7))
    _check(year >= 1 and 1 <= month <= 12 and 1 <= day <= monthrange(year, month)[1])
    _check(hour <= 23 and minute <= 59 and second <= 59)
    milliseconds = int((match[7] or b"0").ljust(3, b"0")[:3])
    offset = 0
    if match[8]:
        _check(int(match[9]) <= 23 and int(match[10]) <= 59)
        offset = (int(match[9]) * 60 + int(match[10])) * (-60 if match[8] == b"-" else 60)
    return (timegm((year, month, day, hour, minute, second)) - offset) * 1000 + milliseconds


def _name(value: bytes | None) -> str:
    name = (value or b"").decode()
    _check(len(value or b"") <= 256)
    _check(all(letter == " " or category(letter)[0] not in "CZ" for letter in name))
    return name


_READERS: dict[str, Any] = {
    "imei": _imei,
    "payload": _payload,
    "codec": _one_of(b"", b"12", b"14"),
    "expires_at": _expires,
    "response_timeout": _timeout,
    "expect_response": _one_of(b"1", b"true", b"0", b"false"),
    "confirm": _one_of(b"0", b"false", b"1", b"true"),
    "confirmed_by": _name,
    "offline": _one_of(b"fail", b"wait"),
}
