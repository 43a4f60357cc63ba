"""The path of one command through the states, drawn for a terminal from the state table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group
from rich.text import Text
from rich.tree import Tree

from fsm.command import COMMAND, NEW
from fsm.machine import Edge, Table
from store.streams.messages import CommandEvent

from .render import STYLES, printable

Move = tuple[str, str, str]
"""State, trigger, next state."""


def moves(events: Iterable[CommandEvent]) -> list[Move]:
    """The transitions that the events of a command tell of."""
    return [(event.prev or NEW, event.trigger, event.state) for event in events]


def boxes(taken: Sequence[Move]) -> Text:
    """The states of the path, each in a box, in one row."""
    rows = [Text(), Text(), Text()]
    for number, (_, trigger, state) in enumerate(taken):
        name, style = printable(state, 32), STYLES.get(state, "")
        label = printable(trigger, 32)
        arrow = "" if number == 0 else f" {label} "
        rows[0].append(arrow, "dim").append(f"╭{'─' * (len(name) + 2)}╮", style)
        rows[1].append("─" * (len(arrow) - 1) + "▶" if arrow else "", "dim").append(f"│ {name} │", style)
        rows[2].append(" " * len(arrow)).append(f"╰{'─' * (len(name) + 2)}╯", style)
    return Text("\n").join(rows)


def diagram(taken: Sequence[Move], table: Table = COMMAND) -> Tree:
    """The whole table as a tree of its edges. The edges of `taken` are marked with their number in the path.

    A state is unfolded once, so that cycles end.
    """
    tree = Tree(Text(table.initial, "bold"), guide_style="dim")
    _grow(tree, table.initial, table, list(taken), {table.initial})
    return tree


def drawing(events: Iterable[CommandEvent]) -> Group:
    """The path as boxes, and the table with the path marked in it."""
    taken = moves(events)
    return Group(boxes(taken), "", diagram(taken))


def _grow(tree: Tree, state: str, table: Table, taken: list[Move], unfolded: set[str]) -> None:
    for edge in table:
        if edge["source"] != state:
            continue
        branch = tree.add(_label(edge, taken))
        dest = edge["dest"]
        if dest not in unfolded and dest not in table.terminal:
            unfolded.add(dest)
            _grow(branch, dest, table, taken, unfolded)


def _label(edge: Edge, taken: list[Move]) -> Text:
    move = edge["source"], edge["trigger"], edge["dest"]
    guards = [guard.__name__ for guard in edge.get("conditions", ())]
    guards += [f"not {guard.__name__}" for guard in edge.get("unless", ())]
    trigger = " ".join((edge["trigger"], *(f"[{guard}]" for guard in guards)))
    if move not in taken:
        return Text(f"{trigger} → {edge['dest']}", "dim")
    style = STYLES.get(edge["dest"], "")
    number = f"  ({taken.index(move) + 1})"
    return Text.assemble((f"{trigger} → ", "bold"), (edge["dest"], f"bold {style}"), (number, "bold"))
