"""The page of security, and what `telgw check` finds, name the same things."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from store.diagnosis.exposure import diagnose_exposure
from store.diagnosis.password import PASSWORD
from store.diagnosis.server import CLIENTS, OK, PERMISSIONS, REPLICAS, Report, Server, evaluate
from store.fleet.exposure import Exposure
from transport.cli.check import descriptors

PAGE = (Path(__file__).parents[1] / "docs" / "security.md").read_text(encoding="utf-8")
CHECKLIST = re.findall(
    r"^\| `([\w {}-]+)` \|",
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


EXPOSED = Exposure("0.0.0.0:5027", "/etc/telgw.key", certificate_until_ms=1, authority_until_ms=1)


def test_the_checklist_has_each_finding_about_servers_hosts_and_gateways() -> None:
    report = Report()
    diagnose_exposure(report, "{instance_id}", EXPOSED, now_ms=2)
    findings = [*evaluate(BAD), descriptors(10, 10, 10_000), *report.findings]
    assert {finding.subject for finding in findings if finding.level == OK} == {"role"}
    assert all(finding.mend for finding in findings if finding.level != OK)
    assert {REPLICAS, CLIENTS, PERMISSIONS} <= {finding.subject for finding in findings}
    assert sorted(CHECKLIST) == sorted({finding.subject for finding in findings} | {PASSWORD})


@pytest.mark.parametrize("heading", ["A suspected take-over", "A leaked password", "A full Redis"])
def test_there_is_a_runbook(heading: str) -> None:
    assert f"\n## {heading}\n" in PAGE
