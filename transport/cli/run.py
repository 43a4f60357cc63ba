"""``telgw run``: run a gateway until SIGTERM."""

from __future__ import annotations

from typing import Any

import click

from transport.settings import Settings

from .config_file import with_config
from .options import Setting
from .run_options import with_settings
from .run_settings import settings_of
from .serving import start
from .worker import PROGRAM

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

    With --workers N, N processes serve the same addresses, and this process starts again what dies.

    Exit status: 0 after a shutdown; 1 an internal error ended it; 2 it cannot start, for example because a
    live gateway has its instance id; 3 another gateway has taken its instance id, or had it while Redis could
    not be reached; 130 after a second signal.
    """
    from transport.daemon import serve

    settings = settings_of(values)
    return start(settings, _supervise if settings.workers > 1 else serve)


async def _supervise(settings: Settings) -> int:
    from transport.daemon.supervisor import supervise

    return await supervise(settings, PROGRAM)
