"""The names of states and triggers, as types. A name that is not in these lists is a bug.

mypy checks these types. At run time an unknown trigger raises `fsm.errors.UnknownTrigger`, an unknown state
`UnknownState`, and an unknown reason `UnknownReason`, by comparison with the tables in `fsm.command` and
`fsm.session`. A test compares the types with the tables.

The state of a `Command` or `Session` is a plain string, because a log may hold states of another version.
"""

from __future__ import annotations

from typing import Literal

CommandState = Literal["new", "queued", "sent", "responded", "delivered", "failed", "timeout"]

CommandTrigger = Literal[
    "accept", "refuse", "expire", "send", "fail", "withdraw", "respond", "reject", "deliver", "time_out"
]

SessionState = Literal["new", "handshake", "identified", "ready", "tainted", "draining", "closed"]

SessionTrigger = Literal["accept", "identify", "open", "taint", "clear", "drain", "close"]
