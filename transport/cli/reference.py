"""The options of every verb as Markdown, read from the verbs: ``python -m transport.cli.reference``.

The text is between two markers of docs/reference.md, and a test compares both. With the path of that page as
its argument, the module writes the text there; without an argument, it prints the text.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from inspect import cleandoc
from pathlib import Path

import click

from . import VERBS, cli
from .options import Setting
from .parameters import UNITS, Duration

BEGIN, END = "<!-- options:begin -->", "<!-- options:end -->"
SHARED = ("redis", "redis_file", "key_prefix", "state_dir", "config")
"""Options that verbs share; they are listed once."""

HEAD = "| option | default | environment | meaning |\n|---|---|---|---|\n"


def reference() -> str:
    """A section for the shared options and one for each verb."""
    contexts = [_context(verb) for verb in VERBS]
    shared = {param.name: (ctx, param) for ctx in contexts for param in ctx.command.params}
    common = HEAD + "".join(_row(*shared[name]) for name in SHARED)
    return "\n".join([f"### Options that verbs share\n\n{common}", *map(_section, contexts)])


def write(page: Path) -> None:
    """Replace the text between the markers of `page`."""
    text = page.read_text(encoding="utf-8")
    block = f"{BEGIN}\n{reference()}{END}"
    page.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: block, text, flags=re.DOTALL), encoding="utf-8")


def _context(verb: str) -> click.Context:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None  # `VERBS` names it
    return click.Context(command, info_name=f"telgw {verb}")


def _section(ctx: click.Context) -> str:
    pieces = " ".join(ctx.command.collect_usage_pieces(ctx))
    parts = [f"### {ctx.info_name}\n", f"```\n{ctx.info_name} {pieces}\n```\n", _text(ctx), *_tables(ctx)]
    if names := [f"`--{name.replace('_', '-')}`" for name in SHARED if _has(ctx, name)]:
        parts.append(f"It also has {', '.join(names)} (see above).\n")
    return "\n".join(parts)


def _text(ctx: click.Context) -> str:
    """The help of a verb; its exit statuses as a list, and below it what is said of them."""
    text, _, statuses = cleandoc(ctx.command.help or "").partition("Exit status: ")
    if not statuses:
        return _escaped(text) + "\n"
    statuses, _, remarks = " ".join(statuses.split()).partition(". ")
    items = re.split(r";\s+(?=\d)", statuses)
    listed = "".join(
        f"* `{status}`: {_escaped(why)}\n" for status, _, why in (i.partition(" ") for i in items)
    )
    return f"{_escaped(text)}\n\nExit status:\n\n{listed}" + (f"\n{_escaped(remarks)}\n" if remarks else "")


def _tables(ctx: click.Context) -> Iterable[str]:
    """A table for each section of a verb's options, in their order."""
    sections: dict[str, str] = {}
    heading = ""
    for param in ctx.command.params:
        if isinstance(param, click.Option) and param.name not in SHARED:
            if isinstance(param, Setting) and ctx.info_name == "telgw run":
                heading = param.section  # an option without a section, --take-over, stays under the last one
            sections[heading] = sections.get(heading, HEAD) + _row(ctx, param)
    return (f"#### {heading}\n\n{table}" if heading else table for heading, table in sections.items())


def _row(ctx: click.Context, option: click.Parameter) -> str:
    assert isinstance(option, click.Option)
    record = option.get_help_record(ctx)
    assert record is not None  # no option is hidden
    extra = option.get_help_extra(ctx)
    meaning, _, shown = (option.help or "").partition("  [default: ")
    default = shown.rstrip("]") or extra.get("default", "").strip("()") or ("off" if option.is_flag else "")
    allowed = _range(option.type)
    cells = (
        f"`{record[0].replace(' RANGE', '')}`",
        "" if default in ("", "none") else f"`{default}`",
        " ".join(f"`{name}`" for name in extra.get("envvars", ())),
        _escaped(meaning) + (f" {allowed}." if allowed else ""),
    )
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |\n"


def _range(kind: object) -> str:
    """The least and the greatest value of an option; empty if it has no bounds."""
    if isinstance(kind, Duration):
        most = "more" if kind.most == Duration().most else _duration(kind.most)
        return f"{_duration(kind.least)} {'or' if most == 'more' else 'to'} {most}"
    if isinstance(kind, click.IntRange):
        least, most = (f"{bound:,}" if bound is not None else "" for bound in (kind.min, kind.max))
        return f"{least} to {most}" if most else f"{least} or more"
    return ""


def _duration(seconds: float) -> str:
    """`seconds` as an option takes them, in the largest unit that gives a whole number."""
    for unit, size in reversed(UNITS.items()):
        if seconds >= size and (seconds / size).is_integer():
            return f"{seconds / size:.0f}{unit}"
    return f"{round(seconds * 1000)}ms" if seconds else "0"


def _escaped(text: str) -> str:
    """`text` on one line, with the characters escaped that are markup in Markdown."""
    return re.sub(r"([*<])", r"\\\1", " ".join(text.split()))


def _has(ctx: click.Context, name: str) -> bool:
    return any(param.name == name for param in ctx.command.params)


if __name__ == "__main__":
    if sys.argv[1:]:
        write(Path(sys.argv[1]))
    else:
        print(reference(), end="")
