"""The Directus extension: its own tests, and the proofs of the try-out on a real Directus."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TRY = Path(__file__).parents[2] / "examples" / "directus" / "try.sh"
SKIPPED = 77


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_try_out_proves_what_the_page_on_directus_promises() -> None:
    command = ["bash", str(TRY), "--prepared"]
    environment = os.environ | {"TELGW_PYTHON": sys.executable}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=850)
    if done.returncode == SKIPPED:
        pytest.skip(done.stdout.strip().rpartition("\n")[2])
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
