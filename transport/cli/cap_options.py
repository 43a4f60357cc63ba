"""The settings that bound the streams of Redis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from .options import Decorated, setting
from .parameters import Size

_COUNT = click.IntRange(min=1)
_AS_SET = "As set for the gateways."

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

TELEMETRY_CAPS: tuple[Decorator, ...] = (
    setting(
        "Telemetry",
        "--telemetry-maxlen",
        _COUNT,
        "Cap of telemetry:records in entries; above it unread entries are trimmed too.",
    ),
    setting(
        "Telemetry",
        "--telemetry-maxbytes",
        Size(),
        "Cap of telemetry:records in bytes, such as 4GiB. `auto`: half of maxmemory, or without that 2 KiB "
        "for each entry of the other cap.",
        default="auto",
    ),
    setting("Telemetry", "--messages-maxlen", _COUNT, "Cap of telemetry:messages in entries, as above."),
    setting(
        "Telemetry",
        "--messages-maxbytes",
        Size(),
        "Cap of telemetry:messages in bytes. `auto`: a tenth of maxmemory, or 512 bytes for each entry.",
        default="auto",
    ),
)
LOG_CAPS: tuple[Decorator, ...] = (
    setting(
        "Commands",
        "--responses-maxlen",
        _COUNT,
        "Cap of commands:responses in entries; above it unread entries are trimmed too.",
    ),
    setting(
        "Commands",
        "--responses-maxbytes",
        Size(),
        "Cap of commands:responses in bytes. `auto`: a fifth of maxmemory, or 1 KiB for each entry.",
        default="auto",
    ),
)


def with_caps(verb: Decorated) -> Decorated:
    """Add the caps of all streams to a verb that only reads them; it gets them by name."""
    decorated: Any = verb
    for stream, section in (("responses", "Commands"), ("messages", "Telemetry"), ("telemetry", "Telemetry")):
        decorated = setting(section, f"--{stream}-maxbytes", Size(), _AS_SET, default="auto")(decorated)
        decorated = setting(section, f"--{stream}-maxlen", _COUNT, _AS_SET)(decorated)
    return decorated  # type: ignore[no-any-return]
