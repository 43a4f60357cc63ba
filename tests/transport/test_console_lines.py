"""Log lines for a terminal: what is shown, and how wide they are."""

from __future__ import annotations

import pytest

from transport.console_lines import WIDTH, ConsoleLines

COMMAND = {
    "timestamp": "2026-11-29T16:07:23.382025Z",
    "level": "info",
    "event": "command",
    "command_id": "0198f0c2-7b7a-7c11-9d6b-1c6f5a0b1d2e",
    "imei": "352094080000000",
    "state": "responded",
    "reason": "",
    "delivery": "answered",
    "rtt_ms": None,
    "tls": [],
    "listen": ["127.0.0.1:5027", "[::1]:5027"],
    "meaning": "It was answered.",
    "exit_status": 0,
}


@pytest.mark.parametrize("columns", [60, 80, 0, 200])
def test_a_line_fits_the_terminal_and_no_value_is_cut(columns: int) -> None:
    shown = ConsoleLines(colors=False, columns=lambda: columns)(None, "info", dict(COMMAND))
    lines = shown.split("\n")
    assert max(map(len, lines)) <= min(columns or WIDTH, WIDTH)
    assert lines[0].startswith("2026-11-29 16:07:23.382Z info     command")
    assert all(line.startswith("    ") for line in lines[1:])
    for value in ("listen=127.0.0.1:5027,[::1]:5027", 'meaning="It was answered."', "exit_status=0"):
        assert value in shown


@pytest.mark.parametrize("empty", ["reason", "rtt_ms", "tls"])
def test_an_empty_field_is_not_shown(empty: str) -> None:
    assert empty not in ConsoleLines(colors=False, columns=lambda: 0)(None, "info", dict(COMMAND))


def test_colors_change_nothing_but_the_look() -> None:
    def shown(colors: bool) -> str:
        return ConsoleLines(colors=colors, columns=lambda: 80)(None, "info", dict(COMMAND))

    plain = shown(True)
    for code in ("\x1b[0m", "\x1b[1m", "\x1b[2m"):
        plain = plain.replace(code, "")
    assert plain == shown(False)
