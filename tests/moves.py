"""The moves of commands and sessions as the contract has them, apart from the gateway's own tables."""

from __future__ import annotations

_REFUSALS = ("invalid_command", "not_allowed", "device_not_connected", "queue_full")
_QUEUED_FAILS = (
    *("cancelled", "device_not_connected", "queue_full", "gateway_shutdown"),
    *("identity_disputed", "instance_lost", "ledger_lost", "internal_error"),
)
_SENT_FAILS = (
    *("connection_lost", "write_error", "session_superseded", "gateway_shutdown", "gateway_restart"),
    *("instance_lost", "protocol_error", "internal_error"),
)
_WITHDRAWALS = ("connection_lost", "session_superseded", "identity_disputed", "gateway_shutdown")
_UNCERTAIN = ("maybe_sent", "received")

COMMAND_MOVES: dict[tuple[str, str, str], tuple[tuple[str, ...], tuple[str, ...]]] = {
    ("", "accept", "queued"): (("",), ("not_sent",)),
    ("", "refuse", "failed"): (_REFUSALS, ("not_sent",)),
    ("", "expire", "timeout"): (("expired",), ("not_sent",)),
    ("queued", "expire", "timeout"): (("expired",), ("not_sent",)),
    ("queued", "send", "sent"): (("",), ("maybe_sent",)),
    ("queued", "fail", "failed"): (_QUEUED_FAILS, ("not_sent",)),
    ("sent", "withdraw", "timeout"): (("expired",), ("not_sent",)),
    ("sent", "withdraw", "failed"): (_WITHDRAWALS, ("not_sent",)),
    ("sent", "respond", "responded"): (("",), ("answered",)),
    ("sent", "reject", "failed"): (("nack",), ("answered",)),
    ("sent", "deliver", "delivered"): (("",), ("received",)),
    ("sent", "fail", "failed"): (_SENT_FAILS, _UNCERTAIN),
    ("sent", "time_out", "timeout"): (("response_timeout", "delivery_timeout"), _UNCERTAIN),
}
"""(state before, trigger, state after) -> the reasons and deliveries that belong to it."""

_OPEN = ("handshake", "identified", "ready", "tainted")

SESSION_MOVES: set[tuple[str, str, str]] = {
    ("handshake", "identify", "identified"),
    ("identified", "open", "ready"),
    ("ready", "taint", "tainted"),
    ("tainted", "clear", "ready"),
    *((state, "drain", "draining") for state in _OPEN),
    *((state, "close", "closed") for state in (*_OPEN, "draining")),
    ("", "close", "closed"),
}
"""(state before, trigger, state after), as far as they are published. The last one is said of a session whose
instance died with it: nobody knows where it stood."""
