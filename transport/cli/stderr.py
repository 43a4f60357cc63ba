"""What a verb says on standard error: one sentence in a line, or one JSON object under ``--json``."""

from __future__ import annotations

import json

import click

JSON = "--json"


def line(sentence: str, kind: str, *, as_json: bool) -> str:
    """A sentence as a line: ``telgw: ...``, or an object whose key is `kind`, ``error`` or ``note``."""
    text = " ".join(sentence.split())
    return json.dumps({kind: text}) if as_json else f"telgw: {text}"


def fault(sentence: str) -> None:
    """Say why the result of the verb is not what was asked for."""
    _say(sentence, "error")


def remark(sentence: str) -> None:
    """Say something while the verb goes on."""
    _say(sentence, "note")


def _say(sentence: str, kind: str) -> None:
    context = click.get_current_context(silent=True)
    as_json = context is not None and bool(context.params.get("raw"))
    click.echo(line(sentence, kind, as_json=as_json), err=True)
