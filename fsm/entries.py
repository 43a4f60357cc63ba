"""Outbound entries as fields, for the stream of another instance and for the dead-letter stream.

A dead letter outlives its entry and is read by people, so it holds no text of a command. Only the values of
fields that are known to hold no text are kept: a misspelt ``payload`` is a text, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice

from fsm.command import CommandRequest
from fsm.outbound import ECHOED

Pairs = tuple[tuple[str, str], ...]

FIELDS_KEPT = 100
VALUE_KEPT = 256
"""Fields, and bytes of a value, that a dead letter keeps: enough to see who writes what is no command."""

_NAMED = frozenset(
    (
        *("command_id", "imei", "codec", "type", "expires_at", "response_timeout", "expect_response"),
        *("offline", "accepted_at", "hops", *ECHOED),
    )
)
_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9_]{0,63}")


def entry_fields(request: CommandRequest) -> Pairs:
    """The entry from which another instance reads the same command, with its times spelt out."""
    return (
        ("command_id", request.command_id),
        ("imei", request.imei),
        ("payload", request.payload.decode("ascii")),
        *((("codec", request.codec),) if request.codec else ()),
        ("expires_at", str(request.expires_at)),
        ("response_timeout", f"{request.response_timeout:.6f}".rstrip("0").rstrip(".")),
        ("expect_response", "1" if request.expect_response else "0"),
        ("accepted_at", str(request.accepted_at)),
        ("hops", str(request.hops + 1)),
        *request.echo,
    )


def letter_of(request: CommandRequest) -> Pairs:
    """The dead letter of a command that could be read."""
    return letter_fields({name.encode(): value.encode() for name, value in entry_fields(request)})


def letter_fields(fields: Mapping[bytes, bytes]) -> Pairs:
    """What a dead letter tells of an entry as it was read.

    The fields that the contract names are kept, cut at `VALUE_KEPT` bytes, ``payload`` excepted; what is not
    UTF-8 is in hex under the name with ``_hex`` added. Of any other field the length in bytes is told, under
    its name with ``_length`` added, if that is an identifier. What is missing then is told by ``cut``.
    """
    pairs: list[tuple[str, str]] = []
    whole = len(fields) <= FIELDS_KEPT
    for name, value in islice(fields.items(), FIELDS_KEPT):
        if not _NAME.fullmatch(name):
            whole = False
        elif (label := name.decode()) in _NAMED:
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
