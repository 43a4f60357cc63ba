"""Outbound entries as fields, for the stream of another instance and for the dead-letter stream."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from fsm.command import CommandRequest

Pairs = tuple[tuple[str, str], ...]

FIELDS_KEPT = 1000


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

    Of an entry with more than `FIELDS_KEPT` fields the rest is dropped: a script cannot write them all.
    """
    pairs = []
    for name, value in islice(fields.items(), FIELDS_KEPT):
        label = name.decode(errors="replace")
        try:
            pairs.append((label, value.decode()))
        except UnicodeDecodeError:
            pairs.append((f"{label}_hex", value.hex()))
    return tuple(pairs)
