"""The settings of ``telgw run`` that limit what one address or one device may do in a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from .options import setting

COUNT = click.IntRange(min=0)

BUDGETS: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...] = (
    setting(
        "Network",
        "--connection-rate",
        COUNT,
        "New connections a second from one address, without those of devices that report; 100 times as many "
        "at once; 0: no limit.",
    ),
    setting(
        "Network",
        "--handshake-rate",
        COUNT,
        "The same for connections with TLS; 250 times as many at once; 0: no limit.",
    ),
    setting(
        "Network",
        "--new-device-rate",
        COUNT,
        "New IMEIs a second from one address; 1,000 times as many at once; 0: no limit.",
    ),
    setting(
        "Network",
        "--refusal-rate",
        COUNT,
        "Refused IMEIs a second from one address; 300 times as many at once; 0: no limit.",
    ),
    setting(
        "Network",
        "--device-rate",
        COUNT,
        "Bytes a second that one device may send, 60 times as many at once; beyond that it is read later. A "
        "record counts 200 bytes more than it has. 0: no limit.",
    ),
)
"""Decorators in the order of the help."""
