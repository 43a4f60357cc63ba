"""Settings: options that are also keys of the configuration file. The options of Redis, which verbs share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click
from click.core import ParameterSource

from fsm.outbound import Limits
from transport.settings import Settings

from . import redis_file
from .parameters import KeyPrefix, RedisUrl, show

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_DEFAULTS: dict[str, Any] = {
    field.name: field.default_factory() if field.default_factory is not MISSING else field.default
    for field in (*fields(Settings), *fields(Limits))
}
_DEFAULTS["redis_file"] = None  # not a field of `Settings`: its content becomes `redis`


class Setting(click.Option):
    """An option that can also be set by ``TELGW_...`` and by a key of the configuration file.

    ``section`` is its heading in the help and in the file.
    """

    def __init__(self, *args: Any, section: str, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.section = section
        self.envvar = f"TELGW_{(self.name or '').upper()}"

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """What an error names: the variable if the value came from it, else the option."""
        if ctx is not None and ctx.get_parameter_source(self.name or "") is ParameterSource.ENVIRONMENT:
            return f"{self.envvar}"
        return click.Parameter.get_error_hint(self, ctx)

    @property
    def key(self) -> str:
        """Its name in the configuration file."""
        return (self.name or "").replace("_", "-")


def setting(section: str, flag: str, kind: Any, text: str, **more: Any) -> Callable[[Decorated], Decorated]:
    """Decorate a verb with a setting; the default comes from `Settings` or `Limits`."""
    default = _DEFAULTS[flag.removeprefix("--").replace("-", "_")]
    if default is not MISSING:
        default = show(default)
        more = {"default": default, "show_default": True} | more
    return click.option(flag, cls=Setting, section=section, type=kind, help=text, show_envvar=True, **more)


def with_redis(function: Decorated) -> Decorated:
    """Add ``--redis``, ``--redis-file``, ``--key-prefix`` and ``--state-dir``: where the streams are.

    The verb gets the URL as ``redis``, and may find `EXPOSED` in the meta of its context.
    """
    function = setting(
        "Redis",
        "--state-dir",
        click.Path(file_okay=False, path_type=Path),
        "Directory for the data and the socket of the embedded server.",
        default=None,
        show_default="the user's state directory",
    )(function)
    function = setting(
        "Redis",
        "--key-prefix",
        KeyPrefix(),
        "Prefix of every key in Redis, for example `{fleet}:`; a cluster needs the braces.",
    )(_with_url(function))
    function = setting(
        "Redis",
        "--redis-file",
        click.Path(dir_okay=False, path_type=Path),
        "File whose only line is that URL: no process list shows its password. Mode 0600.",
        default=None,
        show_default="none",
    )(function)
    return setting(
        "Redis",
        "--redis",
        RedisUrl(),
        "URL: redis://, unix://, redis+sentinel:// or redis+cluster://, with rediss for TLS; `embedded` for "
        "the server that `telgw run` starts itself.",
        show_default="embedded",  # never the value of the environment or a file, which may hold a password
    )(function)


def _with_url(function: Decorated) -> Decorated:
    """`function`, called with the URL that `redis_file.choose` selects."""

    @wraps(function)
    def called(redis: str, **rest: Any) -> Any:
        path, ctx = rest.pop("redis_file"), click.get_current_context()
        url = redis_file.choose(ctx, redis, path)
        if path is not None and url != redis and redis_file.exposed(path):
            ctx.meta[EXPOSED] = str(path)
        return function(redis=url, **rest)

    return cast(Decorated, called)


EXPOSED = "telgw.exposed"
"""Key in the meta of a context: the file with the URL of Redis, if other users may read it."""
