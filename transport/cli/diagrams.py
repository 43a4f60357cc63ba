"""`telgw diagrams`: draw the state machines from their tables, and check whether files show these tables."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path

import click

from fsm.diagram import command_diagram, policy_rows, session_diagram, verdict_rows

from .pictures import svg

BLOCKS = {"verdicts": verdict_rows, "policies": policy_rows}
"""Tables that stand in a page between the markers of their name."""
NO_RENDERER = "No SVG drawn: the renderer comes with pip install 'teltonika-gateway[diagrams]'."


def drawings() -> dict[str, str]:
    """Mermaid text of every diagram by its name. The state machines are drawn from their tables."""
    journey = files("transport.cli").joinpath("journey.mmd").read_text(encoding="utf-8")
    return {"session": session_diagram(), "command": command_diagram(), "journey": journey}


def stale(out: Path, readme: Path) -> list[str]:
    """Files that are out of date: diagrams under `out`, and `readme` if it has the markers.

    An SVG is compared by the hash of its source: another version of the renderer or of a font does not
    make it out of date.
    """
    wrong = []
    for name, source in drawings().items():
        text, picture = out / f"{name}.mmd", out / f"{name}.svg"
        if _read(text) != source:
            wrong.append(str(text))
        if _signature(source) not in _read(picture):
            wrong.append(str(picture))
    if _with_rows(_read(readme)) != _read(readme):
        wrong.append(str(readme))
    return wrong


def write(out: Path, readme: Path) -> bool:
    """Write every diagram under `out` and the table into `readme`; whether SVGs were drawn, too."""
    out.mkdir(parents=True, exist_ok=True)
    drawn = True
    for name, source in drawings().items():
        (out / f"{name}.mmd").write_text(source, encoding="utf-8")
        picture = _draw(source)
        if picture is None:
            drawn = False
        else:
            (out / f"{name}.svg").write_text(picture, encoding="utf-8")
    text = _read(readme)
    if _with_rows(text) != text:
        readme.write_text(_with_rows(text), encoding="utf-8")
    return drawn


def _draw(source: str) -> str | None:
    picture = svg(source)
    return None if picture is None else picture + _signature(source) + "\n"


def _signature(source: str) -> str:
    return f"<!-- source sha256: {hashlib.sha256(source.encode()).hexdigest()} -->"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _with_rows(text: str) -> str:
    """`text` with the blocks between the markers replaced; unchanged if it has no markers."""
    for name, rows in BLOCKS.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if found:
            text = f"{before}{begin}\n{rows()}{end}{after}"
    return text


@click.command(name="diagrams", short_help="Draw the state machines as Mermaid text and SVG.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("diagrams"),
    show_default=True,
    help="Directory of the drawings.",
)
@click.option(
    "--readme",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("README.md"),
    show_default=True,
    help="File with tables between markers, which are updated; a file without markers is left alone.",
)
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if a file is out of date.")
def diagrams(out: Path, readme: Path, check: bool) -> int:
    """Draw the state machines, and the way of a command, as Mermaid text and SVG.

    Exit status: 0 done; with --check, 1 if a file is out of date.
    """
    if check:
        wrong = stale(out, readme)
        for path in wrong:
            click.echo(f"{path} is out of date; run telgw diagrams.")
        return 1 if wrong else 0
    drawn = write(out, readme)
    click.echo(f"{', '.join(f'{name}.mmd' for name in drawings())} written to {out}.")
    if not drawn:
        click.echo(NO_RENDERER)
    return 0


command = diagrams
