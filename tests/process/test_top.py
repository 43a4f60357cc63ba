"""``telgw top`` in a real terminal, and in a pipe."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator

import pytest

from tests.process.gateway import MAIN, Device, Gateway, clean_environment, until

WORDS = (sys.executable, "-c", MAIN, "top")


class Terminal:
    """A terminal of tmux, with a server of its own."""

    def __init__(self, words: tuple[str, ...], columns: int, lines: int) -> None:
        self._name = f"telgw-{uuid.uuid4().hex[:8]}"
        size = ("-x", str(columns), "-y", str(lines))
        self.tmux("-f", "/dev/null", "new-session", "-d", *size, shlex.join(words) + "; sleep 60")

    def tmux(self, *words: str) -> str:
        """Call tmux; what it prints."""
        return subprocess.run(
            ["tmux", "-L", self._name, *words],
            capture_output=True,
            check=True,
            text=True,
            env=clean_environment() | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"},
        ).stdout

    def screen(self) -> str:
        """What the terminal shows."""
        return self.tmux("capture-pane", "-p")


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    opened: list[Terminal] = []

    def open_(*words: str, columns: int = 80, lines: int = 24) -> Terminal:
        opened.append(Terminal(words, columns, lines))
        return opened[-1]

    yield open_
    for one in opened:
        one.tmux("kill-server")


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (200, 50), (250, 80)])
def test_a_terminal_shows_the_fleet_and_gets_its_screen_back(
    redis_url: str, terminal: Callable[..., Terminal], columns: int, lines: int
) -> None:
    with Gateway(redis_url) as gateway, Device(gateway) as device:
        device.ready()
        shown = terminal(*WORDS, "--redis", redis_url, columns=columns, lines=lines)
        until(lambda: "1 gateway " in shown.screen() and "gw-1" in shown.screen())
        shown.tmux("send-keys", "2")
        until(lambda: device.imei in shown.screen())
        shown.tmux("send-keys", "?")
        until(lambda: "Esc closes" in shown.screen())
        shown.tmux("send-keys", "Escape")
        until(lambda: "Esc closes" not in shown.screen())
        shown.tmux("send-keys", "q")
        until(lambda: "telgw top" not in shown.screen())


def test_a_pipe_gets_the_present_state_as_text(redis_url: str) -> None:
    with Gateway(redis_url) as gateway, Device(gateway) as device:
        device.ready()
        ended = subprocess.run(
            [*WORDS, "--redis", redis_url],
            capture_output=True,
            text=True,
            env=clean_environment(),
            timeout=30,
            check=True,
        )
    assert "gw-1" in ended.stdout
    assert "\x1b" not in ended.stdout
