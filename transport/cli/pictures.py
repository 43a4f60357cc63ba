"""Mermaid text as pictures, drawn by the `diagrams` extra."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import click


def svg(source: str) -> str | None:
    """`source` as SVG; None if the extra is not installed."""
    try:
        import mermaidx
    except ImportError:
        return None
    picture: str = mermaidx.render(source).svg()
    # Dark arrows on a transparent background cannot be seen on a page in dark mode.
    return picture.replace("background-color: transparent", "background-color: white", 1).rstrip() + "\n"


def png(source: str) -> bytes | None:
    """`source` as PNG; None if the extra is not installed."""
    try:
        import mermaidx
    except ImportError:
        return None
    picture: bytes = mermaidx.render(source).png()
    return picture


def drawn(source: str) -> str | None:
    """`source` as text with lines for a terminal; None if the extra is not installed."""
    try:
        import mermaidx
    except ImportError:
        return None
    # It shows the number of an escaped character and not the character.
    picture: str = mermaidx.render(re.sub(r"#\d+;", "·", source)).ascii()
    return picture.rstrip()


def write(path: Path, source: str, draw: Callable[[str], str | bytes | None]) -> None:
    """Draw `source` into the file `path`.

    Raises:
        click.UsageError: the extra is not installed.
        OSError: the file cannot be written.
    """
    picture = draw(source)
    if picture is None:
        raise click.UsageError("Pictures need the renderer: pip install 'teltonika-gateway[diagrams]'.")
    path.write_bytes(picture.encode() if isinstance(picture, str) else picture)
    click.echo(f"Written to {path}.")
