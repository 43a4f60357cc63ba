"""What ``telgw demo`` prints, and what the README shows of it."""

from __future__ import annotations

import io
import shlex
from pathlib import Path

import click
import pytest
from rich.console import Console

from transport.cli import cli
from transport.cli.scenes import Act, scenes
from transport.cli.story import INTRODUCTION, NEXT, Story

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def played(wrong: str = "") -> list[Act]:
    """The commands at their end, all as they should be but one."""
    acts = []
    for scene in scenes():
        state = "queued" if scene.name == wrong else scene.state
        end = {"kind": "command", "terminal": "1", "state": state, "reason": scene.reason}
        acts.append(Act(scene, [end | {"delivery": min(scene.delivery)}, {"note": scene.note}]))
    return acts


def printed(acts: list[Act], width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    Story(console).end(acts)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.skipif("sys.platform != 'linux'")
def test_the_readme_shows_what_a_terminal_shows() -> None:
    acts = played()
    for act in acts:  # on Linux the gateway knows what the TCP of a device has acknowledged
        if act.scene.state == "timeout" and "received" in act.scene.delivery:
            act.entries[0]["delivery"] = "received"
    assert "\n".join(printed(acts)) in README
    assert INTRODUCTION in README


@pytest.mark.parametrize("width", [80, 200])
def test_every_command_has_a_sentence_and_a_verdict_follows(width: int) -> None:
    lines = printed(played(), width)
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    assert all(scene.means in text for scene in scenes())
    assert "8 of 8 commands ended as they should." in lines


def test_a_command_that_ends_otherwise_is_seen() -> None:
    lines = printed(played(wrong="refused"), 200)
    assert "7 of 8 commands ended as they should." in lines
    [line] = [line for line in lines if line.startswith("NO")]
    assert line.endswith("It should end as failed: nack.")


@pytest.mark.parametrize("line", [line for line, _ in NEXT])
def test_what_to_type_next_can_be_typed(line: str) -> None:
    verb, *arguments = shlex.split(line)
    found = cli.get_command(click.Context(cli), verb)
    assert found is not None
    assert found.make_context(verb, arguments).params


def test_an_answer_is_folded_at_a_terminal_and_never_cut() -> None:
    console = Console(file=io.StringIO(), width=80)
    answer = "Ver:03.28.07_00 GPS:AXN_5.10_3333 " * 9 + "x" * 99
    fields = {
        **{"v": "1", "kind": "command", "command_id": "answered", "seq": "3", "state": "responded"},
        **{"prev": "sent", "trigger": "respond", "terminal": "1", "rtt_ms": "203", "response": answer},
    }
    Story(console).event(played()[0], fields)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "".join(answer.split()) in "".join("".join(lines).split())
