"""What happened: the entries of the event log, as values.

An event is appended once and never changed. ``at`` and ``age_ms`` are stamped by the store with its own
clock, the only one all instances share, and are therefore not fields of a proposed event.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fsm.reasons import NOT_SENT

SCHEMA_VERSION = 1


@dataclass(slots=True, frozen=True)
class CommandEvent:
    """One move of one command.

    ``response`` is the device's answer when it is printable ASCII; ``response_hex`` otherwise. ``rtt_ms``
    runs from the write to the answer. ``attribution`` stands with an answer: whether it is sure to be this
    command's. ``recovered`` marks an event written although the ledger was lost.
    ``echo`` holds the producer's own fields (``requested_by``, ``correlation_id``, ``traceparent``,
    ``retry_of``), repeated in every event.
    """

    command_id: str
    seq: int
    state: str
    prev: str
    trigger: str
    terminal: bool
    outcome: str = ""
    reason: str = ""
    detail: str = ""
    delivery: str = NOT_SENT
    imei: str = ""
    codec: str = ""
    instance_id: str = ""
    session_id: str = ""
    outbound_id: str = ""
    rtt_ms: int | None = None
    response: str | None = None
    response_hex: str | None = None
    truncated: bool = False
    attribution: str = ""
    recovered: bool = False
    echo: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True, frozen=True)
class Note:
    """A remark about a command (or about no command) that changes no state; ``note`` is its name."""

    note: str
    note_id: str
    command_id: str = ""
    detail: str = ""
    imei: str = ""
    codec: str = ""
    instance_id: str = ""
    session_id: str = ""
    outbound_id: str = ""
    state: str = ""
    rtt_ms: int | None = None
    response: str | None = None
    response_hex: str | None = None
    truncated: bool = False
    attribution: str = ""
    echo: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True, frozen=True)
class SessionEvent:
    """One move of one session. ``peer`` is the device's ``host:port``."""

    session_id: str
    seq: int
    state: str
    prev: str
    trigger: str
    reason: str = ""
    imei: str = ""
    peer: str = ""
    instance_id: str = ""
    terminal: bool = field(default=False)
