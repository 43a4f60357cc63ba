"""``telgw config``: the configuration file, with every key."""

from __future__ import annotations

import json
from itertools import groupby
from textwrap import wrap

import click

from .options import Setting
from .run import command as run

HEAD = """\
# Configuration of telgw: `telgw run --config FILE`, or TELGW_CONFIG=FILE.
# Every key is an option of `telgw run`. Precedence: command line, environment, this file, default.
# Seconds may have a unit: "500ms", "5m", "7d". A line that is commented out shows the default.
"""


@click.command(short_help="Print a configuration file with every option and its default.")
def command() -> None:
    """Print a TOML file with every option of `telgw run`: its meaning, and its default as a comment."""
    click.echo(template(), nl=False)


def template() -> str:
    """The text of the file."""
    settings = sorted(
        (option for option in run.params if isinstance(option, Setting)),
        key=lambda option: _SECTIONS.index(option.section),
    )
    parts = [HEAD]
    for section, options in groupby(settings, key=lambda option: option.section):
        parts.append(f"\n# ---- {section} ----\n")
        parts.extend(_entry(option) for option in options)
    return "".join(parts)


def _entry(option: Setting) -> str:
    lines = [f"# {line}" for line in wrap(f"{option.help} ({option.envvar})", 96)]
    value = option.default if isinstance(option.default, (str, int, float, list)) else ""
    return "\n".join(("", *lines, f"#{option.key} = {json.dumps(value)}", ""))


_SECTIONS = list(dict.fromkeys(option.section for option in run.params if isinstance(option, Setting)))
