"""What the pages say of tests and of each other is true."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakeredis
import pytest

from fsm.command import COMMAND
from fsm.events import CommandEvent, Note
from fsm.reasons import CLOSE_REASONS, NOTES, RULES
from store.keys import Keys
from store.streams.events import command_fields, note_fields
from transport.cli.reference import BEGIN, END, reference
from transport.cli.schemas import entry_schemas
from transport.daemon.backend import PURPOSES

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
TESTS = {
    name
    for file in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
}
CONTRACT = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
NAME = re.compile(r"`([\w:{}]+)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"\b(test_[a-z0-9_]+)(?=[`\[])", page.read_text(encoding="utf-8")))
    assert named - TESTS == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def example(name: str) -> dict[str, Any]:
    """What the example of the contract page defines."""
    names: dict[str, Any] = {}
    exec(CONTRACT.partition(f"<!-- example:{name} -->\n```python\n")[2].partition("```")[0], names)
    return names


@pytest.mark.parametrize("formula", ['=HYPERLINK("http://x")', "+1", "-1", "@SUM(1)", " =1", "\t=1", "\r1"])
def test_the_report_of_the_contract_page_runs_nothing_that_a_device_says(formula: str) -> None:
    report, file = example("report"), io.StringIO()
    event = CommandEvent("c-1", 2, "responded", "sent", "respond", terminal=True, imei="1", response=formula)
    report["write_report"](file, [event])
    [[_, written]] = csv.reader(io.StringIO(file.getvalue(), newline=""))
    assert written == f"'{formula}"
    page = report["table_row"](replace(event, response="<img src=x onerror=alert(1)>"))
    assert "<img" not in page
    assert report["cell"]("Lat:54.1 = ok") == "Lat:54.1 = ok"


def test_the_consumer_of_the_contract_page_reads_outcomes() -> None:
    names = example("consumer")
    redis = fakeredis.FakeRedis()
    queued = CommandEvent("c-1", 1, "queued", "", "accept", terminal=False)
    failed = CommandEvent("c-1", 2, "failed", "queued", "fail", terminal=True, reason="cancelled")
    entries = [command_fields(queued), note_fields(Note("moved", "n-1")), command_fields(failed)]
    for flat in [*entries, ["kind", "unknown"]]:
        redis.xadd("commands:responses", dict(zip(flat[::2], flat[1::2], strict=True)))
    redis.xgroup_create("commands:responses", "group", "0")
    found = [(event.command_id, event.seq, event.reason) for event in names["outcomes"](redis, "group", "me")]
    assert found == [("c-1", 2, "cancelled")]
    assert redis.xpending("commands:responses", "group")["pending"] == 0


def test_the_page_of_faults_names_a_test_in_every_row() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    tables = text.partition("## What happens to commands")[2].partition("## How it is tested")[0]
    rows = [line for line in tables.splitlines() if line.startswith("| ") and "| test |" not in line]
    assert len(rows) > 50
    assert [row for row in rows if "`test_" not in row] == []


def test_the_reference_has_every_option_of_every_verb() -> None:
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    written = text.partition(f"{BEGIN}\n")[2].partition(END)[0]
    assert written == reference(), "python -m transport.cli.reference docs/reference.md"


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name
)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    named = set(
        re.findall(r"`((?:fsm|store|transport|tests|docs|examples|deploy)/[\w./-]+)`", page.read_text())
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_architecture_page_names_all_tasks_and_packages() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    daemon = ROOT / "transport" / "daemon"
    started = re.findall(r'start\(\s*"([\w -]+)"', (daemon / "gateway.py").read_text(encoding="utf-8"))
    tasks = text.partition("<!-- tasks:begin -->")[2].partition("<!-- tasks:end -->")[0]
    assert re.findall(r"^\| `([\w -]+)`", tasks, re.MULTILINE) == started
    clients = text.partition("<!-- clients:begin -->")[2].partition("<!-- clients:end -->")[0]
    assert set(re.findall(r"`(\w+)`", clients)) == set(PURPOSES)
    packages = {
        path.parent.relative_to(ROOT).as_posix()
        for top in ("store", "transport")
        for path in (ROOT / top).glob("*/__init__.py")
    }
    assert [package for package in packages if f"| `{package}` |" not in text] == []


def cells(heading: str, head: str) -> list[list[str]]:
    """The rows of the first table under a heading of the contract whose head line begins with `head`."""
    section = re.split(r"^#+ ", CONTRACT.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    table = section.partition(f"| {head} |")[2].partition("\n\n")[0]
    return [re.split(r" *\| *", line.strip("| ")) for line in table.splitlines()[2:]]


@pytest.mark.parametrize(
    ("heading", "head", "kind", "elsewhere"),
    [
        ("Sending a command", "field", "Command", set()),
        ("Events", "field", "CommandEvent", set()),
        ("Telemetry", "field", "TelemetryRecord", {"frame"}),
        ("Telemetry", "in `data`", "RecordData", set()),
        ("Messages", "field", "DeviceMessage", set()),
    ],
)
def test_a_table_of_the_contract_has_every_field(
    heading: str, head: str, kind: str, elsewhere: set[str]
) -> None:
    told = {name for row in cells(heading, head) for name in NAME.findall(row[0])}
    assert told == set(entry_schemas("{name}")[kind]["properties"]) - elsewhere


def test_the_contract_has_every_reason_with_its_states_and_deliveries() -> None:
    known = {
        (edge["dest"], reason, delivery)
        for edge in COMMAND.edges
        for rule in [RULES[edge["trigger"], edge["source"]]]
        for reason in rule.reasons or ("",)
        for delivery in (rule.delivery, rule.acknowledged)
        if edge["trigger"] != "withdraw" or (edge["dest"] == "timeout") == (reason == "expired")
    }
    rows = [[NAME.findall(cell) for cell in row[:3]] for row in cells("States and reasons", "state")]
    told = {
        (state, reason, delivery)
        for (state,), names, deliveries in rows
        for reason in names or [""]
        for delivery in deliveries
    }
    assert told == known


def test_the_contract_has_every_note_close_reason_and_key() -> None:
    assert [NAME.findall(row[0]) for row in cells("Notes", "note")] == [[name] for name in NOTES]
    closed = cells("Sessions", "reason of `closed`")
    assert {name for row in closed for name in NAME.findall(row[0])} == CLOSE_REASONS
    keys = Keys()
    named = ("heartbeat", "boot", "holder", "outbound")
    expected = {*keys.shared, keys.ledger("{command_id}"), keys.claims("{imei}"), keys.sizes("{stream}")}
    expected.add(keys.parked("{imei}"))
    expected |= {keys.trace("{imei}")}
    expected |= {getattr(keys, name)("{instance_id}") for name in named}
    assert {NAME.findall(row[0])[0] for row in cells("Keys", "key")} == expected
