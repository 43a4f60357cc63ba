"""Outbound entries as fields, for the stream of another instance and for the dead-letter stream.

A dead letter is kept after its entry and people read it, so it must not hold the text of a command. Only
values of fields that are known to hold no text are kept: a field with a misspelled name may be the
``payload``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice

from fsm.command import CommandRequest
from fsm.outbound import ECHOED, WAIT

Pairs = tuple[tuple[str, str], ...]

FIELDS_KEPT = 100
VALUE_KEPT = 256
"""Fields, and bytes of a value, that a dead letter keeps: enough to find the producer of the entry."""

NAMED = frozenset(
    (
        *("command_id", "imei", "codec", "type", "expires_at", "response_timeout", "expect_response"),
        *("confirm", "offline", *ECHOED),
    )
)
"""Fields of an entry that a dead letter keeps with their values."""
_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9_]{0,63}")


def entry_fields(request: CommandRequest) -> Pairs:
    """The entry for the stream of another instance: the same command, with explicit limits of time."""
    return (
        ("command_id", request.command_id),
        ("imei", request.imei),
        ("payload", request.payload.decode("ascii")),
        *((("codec", request.codec),) if request.codec else ()),
        ("expires_at", str(request.expires_at)),
        ("response_timeout", f"{request.response_timeout:.6f}".rstrip("0").rstrip(".")),
        ("expect_response", "1" if request.expect_response else "0"),
        *((("confirm", "1"),) if request.confirmed else ()),
        *((("offline", WAIT),) if request.waits else ()),
        *request.echo,
    )


def letter_of(request: CommandRequest) -> Pairs:
    """The dead letter of a valid command."""
    return letter_fields({name.encode(): value.encode() for name, value in entry_fields(request)})


def letter_fields(fields: Mapping[bytes, bytes]) -> Pairs:
    """The dead letter of an invalid entry.

    The fields of the contract are kept, except ``payload``, and cut at `VALUE_KEPT` bytes. A value that is
    not UTF-8 is in hex, under its name with ``_hex``. Of any other field only the length in bytes is kept,
    under its name with ``_length``, if that name is an identifier. ``cut`` says that something was left out.
    """
    pairs: list[tuple[str, str]] = []
    whole = len(fields) <= FIELDS_KEPT
    for name, value in islice(fields.items(), FIELDS_KEPT):
        if not _NAME.fullmatch(name):
            whole = False
        elif (label := name.decode()) in NAMED:
            whole = whole and len(value) <= VALUE_KEPT
            pairs.append(_readable(label, value[:VALUE_KEPT]))
        else:
            pairs.append((f"{label}_length", str(len(value))))
    return (*pairs, *(() if whole else (("cut", "1"),)))


def _readable(label: str, value: bytes) -> tuple[str, str]:
    try:
        return label, value.decode()
    except UnicodeDecodeError:
        return f"{label}_hex", value.hex()
