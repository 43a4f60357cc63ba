"""The names of states and triggers, as types: a name that is not in these lists is an error of the program.

mypy reads these types. At run time an unknown trigger raises `fsm.errors.UnknownTrigger`, an unknown state
`UnknownState`, and an unknown reason `UnknownReason`; the tables in `fsm.command` and `fsm.session` are what
they are compared with. A test holds the types and the tables equal.

The state of a `Command` or `Session` is a plain string: a log may hold states of another version.
"""

from __future__ import annotations

from typing import Literal

CommandState = Literal["new", "queued", "sent", "responded", "delivered", "failed", "timeout"]

CommandTrigger = Literal[
    "accept", "refuse", "expire", "send", "fail", "withdraw", "respond", "reject", "deliver", "time_out"
]

SessionState = Literal["new", "handshake", "identified", "ready", "tainted", "draining", "closed"]

SessionTrigger = Literal["accept", "identify", "open", "taint", "clear", "drain", "close"]
