"""Options that several verbs share, and the class of options that are also keys of the configuration file."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import click

from fsm.outbound import Limits
from transport.settings import Settings

from . import redis_file
from .parameters import KeyPrefix, Networks, RedisUrl, Verbs, show

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_DEFAULTS: dict[str, Any] = {
    field.name: field.default_factory() if field.default_factory is not MISSING else field.default
    for field in (*fields(Settings), *fields(Limits))
}
_DEFAULTS["redis_file"] = None  # no setting: what it holds becomes `redis`


class Setting(click.Option):
    """An option that can also be set by ``TELGW_...`` and by a key of the configuration file.

    ``section`` is its heading in the help and in the file.
    """

    def __init__(self, *args: Any, section: str, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.section = section
        self.envvar = f"TELGW_{(self.name or '').upper()}"

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


def with_config(function: Decorated) -> Decorated:
    """Add ``--config FILE``; its keys stand below the command line and the environment, above defaults."""
    return click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        envvar="TELGW_CONFIG",
        show_envvar=True,
        is_eager=True,
        expose_value=False,
        callback=_load,
        help="TOML file; its keys are the options of `telgw run`, see `telgw config`.",
    )(function)


def with_redis(function: Decorated) -> Decorated:
    """Add ``--redis``, ``--redis-file``, ``--key-prefix`` and ``--state-dir``: where the streams are.

    The verb gets ``redis``, whichever way it was said, and `EXPOSED` in the meta of its context.
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
        "Prefix of every Redis name, for example `{fleet}:`; a cluster needs the braces.",
    )(_with_url(function))
    function = setting(
        "Redis",
        "--redis-file",
        click.Path(dir_okay=False, path_type=Path),
        "File whose only line is that URL, so that no process list shows its password; mode 0600.",
        default=None,
        show_default="none",
    )(function)
    return setting(
        "Redis",
        "--redis",
        RedisUrl(),
        "URL: redis://, unix://, redis+sentinel:// or redis+cluster://, with rediss for TLS; `embedded` for "
        "the server that `telgw run` starts itself.",
        show_default="embedded",  # and never what the environment or a file says, which may hold a password
    )(function)


def _with_url(function: Decorated) -> Decorated:
    """`function` with the ``redis`` that counts, in place of ``redis`` and ``redis_file``."""

    @wraps(function)
    def called(redis: str, **rest: Any) -> Any:
        path, ctx = rest.pop("redis_file"), click.get_current_context()
        url = redis_file.choose(ctx, redis, path)
        if path is not None and url != redis and redis_file.exposed(path):
            ctx.meta[EXPOSED] = str(path)
        return function(redis=url, **rest)

    return cast(Decorated, called)


EXPOSED = "telgw.exposed"
"""In the meta of a context: the file with the URL of Redis, if others may read it."""


class Where(NamedTuple):
    """Where the streams are, as the options say; ``state_dir`` is that of the embedded server."""

    redis: str
    key_prefix: str
    state_dir: Path | None


def with_streams(verb: Callable[..., int]) -> Callable[..., int]:
    """What every verb needs that talks to a gateway through Redis; it gets them as ``where``."""

    @wraps(verb)
    def called(redis: str, key_prefix: str, state_dir: Path | None, **rest: Any) -> int:
        if path := click.get_current_context().meta.get(EXPOSED):
            click.echo(
                f"telgw: Others may read {path}, which holds the URL of Redis: chmod 600 {path}", err=True
            )
        return verb(where=Where(redis, key_prefix, state_dir), **rest)

    return with_config(with_redis(called))


def read_toml(path: Path) -> dict[str, Any]:
    """The keys of a configuration file, ``-`` written as ``_``.

    Raises:
        click.UsageError: the file cannot be read, is no TOML, or holds a key that is no option or a value
            that no option could have.
    """
    from .run import command

    known = {option.name: option for option in command.params if isinstance(option, Setting)}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise click.UsageError(f"{path}: {error}") from None
    values = {}
    for key, value in table.items():
        option = known.get(key.replace("-", "_"))
        if option is None:
            raise click.UsageError(f"{path}: {key!r} is no option of `telgw run`.")
        if value == "" and option.default is None:
            continue  # the template's way to write that there is no default
        given = _as_typed(value, option)
        if given is None:
            raise click.UsageError(f"{path}: The value of {key!r} is none that the option could have.")
        values[key.replace("-", "_")] = given
    return values


def _as_typed(value: Any, option: Setting) -> str | list[str] | None:
    """What a key of the file says, as the command line would have it: text; None when that cannot be."""
    items = value if isinstance(value, list) else [value]
    texts = [str(item) for item in items if type(item) in (str, int, float)]  # `true` is an int too
    if len(texts) != len(items) or "\0" in "".join(texts):
        return None
    if option.multiple:
        return texts
    return ",".join(texts) if isinstance(option.type, (Verbs, Networks)) or items is not value else None


def _load(ctx: click.Context, _: click.Parameter, path: Path | None) -> None:
    if path is not None:
        ctx.meta["telgw.config"] = str(path)
        ctx.default_map = {**(ctx.default_map or {}), **read_toml(path)}
