"""The files of `deploy/`, as far as they can be checked without the machines that they are for."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[1] / "deploy" / "telgw.service"
WORST = 25
"""Ten times the exposure level that `systemd-analyze security` may find; 100 is a service without limits."""
OFFLINE = 250
"""The version of systemd from which a unit can be verified without being installed."""


def version(program: str) -> int:
    """The version of systemd."""
    words = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()
    return int(words[1])


def test_the_unit_leaves_the_service_few_rights() -> None:
    program = shutil.which("systemd-analyze")
    if program is None or version(program) < OFFLINE:
        pytest.skip("there is no systemd-analyze that verifies files")
    words = [program, "security", "--offline=true", f"--threshold={WORST}", str(UNIT)]
    verified = subprocess.run(words, capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stdout
