"""The configuration file: its keys are the settings of ``telgw run``, for every verb with ``--config``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import Decorated, Setting
from .parameters import Networks, Verbs
from .run_options import settings


def with_config(function: Decorated) -> Decorated:
    """Add ``--config FILE``. Its keys replace defaults; environment and command line replace its keys."""
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


def read_toml(path: Path) -> dict[str, Any]:
    """The keys of a configuration file, ``-`` written as ``_``.

    Raises:
        click.UsageError: the file cannot be read or is not TOML, a key is not an option, or the type of a
            value is wrong.
    """
    import tomllib  # most gateways have no file

    known = settings()
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise click.UsageError(f"{path}: {error}") from None
    values = {}
    for key, value in table.items():
        option = known.get(key.replace("-", "_"))
        if option is None:
            raise click.UsageError(f"{path}: {key!r} is not an option of `telgw run`.")
        if value == "" and option.default is None:
            continue  # in the template, an empty text means that there is no default
        given = _as_typed(value, option)
        if given is None:
            raise click.UsageError(f"{path}: The value of {key!r} has a type that the option does not take.")
        values[key.replace("-", "_")] = given
    return values


def _as_typed(value: Any, option: Setting) -> str | list[str] | None:
    """The value of a key as text, as the command line would give it; None if its type is wrong."""
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
