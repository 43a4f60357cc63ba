"""Files of IMEIs, which an operator writes by hand or exports from elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from fsm.outbound import IMEI

from . import render


def read_imeis(path: Path) -> list[str]:
    """The IMEIs in a file, one on each line, each once. Empty lines and lines that begin with # are left out.

    Raises:
        click.UsageError: the file cannot be read, a line is no IMEI, or there is none.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{path}: {error}") from None
    found: dict[str, None] = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if line and not line.startswith("#"):
            if not IMEI.fullmatch(line):
                raise click.UsageError(
                    f"{path}, line {number}: {render.printable(line, 32)!r} is not 15 digits."
                )
            found[line] = None
    if not found:
        raise click.UsageError(f"{path} has no IMEI.")
    return list(found)
