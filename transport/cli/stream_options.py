"""The options of verbs that reach gateways through Redis."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

import click

from . import stderr
from .config_file import with_config
from .options import EXPOSED, with_redis


class Where(NamedTuple):
    """Where the streams are, from the options. ``state_dir`` is the directory of the embedded server."""

    redis: str
    key_prefix: str
    state_dir: Path | None


def with_streams(verb: Callable[..., int]) -> Callable[..., int]:
    """Add the options that say where the streams are; the verb gets them as ``where``."""

    @wraps(verb)
    def called(redis: str, key_prefix: str, state_dir: Path | None, **rest: Any) -> int:
        if path := click.get_current_context().meta.get(EXPOSED):
            stderr.remark(f"Other users may read {path}, which holds the URL of Redis: chmod 600 {path}")
        return verb(where=Where(redis, key_prefix, state_dir), **rest)

    return with_config(with_redis(called))
