"""The page of security, and what `telgw check` finds, name the same things."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from store.diagnosis.password import PASSWORD
from store.diagnosis.server import CLIENTS, OK, PERMISSIONS, REPLICAS, Server, evaluate
from transport.cli.check import descriptors

PAGE = (Path(__file__).parents[1] / "docs" / "security.md").read_text(encoding="utf-8")
CHECKLIST = re.findall(
    r"^\| `([\w -]+)` \|",
    PAGE.partition("<!-- checklist:begin -->")[2].partition("<!-- checklist:end -->")[0],
    re.MULTILINE,
)

BAD = Server(
    info={
        "redis_version": "5.0.0",
        "role": "master",
        "connected_slaves": "1",
        "aof_enabled": 0,
        "rdb_last_bgsave_status": "err",
        "maxmemory_policy": "allkeys-lru",
        "used_memory": 100,
        "maxmemory": 100,
        "connected_clients": 99,
        "maxclients": 100,
    },
    config={"appendfsync": "no"},
    skew_ms=9000,
    refused=("CONFIG",),
)
"""A server on which nothing is right but its role."""


def test_the_checklist_has_each_finding_about_a_server_and_this_host() -> None:
    findings = [*evaluate(BAD), descriptors(10, 10, 10_000)]
    assert {finding.subject for finding in findings if finding.level == OK} == {"role"}
    assert all(finding.mend for finding in findings if finding.level != OK)
    assert {REPLICAS, CLIENTS, PERMISSIONS} <= {finding.subject for finding in findings}
    assert sorted(CHECKLIST) == sorted({finding.subject for finding in findings} | {PASSWORD})


@pytest.mark.parametrize("heading", ["A suspected take-over", "A leaked password", "A full Redis"])
def test_there_is_a_runbook(heading: str) -> None:
    assert f"\n## {heading}\n" in PAGE
