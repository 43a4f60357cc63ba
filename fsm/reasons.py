"""Why a command or a session ended, and whether the vehicle may have obeyed: two closed lists and a table.

``Delivery`` answers the important question for the owner of a vehicle: may it have obeyed? Only after
``not_sent`` a command may be repeated without asking.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, cast

from fsm.states import CommandState, CommandTrigger

CommandReason = Literal[
    "invalid_command",
    "not_allowed",
    "device_not_connected",
    "queue_full",
    "expired",
    "cancelled",
    "gateway_shutdown",
    "gateway_restart",
    "instance_lost",
    "ledger_lost",
    "internal_error",
    "connection_lost",
    "session_superseded",
    "identity_disputed",
    "write_error",
    "protocol_error",
    "nack",
    "response_timeout",
    "delivery_timeout",
]
"""Why a command ended. A test holds this type and `EDGE_RULES` equal."""

Delivery = Literal["not_sent", "maybe_sent", "received", "answered"]

# Reasons of a command's terminal event.
INVALID_COMMAND: Final = "invalid_command"
NOT_ALLOWED: Final = "not_allowed"
DEVICE_NOT_CONNECTED: Final = "device_not_connected"
QUEUE_FULL: Final = "queue_full"
EXPIRED: Final = "expired"
CANCELLED: Final = "cancelled"
GATEWAY_SHUTDOWN: Final = "gateway_shutdown"
GATEWAY_RESTART: Final = "gateway_restart"
INSTANCE_LOST: Final = "instance_lost"
LEDGER_LOST: Final = "ledger_lost"
INTERNAL_ERROR: Final = "internal_error"
CONNECTION_LOST: Final = "connection_lost"
SESSION_SUPERSEDED: Final = "session_superseded"
IDENTITY_DISPUTED: Final = "identity_disputed"
WRITE_ERROR: Final = "write_error"
PROTOCOL_ERROR: Final = "protocol_error"
NACK: Final = "nack"
RESPONSE_TIMEOUT: Final = "response_timeout"
DELIVERY_TIMEOUT: Final = "delivery_timeout"

# Reasons of a session's close.
DEVICE_CLOSED: Final = "device_closed"
CONNECTION_RESET: Final = "connection_reset"
NETWORK_TIMEOUT: Final = "network_timeout"
REJECTED: Final = "rejected"
HANDSHAKE_TIMEOUT: Final = "handshake_timeout"
IDLE: Final = "idle"
NO_PLACE: Final = "no_place"
SUPERSEDED: Final = "superseded"
WRITE_OVERFLOW: Final = "write_overflow"
STORE_UNAVAILABLE: Final = "store_unavailable"
TAINTED: Final = "tainted"
SHUTDOWN: Final = "shutdown"
FENCED: Final = "fenced"
DEVICE_REFUSED: Final = "device_refused"

CLOSE_REASONS: Final = frozenset(
    {
        DEVICE_CLOSED,
        CONNECTION_RESET,
        NETWORK_TIMEOUT,
        REJECTED,
        HANDSHAKE_TIMEOUT,
        IDLE,
        NO_PLACE,
        SUPERSEDED,
        PROTOCOL_ERROR,
        WRITE_OVERFLOW,
        STORE_UNAVAILABLE,
        TAINTED,
        SHUTDOWN,
        FENCED,
        INSTANCE_LOST,
        DEVICE_REFUSED,
    }
)

# Deliveries, from "no byte was written" to "the device answered".
NOT_SENT: Final = "not_sent"
MAYBE_SENT: Final = "maybe_sent"
RECEIVED: Final = "received"
ANSWERED: Final = "answered"

# Notes, which are published and change no state.
LATE_RESPONSE: Final = "late_response"
UNSOLICITED_RESPONSE: Final = "unsolicited_response"
DUPLICATE_IGNORED: Final = "duplicate_ignored"
CANCEL_REJECTED: Final = "cancel_rejected"
LATE_OUTCOME: Final = "late_outcome"
MOVED: Final = "moved"
TAKEOVER: Final = "takeover"
TAKEOVER_DISPUTED: Final = "takeover_disputed"
TAKEOVER_REFUSED: Final = "takeover_refused"
SESSION_EVENTS_LEFT_OUT: Final = "session_events_left_out"
PARKED: Final = "parked"

NOTES: Final = (
    LATE_RESPONSE,
    UNSOLICITED_RESPONSE,
    DUPLICATE_IGNORED,
    CANCEL_REJECTED,
    LATE_OUTCOME,
    MOVED,
    SESSION_EVENTS_LEFT_OUT,
    TAKEOVER,
    TAKEOVER_DISPUTED,
    TAKEOVER_REFUSED,
    PARKED,
)


@dataclass(frozen=True)
class EdgeRule:
    """The reasons and deliveries of an edge of the command machine.

    Attributes:
        reasons: the reasons that belong to the edge; empty if it has none.
        delivery: the delivery if nothing is known about acknowledged bytes.
        acknowledged: the delivery if the TCP of the device has acknowledged every byte.
    """

    reasons: frozenset[CommandReason]
    delivery: Delivery
    acknowledged: Delivery


def _rule(delivery: Delivery, *reasons: CommandReason, acknowledged: Delivery | Literal[""] = "") -> EdgeRule:
    return EdgeRule(frozenset(reasons), delivery, acknowledged or delivery)


EDGE_RULES: Final[dict[tuple[CommandTrigger, CommandState], EdgeRule]] = {
    ("accept", "new"): _rule(NOT_SENT),
    ("refuse", "new"): _rule(NOT_SENT, INVALID_COMMAND, NOT_ALLOWED, DEVICE_NOT_CONNECTED, QUEUE_FULL),
    ("expire", "new"): _rule(NOT_SENT, EXPIRED),
    ("expire", "queued"): _rule(NOT_SENT, EXPIRED),
    ("send", "queued"): _rule(MAYBE_SENT),
    ("fail", "queued"): _rule(
        NOT_SENT,
        CANCELLED,
        DEVICE_NOT_CONNECTED,
        QUEUE_FULL,
        GATEWAY_SHUTDOWN,
        IDENTITY_DISPUTED,
        INSTANCE_LOST,
        LEDGER_LOST,
        INTERNAL_ERROR,
    ),
    ("withdraw", "sent"): _rule(
        NOT_SENT, EXPIRED, CONNECTION_LOST, SESSION_SUPERSEDED, IDENTITY_DISPUTED, GATEWAY_SHUTDOWN
    ),
    ("respond", "sent"): _rule(ANSWERED),
    ("reject", "sent"): _rule(ANSWERED, NACK),
    ("deliver", "sent"): _rule(RECEIVED),
    ("fail", "sent"): _rule(
        MAYBE_SENT,
        CONNECTION_LOST,
        WRITE_ERROR,
        SESSION_SUPERSEDED,
        GATEWAY_SHUTDOWN,
        GATEWAY_RESTART,
        INSTANCE_LOST,
        PROTOCOL_ERROR,
        INTERNAL_ERROR,
        acknowledged=RECEIVED,
    ),
    ("time_out", "sent"): _rule(MAYBE_SENT, RESPONSE_TIMEOUT, DELIVERY_TIMEOUT, acknowledged=RECEIVED),
}
"""The rule of each (trigger, source) of the command machine; a test checks that the table is complete."""

RULES: Final = cast("dict[tuple[str, str], EdgeRule]", EDGE_RULES)
"""`EDGE_RULES`, for trigger and source as plain strings."""

REASONS: Final = frozenset(reason for rule in EDGE_RULES.values() for reason in rule.reasons)
"""Every reason of an edge of the command machine."""
