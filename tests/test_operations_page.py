"""docs/operations.md explains every metric, every reason and every log event at warning or above."""

from __future__ import annotations

import re

from tests.rig.code_calls import ROOT, SOURCES, calls, exposed_metrics
from transport.cli.schemas import entry_schemas

PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
LOUD = {"warning", "error", "critical"}


def rows(table: str) -> list[str]:
    """The name in the first cell of each row between two markers, without labels."""
    text = PAGE.partition(f"<!-- {table}:begin -->")[2].partition(f"<!-- {table}:end -->")[0]
    return re.findall(r"^\| `(\w+)", text, re.MULTILINE)


def reasons(kind: str) -> set[str]:
    """The reasons that an event of this kind may have, as `telgw schema` prints them."""
    return set(entry_schemas("{name}")[kind]["properties"]["reason"]["enum"]) - {""}


def test_each_metric_is_explained() -> None:
    exposed = exposed_metrics()
    assert len(exposed) > 40
    assert exposed == set(rows("metrics"))


def test_each_reason_of_a_command_is_explained() -> None:
    assert reasons("CommandEvent") == set(rows("command-reasons"))


def test_each_reason_of_a_closed_session_is_explained() -> None:
    assert reasons("SessionEvent") == set(rows("close-reasons"))


def test_each_reason_is_in_the_contract() -> None:
    contract = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
    told = reasons("CommandEvent") | reasons("SessionEvent")
    assert [
        reason for reason in told if not re.search(rf"^\|.* `{reason}`.* \|", contract, re.MULTILINE)
    ] == []


def test_each_log_event_at_warning_or_above_is_explained() -> None:
    explained, logged = set(rows("log-events")), {name for method, name in calls() if method in LOUD}
    assert logged - explained == set()
    source = "".join(path.read_text(encoding="utf-8") for path in SOURCES)
    assert [name for name in explained if not re.search(rf"[\"']{name}[\"']", source)] == []
