"""``telgw run``: run a gateway until SIGTERM."""

from __future__ import annotations

import sys
from contextlib import ExitStack, suppress
from typing import Any

import click
import structlog

from fsm.errors import GatewayError
from transport.connection.tcp import raise_descriptor_limit
from transport.settings import Settings

from .config_file import with_config
from .ending import complete
from .options import EXPOSED, Setting
from .run_options import with_settings
from .run_settings import settings_of

CRASHED = 1
OTHERS = "Options"
"""Heading of the options that are not settings."""


class Sectioned(click.Command):
    """A command whose help lists its settings under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if record is not None:
                heading = option.section if isinstance(option, Setting) else OTHERS
                sections.setdefault(heading, []).append(record)
        for heading in sorted(sections, key=OTHERS.__eq__):  # `OTHERS` last; the sort is stable
            with formatter.section(heading):
                formatter.write_dl(sections[heading])


@click.command(
    cls=Sectioned,
    short_help="Run a gateway.",
    epilog="Order: command line, environment, --config, default. Seconds may have units: 500ms, 5m, 7d.",
)
@with_settings
@with_config
def command(**values: Any) -> int:
    """Run a gateway until SIGTERM. SIGHUP reads certificates and the allow-list again.

    Exit status: 0 after a shutdown; 1 an internal error ended it; 2 it cannot start, for example because a
    live gateway has its instance id; 3 another gateway has taken its instance id, or had it while Redis could
    not be reached; 130 after a second signal.
    """
    return start(settings_of(values))


def start(settings: Settings) -> int:
    """Run a gateway on the fastest event loop that is installed; its exit status."""
    from transport.daemon import ending_at_once, serve
    from transport.logs import logging_to_stderr

    raise_descriptor_limit()  # before the event loop opens its own files
    if sys.stderr is None:
        with suppress(OSError):
            click.echo("telgw: There is no log, because standard error is closed.")
    with ExitStack() as last, logging_to_stderr(settings.log_level, settings.log_format):
        ctx = click.get_current_context(silent=True)
        if ctx is not None and (exposed := ctx.meta.get(EXPOSED)):
            structlog.get_logger("telgw").warning("secret_exposed", file=exposed, mend=f"chmod 600 {exposed}")
        try:
            return complete(serve(settings), fast=True)
        except (GatewayError, OSError):
            raise
        except Exception:
            structlog.get_logger("telgw").critical("crashed", exc_info=True)
            return CRASHED
        finally:
            last.enter_context(ending_at_once())
