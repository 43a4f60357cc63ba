"""Lines of the log: one each, whatever text is in them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
import structlog

from transport.logs import configure

EVIL = [
    "a\r\nINFO forged line",
    "\x1b[2J\x1b]0;owned\x07",
    "\u202egpj.exe",
    "a\u2028b\u2029c\x85d",
    "\x9b31m",
    "\x7f\x00",
    "\U000e0041",
    'quote " and \\u0041',
]


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The configuration of other tests comes back."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def logged(format: str, text: str) -> str:
    """One line of a new log, with `text` as a value."""
    out = io.StringIO()
    configure("info", format, out)
    structlog.get_logger("new").bind().info("event", text=text, number=1)
    return out.getvalue()


@pytest.mark.parametrize("text", EVIL)
@pytest.mark.parametrize("format", ["json", "console"])
def test_text_of_others_makes_no_line_and_steers_no_terminal(format: str, text: str) -> None:
    line = logged(format, text)
    assert line.endswith("\n")
    assert line[:-1].isprintable()


@pytest.mark.parametrize("text", [*EVIL, "plain", "naïve 日本"])
def test_a_line_of_json_holds_the_text_as_it_was(text: str) -> None:
    assert json.loads(logged("json", text))["text"] == text


def test_a_traceback_keeps_its_lines_on_a_terminal_and_nothing_else() -> None:
    out = io.StringIO()
    configure("info", "console", out)
    try:
        raise ValueError("\x1b[2J")
    except ValueError:
        structlog.get_logger("new").bind().error("failed", exc_info=True)
    lines = out.getvalue().splitlines()
    assert len(lines) > 3
    assert "Traceback" in out.getvalue()
    assert all(line.isprintable() for line in lines)


def test_lines_below_the_level_are_not_written() -> None:
    out = io.StringIO()
    configure("warning", "json", out)
    log = structlog.get_logger("new").bind()
    log.info("quiet")
    log.warning("loud")
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["loud"]
