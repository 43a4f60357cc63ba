"""The type of the fixtures that run a verb of the command line."""

from __future__ import annotations

from collections.abc import Callable

from click.testing import Result

Telgw = Callable[..., Result]
