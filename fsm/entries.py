"""Outbound entries as fields, for the stream of another instance and for the dead-letter stream."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from fsm.command import CommandRequest

Pairs = tuple[tuple[str, str], ...]

FIELDS_KEPT = 1000
BYTES_KEPT = 16 * 1024
"""How much of an entry that is no command is kept: enough to see who writes it."""


def entry_fields(request: CommandRequest) -> Pairs:
    """The entry from which another instance reads the same command, with its times spelt out."""
    return (
        ("command_id", request.command_id),
        ("imei", request.imei),
        ("payload", request.payload.decode("ascii")),
        ("codec", request.codec),
        ("expires_at", str(request.expires_at)),
        ("response_timeout", f"{request.response_timeout:.6f}".rstrip("0").rstrip(".")),
        ("expect_response", "1" if request.expect_response else "0"),
        ("accepted_at", str(request.accepted_at)),
        ("hops", str(request.hops + 1)),
        *request.echo,
    )


def raw_fields(fields: Mapping[bytes, bytes]) -> Pairs:
    """An entry as it was read: text where it is UTF-8, else hex under the name with ``_hex`` added.

    What is beyond `FIELDS_KEPT` fields or `BYTES_KEPT` bytes is cut, and a field ``cut`` says so.
    """
    pairs: list[tuple[str, str]] = []
    room, whole = BYTES_KEPT, len(fields) <= FIELDS_KEPT
    for name, value in islice(fields.items(), FIELDS_KEPT):
        kept_name, kept_value = name[: max(0, room)], value[: max(0, room - len(name))]
        room -= len(name) + len(value)
        whole = whole and room >= 0
        if kept_name:
            pairs.append(_readable(kept_name.decode(errors="replace"), kept_value))
    return (*pairs, *(() if whole else (("cut", "1"),)))


def _readable(label: str, value: bytes) -> tuple[str, str]:
    try:
        return label, value.decode()
    except UnicodeDecodeError:
        return f"{label}_hex", value.hex()
