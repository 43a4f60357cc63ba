"""The pictures are the tables: every edge, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fsm.command import COMMAND, Command, decide, evolve
from fsm.diagram import Visit, command_diagram, mermaid, path, policy_rows, session_diagram, verdict_rows
from fsm.machine import Edge, Table
from fsm.policies import POLICIES
from fsm.reasons import EDGE_RULES
from fsm.session import SESSION
from transport.cli.diagrams import drawings, stale, write

ROOT = Path(__file__).parents[2]
ARROW = re.compile(r"^  (\S+) --> (\S+?)(?:: (.+))?$", re.MULTILINE)


def shown(table: Table, edge: Edge) -> tuple[str, str, str]:
    source = "[*]" if edge["source"] == table.initial else edge["source"]
    guards = [guard.__name__ for guard in edge.get("conditions", ())]
    guards += [f"not {guard.__name__}" for guard in edge.get("unless", ())]
    return source, edge["dest"], edge["trigger"] + (f" [{', '.join(guards)}]" if guards else "")


@pytest.mark.parametrize(
    ("table", "text"),
    [(COMMAND, command_diagram()), (SESSION, session_diagram())],
    ids=["command", "session"],
)
def test_every_edge_is_in_the_picture_and_no_other(table: Table, text: str) -> None:
    expected = [shown(table, edge) for edge in table]
    expected += [(state, "[*]", "") for state in table.terminal]
    assert sorted(ARROW.findall(text)) == sorted(expected)


def test_terminal_states_are_styled_by_their_outcome() -> None:
    text = command_diagram()
    assert "  class responded,delivered success\n" in text
    assert "  class failed,timeout failed\n" in text
    assert "  class closed ended\n" in session_diagram()


def test_a_new_edge_is_drawn_without_anybody_drawing_it() -> None:
    table = Table("toy", "new", ("new", "a"), (Edge(trigger="go", source="new", dest="a"),))
    assert ARROW.findall(mermaid(table)) == [("[*]", "a", "go"), ("a", "[*]", "")]


def test_a_history_numbers_the_arrows_it_took_and_marks_its_states() -> None:
    command, events = Command("c-1"), []
    for trigger, reason in (("accept", ""), ("send", ""), ("time_out", "response_timeout")):
        events.append(decide(command, trigger, reason=reason))
        command = evolve(command, events[-1])
    text = command_diagram(path(COMMAND, events))
    labels = {label for _, _, label in ARROW.findall(text)}
    assert {"(1) accept", "(2) send", "(3) time_out<br/>response_timeout"} <= labels
    assert "  class queued,sent,timeout visited\n" in text
    assert "  class failed failed\n" in text
    assert len(ARROW.findall(text)) == len(ARROW.findall(command_diagram()))


def test_an_edge_taken_twice_carries_both_numbers() -> None:
    text = session_diagram(path(SESSION, []))
    assert text == session_diagram()
    table = Table(
        "toggle",
        "off",
        ("off", "on", "idle"),
        (
            Edge(trigger="up", source="off", dest="on"),
            Edge(trigger="rest", source="on", dest="idle"),
            Edge(trigger="wake", source="idle", dest="on"),
        ),
    )
    visits = [
        Visit("off", "up", "on", 1),
        Visit("on", "rest", "idle", 2),
        Visit("idle", "wake", "on", 3),
        Visit("on", "rest", "idle", 4),
    ]
    assert "(2,4) rest" in mermaid(table, visited=visits)


def test_the_printed_table_has_every_edge_and_reason() -> None:
    rows = verdict_rows().splitlines()[2:]
    assert len(rows) == len(COMMAND.edges)
    for (trigger, source), verdict in EDGE_RULES.items():
        text = "".join(row for row in rows if row.startswith(f"| `{source}` | `{trigger}` |"))
        assert set(re.findall(r"`(\w+)`", text)) >= verdict.reasons | {verdict.delivery, verdict.acknowledged}


def test_the_printed_table_has_every_policy() -> None:
    heads, _, *rows = (line.strip("| ").split(" | ") for line in policy_rows().splitlines())
    assert heads == ["occasion", "`queued`", "`sending`", "`sent`", "`written`", "ended"]
    assert [row[0] for row in rows] == [f"`{occasion}`" for occasion in POLICIES]
    (disconnect,) = (row for row in rows if row[0] == "`disconnect`")
    assert disconnect[1:4] == [
        "waits for the device",
        "decided when `sent` is committed",
        "`withdraw`: `connection_lost` `session_superseded` `gateway_shutdown`",
    ]
    (adoption,) = (row for row in rows if row[0] == "`adoption`")
    assert adoption[1:] == [
        "handed over, or parked, or `fail`: `instance_lost`",
        "",
        "`fail`: `instance_lost`",
        "",
        "entry removed",
    ]


def test_the_guarded_edges_share_the_reasons_between_them() -> None:
    to_timeout, to_failed = (row for row in verdict_rows().splitlines() if "`withdraw`" in row)
    assert "| `expired` |" in to_timeout
    assert "expired" not in to_failed


def test_the_drawings_in_the_repository_are_up_to_date() -> None:
    assert stale(ROOT / "diagrams", ROOT / "docs" / "contract.md") == []


def test_a_drawing_that_is_missing_or_changed_is_stale(tmp_path: Path) -> None:
    out, readme = tmp_path / "diagrams", tmp_path / "README.md"
    readme.write_text("# x\n<!-- verdicts:begin -->\nold\n<!-- verdicts:end -->\nend\n")
    assert len(stale(out, readme)) == 2 * len(drawings()) + 1
    out.mkdir()
    for source in (ROOT / "diagrams").iterdir():
        (out / source.name).write_text(source.read_text())
    assert stale(out, readme) == [str(readme)]
    (out / "command.mmd").write_text(command_diagram() + "\n")
    assert stale(out, readme) == [str(out / "command.mmd"), str(readme)]


def test_without_the_renderer_text_and_readme_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transport.cli.diagrams._draw", lambda source: None)
    readme = tmp_path / "README.md"
    readme.write_text("# x\n<!-- verdicts:begin -->\nold\n<!-- verdicts:end -->\nend\n")
    assert write(tmp_path, readme) is False
    assert (tmp_path / "session.mmd").read_text() == session_diagram()
    assert "| `new` | `accept` | `queued` |" in readme.read_text()
    assert readme.read_text().endswith("<!-- verdicts:end -->\nend\n")
    assert stale(tmp_path, readme) == [str(tmp_path / f"{name}.svg") for name in drawings()]


def test_an_svg_is_an_svg_that_names_its_source() -> None:
    for name in drawings():
        text = (ROOT / "diagrams" / f"{name}.svg").read_text()
        assert text.startswith("<svg")
        assert "<!-- source sha256: " in text
