"""The examples of back ends, in Python and JavaScript, beside a real gateway and a simulated tracker."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.process.gateway import MAIN, Bus, Gateway, until

ROOT = Path(__file__).parents[2]
IMEI = "352094080000000"
NPM = ("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries", "0", "--prefer-offline")


@pytest.fixture
def tracker(start: Callable[..., Gateway], bus: Bus) -> Iterator[None]:
    """A simulated tracker that answers commands, connected to a gateway."""
    address = f"127.0.0.1:{start().port}"
    words = ("simulate", "--trackers", "1", "--connect", address, "--interval", "0.1", "--answer-delay", "0")
    with running([sys.executable, "-c", MAIN, *words]):
        until(lambda: bus.holder(IMEI), "the tracker")
        yield


@contextmanager
def running(command: list[str], **more: object) -> Iterator[subprocess.Popen[str]]:
    """A process, which is killed at the end."""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, **more) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()


def test_the_back_end_in_python_keeps_its_tables(tracker: None, redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "backend.db"
    command = [sys.executable, "examples/python/backend.py", redis_url, str(path), IMEI, "getinfo"]
    with running(command) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("responded answered ")
        with sqlite3.connect(path) as table:
            query = "SELECT state, delivery, seq FROM commands"
            until(lambda: table.execute(query).fetchall() == [("responded", "answered", 3)], "the last event")
            until(lambda: table.execute("SELECT * FROM positions WHERE imei = ?", [IMEI]).fetchall())


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example for Node.js, with its packages."""
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("node and npm are not installed: examples/node is not tried")
    folder = tmp_path_factory.mktemp("node") / "example"
    shutil.copytree(ROOT / "examples" / "node", folder, ignore=shutil.ignore_patterns("node_modules"))
    done = subprocess.run(NPM, cwd=folder, capture_output=True, text=True, timeout=200)
    if done.returncode:
        pytest.skip(f"the packages of examples/node cannot be installed: {done.stderr[-300:]}")
    return folder


@pytest.mark.timeout(300)
def test_the_back_end_in_javascript_prints_the_outcome(
    installed: Path, tracker: None, redis_url: str
) -> None:
    checked = subprocess.run(
        ["npm", "run", "check"], cwd=installed, capture_output=True, text=True, timeout=200
    )
    assert checked.returncode == 0, checked.stdout
    command = ["node", str(installed / "backend.mjs"), redis_url, IMEI, "getinfo"]
    told: dict[str, list[str]] = {"sent": [], "command": [], "position": []}
    with running(command) as process:
        assert process.stdout is not None
        while not (told["position"] and any("responded" in line for line in told["command"])):
            line = process.stdout.readline()
            assert line
            told[line.split()[0]].append(line)
    [sent] = told["sent"]
    command_id = sent.split()[1]
    assert [line.split()[1:4] for line in told["command"]] == [
        [command_id, "queued", "not_sent"],
        [command_id, "sent", "maybe_sent"],
        [command_id, "responded", "answered"],
    ]
