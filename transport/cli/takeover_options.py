"""The settings of ``telgw run`` about devices that connect again while they are connected."""

from __future__ import annotations

from typing import get_args

import click

from fsm.takeover import TakeoverPolicy

from .options import setting
from .parameters import Duration

TAKEOVER = (
    setting(
        "Security",
        "--takeover-policy",
        click.Choice(get_args(TakeoverPolicy)),
        "If a device connects again from another address or with another authentication, `hold`: its "
        "commands wait; `alive`: it is refused if the older connection answers; `newest`: nothing.",
    ),
    setting(
        "Security",
        "--takeover-hold",
        Duration(1.0, 3600),
        "How long commands wait then, unless the older connection is found dead.",
    ),
)
"""Decorators in the order of the help."""
