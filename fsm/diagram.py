"""Draws state tables as Mermaid text and as Markdown rows.

Every edge of a table is one arrow, and there are no other arrows. The initial pseudo-state is drawn as the
start mark, and a state that no edge leaves gets the end mark.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fsm.command import COMMAND, OUTCOMES
from fsm.events import CommandEvent, SessionEvent
from fsm.machine import Edge, Table
from fsm.policies import POLICIES, Action, Fire, HandOver, Park, Policy, Reject, Resume, stages_of
from fsm.reasons import RULES
from fsm.session import SESSION

MARK = "[*]"

# The renderer measures widths with the metrics of Verdana: with this font no label is clipped.
THEME = (
    '%%{init: {"theme": "base", "themeVariables": {"fontFamily": "Verdana, DejaVu Sans, sans-serif", '
    '"fontSize": "14px", "lineColor": "#5f6368", "primaryColor": "#eef3fd", "primaryBorderColor": "#3367d6", '
    '"primaryTextColor": "#1b2a4a", "edgeLabelBackground": "#ffffff", "transitionLabelColor": "#3c4043", '
    '"tertiaryColor": "#ffffff"}}}%%'
)
CLASSES = {
    "success": "fill:#e6f4ea,stroke:#1e7e34,color:#123d1c",
    "failed": "fill:#fdecea,stroke:#b3261e,color:#4a100c",
    "ended": "fill:#f1f3f4,stroke:#5f6368,color:#202124",
    "visited": "fill:#fff4d6,stroke:#b06000,color:#3d2200,stroke-width:3px",
}


@dataclass(slots=True, frozen=True)
class Visit:
    """One transition of a history: an edge of the table, its number, its reason, and its time in words."""

    source: str
    trigger: str
    dest: str
    seq: int
    reason: str = ""
    when: str = ""


def path(table: Table, events: Iterable[CommandEvent | SessionEvent]) -> tuple[Visit, ...]:
    """The transitions of `events` as edges of `table`."""
    return tuple(
        Visit(event.prev or table.initial, event.trigger, event.state, event.seq, event.reason)
        for event in events
    )


def mermaid(table: Table, *, outcomes: Mapping[str, str] | None = None, visited: Sequence[Visit] = ()) -> str:
    """`table` as a Mermaid state diagram.

    Args:
        outcomes: the outcome of terminal states. ``failed`` is drawn as a failure, any other outcome as a
            success, and a state without an outcome as a plain end.
        visited: transitions to mark: their arrows have their number, reason and time, and their states are
            highlighted.
    """
    lines = [THEME, "stateDiagram-v2", "  direction LR"]
    lines += [f"  {_node(table, e['source'])} --> {e['dest']}: {_label(e, visited)}" for e in _sorted(table)]
    ends = [state for state in table.states if state in table.terminal]
    lines += [f"  {state} --> {MARK}" for state in ends]
    lines += _styles(table, outcomes or {}, visited)
    return "\n".join(lines) + "\n"


def command_diagram(visited: Sequence[Visit] = ()) -> str:
    """The state diagram of a command; with `visited`, the path of one command is marked."""
    return mermaid(COMMAND, outcomes=OUTCOMES, visited=visited)


def session_diagram(visited: Sequence[Visit] = ()) -> str:
    """The state diagram of a session; with `visited`, the path of one session is marked."""
    return mermaid(SESSION, visited=visited)


def verdict_rows() -> str:
    """The state table of a command in Markdown: each edge with its reasons and deliveries."""
    rows = ["| from | trigger | to | reasons | delivery |", "|---|---|---|---|---|"]
    for edge in COMMAND:
        verdict = RULES[edge["trigger"], edge["source"]]
        deliveries = dict.fromkeys((verdict.delivery, verdict.acknowledged))
        cells = (
            f"`{edge['source']}`",
            f"`{edge['trigger']}`",
            f"`{edge['dest']}`",
            " ".join(f"`{reason}`" for reason in _reasons_of(edge)),
            " or ".join(f"`{delivery}`" for delivery in deliveries),
        )
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


_WORDS = {
    Action.KEEP: "nothing",
    Action.WAIT: "decided when `sent` is committed",
    Action.AWAIT_DEVICE: "waits for the device",
    Action.REMOVE: "entry removed",
    Action.LEAVE: "left alone",
}


def policy_rows() -> str:
    """The table of policies as Markdown: a row for each occasion, a column for each stage before the end."""
    open_states = (state for state in COMMAND.states if state not in COMMAND.terminal | {COMMAND.initial})
    stages = [stage for state in open_states for stage in stages_of(state)]
    heads = ("occasion", *(f"`{stage}`" for stage in stages), "ended")
    rows = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for occasion, policies in POLICIES.items():
        found = {str(stage): _in_words(policy) for stage, policy in policies.items()}
        ended = dict.fromkeys(found[state] for state in COMMAND.states if state in COMMAND.terminal)
        cells = (f"`{occasion}`", *(found.get(stage, "") for stage in stages), " or ".join(ended))
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def _in_words(policy: Policy) -> str:
    if isinstance(policy, Fire):
        reasons = dict.fromkeys((policy.reason, *policy.by_close.values()))
        return f"`{policy.trigger}`: " + " ".join(f"`{reason}`" for reason in reasons)
    if isinstance(policy, Reject):
        return f"rejected: `{policy.detail}`"
    if isinstance(policy, Resume):
        return f"goes on, or {_in_words(policy.otherwise)}"
    if isinstance(policy, Park):
        return f"parked, or {_in_words(policy.otherwise)}"
    if isinstance(policy, HandOver):
        return f"handed over, or {_in_words(policy.otherwise)}"
    return _WORDS[policy]


def _reasons_of(edge: Edge) -> list[str]:
    """The reasons of the trigger that the guards of the edge allow."""
    reasons = RULES[edge["trigger"], edge["source"]].reasons
    wanted = {guard.__name__ for guard in edge.get("conditions", ())}
    barred = {guard.__name__ for guard in edge.get("unless", ())}
    return sorted(reason for reason in reasons - barred if not wanted or reason in wanted)


def _sorted(table: Table) -> list[Edge]:
    """Edges ordered by their states, so that arrows between the same states are next to each other."""
    order = {state: place for place, state in enumerate(table.states)}

    def place(edge: Edge) -> tuple[int, int, int]:
        arm = -1 if "conditions" in edge else 1 if "unless" in edge else 0
        return order[edge["source"]], order[edge["dest"]], arm

    return sorted(table.edges, key=place)


def _node(table: Table, state: str) -> str:
    return MARK if state == table.initial else state


def _label(edge: Edge, visited: Sequence[Visit]) -> str:
    guards = [guard.__name__ for guard in edge.get("conditions", ())]
    guards += [f"not {guard.__name__}" for guard in edge.get("unless", ())]
    text = edge["trigger"] + (f" [{', '.join(guards)}]" if guards else "")
    ends = (edge["source"], edge["trigger"], edge["dest"])
    moves = [visit for visit in visited if (visit.source, visit.trigger, visit.dest) == ends]
    if not moves:
        return text
    numbers = ",".join(str(move.seq) for move in moves)
    reasons = dict.fromkeys(move.reason for move in moves if move.reason)
    times = (move.when for move in moves if move.when)
    return "<br/>".join((f"({numbers}) {text}", *reasons, *times))


def _styles(table: Table, outcomes: Mapping[str, str], visited: Sequence[Visit]) -> list[str]:
    seen = {state for visit in visited for state in (visit.source, visit.dest)} - {table.initial}
    members: dict[str, list[str]] = {}
    for state in table.states:
        if state in seen:
            members.setdefault("visited", []).append(state)
        elif state in table.terminal:
            kind = {"failed": "failed", "": "ended"}.get(outcomes.get(state, ""), "success")
            members.setdefault(kind, []).append(state)
    lines = [f"  classDef {name} {CLASSES[name]}" for name in members]
    return lines + [f"  class {','.join(states)} {name}" for name, states in members.items()]
