"""Runs a gateway, or the supervisor of several, as the work of this process, with a log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, suppress
from typing import Any

import click

from fsm.errors import GatewayError
from transport.connection.tcp import raise_descriptor_limit
from transport.settings import Settings
from transport.structlog_alone import structlog

from .event_loop import complete
from .options import EXPOSED

CRASHED = 1


def start(settings: Settings, work: Callable[[Settings], Coroutine[Any, Any, int]]) -> int:
    """Run `work` on the fastest event loop that is installed, with a log; its exit status."""
    from transport.daemon import ending_at_once
    from transport.logs import logging_to_stderr

    raise_descriptor_limit()  # before the event loop opens its own files
    if sys.stderr is None:
        with suppress(OSError):
            click.echo("telgw: There is no log, because standard error is closed.")
    with ExitStack() as last, logging_to_stderr(settings.log_level, settings.log_format, settings.worker):
        ctx = click.get_current_context(silent=True)
        if ctx is not None and (exposed := ctx.meta.get(EXPOSED)):
            structlog.get_logger("telgw").warning("secret_exposed", file=exposed, mend=f"chmod 600 {exposed}")
        try:
            return complete(work(settings), fast=True)
        except (GatewayError, OSError):
            raise
        except Exception:
            structlog.get_logger("telgw").critical("crashed", exc_info=True)
            return CRASHED
        finally:
            last.enter_context(ending_at_once())
