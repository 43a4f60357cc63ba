"""What a cancel does to a command that is known by its ledger alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fsm.command import Command, Entry, decide
from fsm.errors import IllegalTransition, UnknownState, WrongReason
from fsm.events import CommandEvent
from fsm.outbound import CancelRequest
from fsm.reasons import CANCELLED


@dataclass(slots=True, frozen=True)
class Cancelled:
    """The command is cancelled by `event`, if `held`, its own entry, is still where the ledger said."""

    event: CommandEvent
    held: Entry


def decide_cancel(request: CancelRequest, ledger: Mapping[str, str]) -> Cancelled | str:
    """The event that cancels the command, or why there is none: it is ``unknown``, ``sent`` or ``terminal``.

    Args:
        ledger: the command's ledger; empty when there is none.

    Raises:
        KeyError, ValueError: the ledger lacks a field or holds nonsense in one.
    """
    if not ledger:
        return "unknown"
    held = Entry(ledger["instance_id"], ledger["outbound_id"])
    command = Command(request.command_id, ledger["state"], int(ledger["seq"]))
    try:
        event = decide(command, "fail", reason=CANCELLED, entry=held)
    except WrongReason:
        return "sent"
    except (IllegalTransition, UnknownState):  # a state of another version cannot be cancelled here
        return "terminal"
    imei, codec = ledger.get("imei", ""), ledger.get("codec", "")
    return Cancelled(replace(event, imei=imei, codec=codec, echo=request.echo), held)
