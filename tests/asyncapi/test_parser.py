"""The parser of AsyncAPI, from npm, accepts the document of the streams."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from transport.cli.schema import CHANNELS

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "schema" / "asyncapi.json"
NPM = ("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries", "0", "--prefer-offline")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_parser_of_asyncapi_accepts_the_document(tmp_path: Path) -> None:
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("node and npm are not installed: the AsyncAPI document is not parsed")
    for name in ("package.json", "package-lock.json", "parse.mjs"):
        shutil.copy(HERE / name, tmp_path)
    installed = subprocess.run(NPM, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    if installed.returncode:
        pytest.skip(f"the AsyncAPI parser cannot be installed: {installed.stderr[-300:]}")
    command = ("node", "parse.mjs", str(DOCUMENT))
    parsed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (parsed.returncode, parsed.stdout) == (0, f"{len(CHANNELS)} channels\n"), parsed.stderr
