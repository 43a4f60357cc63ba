"""The line of a verdict in the log: what became of a command, and nothing of what was said."""

from __future__ import annotations

from typing import Any

import pytest

from fsm.events import CommandEvent
from transport.commands import in_flight as commands

SAID = "setparam 2004:secret"


def test_the_line_of_a_verdict_holds_nothing_of_what_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[dict[str, Any]] = []

    class Log:
        def info(self, event: str, **fields: Any) -> None:
            lines.append({"event": event} | fields)

    monkeypatch.setattr(commands, "log", Log())
    event = CommandEvent(
        "c-1",
        3,
        "responded",
        "sent",
        "respond",
        terminal=True,
        response=SAID,
        response_hex=SAID.encode().hex(),
        detail=SAID,
        echo=(("requested_by", SAID),),
    )
    commands.log_verdict(event)
    [line] = lines
    assert (line["command_id"], line["state"]) == ("c-1", "responded")
    assert not any(text in str(line) for text in (SAID, SAID.encode().hex()))
