"""``telgw avl``: what an AVL id means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from transport.teltonika.avl_ids import VARIABLE, AvlDictionary, AvlId, dictionary, families_of

from . import render, stderr

FOUND, UNKNOWN = 0, 4
VALUES_SHOWN = 160
"""Characters of the list of values in the table; ``--json`` shows all of it."""


@click.command(short_help="Look up an AVL id, by its number or a part of its name.")
@click.argument("what", metavar="ID|NAME")
@click.option("--family", help="Only rows for this family of devices, FMB for example, or this model.")
@click.option(
    "--avl-ids",
    "own",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A CSV file with rows of your own: id, family and name, and what else avl_ids.csv has.",
)
@click.option("--json", "raw", is_flag=True, help="One JSON object per row.")
def command(what: str, family: str | None, own: Path | None, raw: bool) -> int:
    """Show what the IO element ID|NAME of a record means: its width, sign, factor, unit and values.

    The same id may mean another thing on a device of another family. The value in the unit is the number in
    the record times the factor.

    Exit status: 0 found; 2 wrong use; 4 unknown.
    """
    rows = dictionary_with(own)
    _check_family(rows, family)
    found = rows.rows_of(int(what)) if what.isascii() and what.isdigit() else rows.named(what)
    if family:
        wanted = set(families_of(family))
        found = [row for row in found if not row.families or wanted & set(row.families)]
    if not found:
        stderr.fault(f"No AVL id {render.printable(what, 64)} is known.")
        return UNKNOWN
    if raw:
        for row in found:
            click.echo(json.dumps(as_dict(row), ensure_ascii=False))
    else:
        render.Output().print(table(found))
    return FOUND


def dictionary_with(own: Path | None) -> AvlDictionary:
    """The dictionary of the package, and what the file `own` adds or replaces."""
    return dictionary(own.read_text(encoding="utf-8-sig"), own.name) if own else dictionary()


def _check_family(rows: AvlDictionary, family: str | None) -> None:
    if family and not set(families_of(family)) & set(rows.families):
        raise click.BadParameter(
            f"no row is for {render.printable(family, 32)}; there are: {', '.join(rows.families)}.",
            param_hint="'--family'",
        )


def as_dict(row: AvlId) -> dict[str, Any]:
    """A row as JSON shows it."""
    return {
        "id": row.id,
        "families": list(row.families),
        "name": row.name,
        "bytes": _width(row),
        "type": row.kind,
        "multiplier": float(row.multiplier),
        "unit": row.unit,
        "bitmask" if row.is_mask else "values": {str(number): name for number, name in row.names.items()},
        "group": row.group,
    }


def _width(row: AvlId) -> int | str | None:
    return "variable" if row.width == VARIABLE else row.width or None


def table(rows: list[AvlId]) -> Table:
    """The rows, for a terminal."""
    shown = Table()
    for heading in ("id", "name"):
        shown.add_column(heading, no_wrap=True)
    with_values = any(row.names for row in rows)
    for heading in ("number", "families", *(("values",) if with_values else ())):
        shown.add_column(heading)
    for row in rows:
        cells = [str(row.id), row.name, _number(row), " ".join(row.families) or "all"]
        if with_values:
            cells.append(_values(row))
        shown.add_row(*map(Text, cells))
    return shown


def _number(row: AvlId) -> str:
    """How the number is read: its width, sign, factor and unit."""
    width = _width(row)
    size = f"{width} byte{'s' * (width != 1)}" if isinstance(width, int) else width
    factor = "" if row.multiplier == 1 else f"factor {row.multiplier}"
    return ", ".join(filter(None, (size, row.kind, factor, row.unit)))


def _values(row: AvlId) -> str:
    form = "#x" if row.is_mask else "d"
    names = "; ".join(f"{number:{form}} {name}" for number, name in row.names.items())
    return render.printable(names, VALUES_SHOWN)
