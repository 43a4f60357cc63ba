"""``--redis-file``: the URL of Redis is read from a file, so that no process list shows its password."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import click
from click.core import ParameterSource

from store.client.url import SCHEMES

from .parameters import RedisUrl

LONGEST = 4096
"""Bytes of a URL in a file at most."""

_RANK = (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP, ParameterSource.ENVIRONMENT)
"""Sources of values: a later one replaces an earlier one. The command line, not listed, replaces all."""


def choose(ctx: click.Context, redis: str, redis_file: Path | None) -> str:
    """The URL to use, from `--redis` or `--redis-file`: the one whose source has precedence.

    Raises:
        click.UsageError: both come from the same source, or the file holds no URL.
    """
    if redis_file is None:
        return redis
    of_url, of_file = _rank(ctx, "redis"), _rank(ctx, "redis_file")
    if of_url == of_file:
        raise click.UsageError("--redis and --redis-file contradict each other: give one of them.")
    return redis if of_url > of_file else read(redis_file)


def _rank(ctx: click.Context, name: str) -> int:
    source = ctx.get_parameter_source(name)
    return _RANK.index(source) if source in _RANK else len(_RANK)


def read(path: Path) -> str:
    """The URL in the only line of a file. No error repeats a part of the file.

    Raises:
        click.UsageError: the file cannot be read, or is not one line with the URL of a Redis.
    """
    if str(path).partition(":/")[0].lower() in SCHEMES:
        raise click.UsageError(
            "--redis-file has to name a file that holds the URL; a URL belongs to --redis."
        )
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST + 1).decode()
    except OSError as error:
        raise click.UsageError(f"--redis-file {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise click.UsageError(f"--redis-file {path}: The file is not text.") from None
    line = text.removesuffix("\n").removesuffix("\r")
    if not line or len(text) > LONGEST or not line.isprintable():
        raise click.UsageError(f"--redis-file {path}: The file has to be one line, the URL of Redis.")
    try:
        return RedisUrl().convert(line, None, None)
    except click.BadParameter as error:
        raise click.UsageError(f"--redis-file {path}: {error.message}") from None


def exposed(path: Path) -> bool:
    """Whether other users may read or write the file. A file that systemd hands over counts as protected.

    A file of another owner may be readable for a group, because only so this process can read it: a Secret of
    Kubernetes is root's.
    """
    handed_over = os.environ.get("CREDENTIALS_DIRECTORY")
    if handed_over and path.is_relative_to(handed_over):
        return False
    found = path.stat()
    others = 0o077 if found.st_uid == os.geteuid() else 0o037
    return stat.S_ISREG(found.st_mode) and bool(found.st_mode & others)
