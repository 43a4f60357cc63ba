"""Events and notes: the entries of the event log, as values.

An event is appended once and never changed. The store adds ``at`` and ``age_ms`` by its own clock, which is
the only clock that all instances share; so a proposed event does not have these fields.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fsm.quick_values import quick
from fsm.reasons import NOT_SENT

SCHEMA_VERSION = 1


@quick
@dataclass(slots=True, frozen=True)
class Origin:
    """Evidence of the session that a command was sent on or answered on.

    Attributes:
        peer: the device's end of the connection, ``HOST:PORT``.
        auth: how the device has proved who it is: ``plain``, ``tls``, or ``cert:`` and the SHA-256 of its
            certificate in DER.
        age_ms: since the connection was accepted.
    """

    peer: str
    auth: str
    age_ms: int


@quick
@dataclass(slots=True, frozen=True)
class CommandEvent:
    """One transition of one command.

    ``response`` is the answer of the device if it is printable ASCII; else ``response_hex``. ``rtt_ms`` is
    the time from the write to the answer. With an answer, ``attribution`` says whether it certainly belongs
    to this command. ``peer``, ``auth`` and ``session_age_ms`` are the `Origin` of the session, in ``sent``
    and with an answer. ``recovered`` marks an event that was written although the ledger was lost. ``echo``
    holds fields of the producer (`fsm.outbound.ECHOED`), which every event repeats. ``verb`` is the first
    word of the text, if it is a known one (`fsm.verbs`).
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
    peer: str = ""
    auth: str = ""
    session_age_ms: int | None = None
    recovered: bool = False
    echo: tuple[tuple[str, str], ...] = ()
    verb: str = ""


@quick
@dataclass(slots=True, frozen=True)
class Note:
    """A note, about a command or about none, which changes no state; ``note`` is its name.

    ``peer`` and ``auth`` are those of the `Origin`, in notes about take-overs.
    """

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
    peer: str = ""
    auth: str = ""
    echo: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True, frozen=True)
class SessionEvent:
    """One transition of one session. ``peer`` is the address of the device, ``auth`` as in `Origin`."""

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
    auth: str = ""
