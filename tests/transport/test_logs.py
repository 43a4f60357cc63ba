"""Lines of the log: one each, whatever text is in them."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import capture_logs

from transport.logs import capture_python, configure

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


def test_a_traceback_keeps_only_its_lines_on_a_terminal() -> None:
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


class Unreadable:
    """A value that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("not even this")

    __str__ = __repr__


@pytest.mark.parametrize("format", ["json", "console"])
@pytest.mark.parametrize("value", [Unreadable(), "\ud800", {Unreadable(): 1}])
def test_an_unprintable_value_costs_only_itself(format: str, value: object) -> None:
    out = io.StringIO()
    configure("info", format, out)
    structlog.get_logger("new").bind().info("said", value=value)
    assert "said" in out.getvalue()


@pytest.fixture
def hooks() -> Iterator[None]:
    """Python's own ways to standard error come back."""
    before = sys.excepthook, threading.excepthook, sys.unraisablehook
    handlers, level, showwarning = logging.root.handlers[:], logging.root.level, warnings.showwarning
    yield
    sys.excepthook, threading.excepthook, sys.unraisablehook = before
    logging.captureWarnings(False)
    logging.root.handlers[:], warnings.showwarning = handlers, showwarning
    logging.root.setLevel(level)
    logging.raiseExceptions = True


@pytest.mark.usefixtures("hooks")
def test_what_python_and_libraries_say_is_part_of_the_log() -> None:
    capture_python()
    with capture_logs() as lines:
        logging.getLogger("asyncio").error("it failed: %s", "so", exc_info=ValueError("why"))
        logging.getLogger("redis").warning("%s", Unreadable())
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(False)  # `catch_warnings` puts back what Python has itself
            logging.captureWarnings(True)
            warnings.warn("old", DeprecationWarning, stacklevel=1)
        sys.excepthook(ValueError, ValueError("uncaught"), None)
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
    assert [line["event"] for line in lines] == ["library"] * 3 + ["uncaught"] * 2
    assert [line["text"] for line in lines[:2]] == ["it failed: so", "unreadable (RuntimeError)"]
    assert [line["log_level"] for line in lines] == ["error", "warning", "warning", "critical", "critical"]
