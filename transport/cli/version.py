"""``telgw version``."""

from __future__ import annotations

import platform
from importlib.metadata import version

import click

SHOWN = ("transitions", "redis", "uvloop", "msgspec")


@click.command(short_help="Print the version.")
def command() -> None:
    """Print the versions of the gateway, of Python, and of important packages."""
    click.echo(f"telgw {version('teltonika-gateway')}")
    click.echo(
        f"python {platform.python_version()} ({platform.python_implementation()}, {platform.system()})"
    )
    for package in SHOWN:
        click.echo(f"{package} {_version(package)}")


def _version(package: str) -> str:
    try:
        return version(package)
    except ModuleNotFoundError:
        return "not installed"
