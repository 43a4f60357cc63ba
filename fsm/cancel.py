"""What a cancel does to a command that is known by its ledger alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fsm.command import Command, Entry, decide
from fsm.errors import UnknownState
from fsm.events import CommandEvent
from fsm.outbound import ECHOED, CancelRequest
from fsm.policies import Fire, Reject, policy_for


@dataclass(slots=True, frozen=True)
class Cancelled:
    """The command is cancelled by `event`, if `held`, its own entry, is still where the ledger said."""

    event: CommandEvent
    held: Entry


def cancel_policy(stage: str) -> Fire | Reject:
    """What a cancel does to a command at `stage`. A state of another version cannot be cancelled."""
    try:
        policy = policy_for("cancel", stage)
    except UnknownState:
        return Reject("terminal")
    assert isinstance(policy, Fire | Reject)
    return policy


def located(ledger: Mapping[str, str]) -> Entry:
    """The entry of the command with this ledger: on the stream of an instance, or of its device if parked.

    Raises:
        KeyError: the ledger lacks a field.
    """
    instance_id = ledger["instance_id"]
    return Entry(instance_id, ledger["outbound_id"], "" if instance_id else ledger["imei"])


def decide_cancel(request: CancelRequest, ledger: Mapping[str, str]) -> Cancelled | str:
    """The event that cancels the command, or why there is none: it is ``unknown``, ``sent`` or ``terminal``.

    Args:
        ledger: the command's ledger, with the fields of its producer if they are known; empty when there is
            none.

    Raises:
        KeyError, ValueError: the ledger lacks a field or holds nonsense in one.
    """
    if not ledger:
        return "unknown"
    held = located(ledger)
    command = Command(request.command_id, ledger["state"], int(ledger["seq"]))
    policy = cancel_policy(command.state)
    if isinstance(policy, Reject):
        return policy.detail
    event = decide(command, policy.trigger, reason=policy.reason, entry=held)
    imei, codec = ledger.get("imei", ""), ledger.get("codec", "")
    said = tuple((name, ledger[name]) for name in ECHOED if ledger.get(name))
    return Cancelled(replace(event, imei=imei, codec=codec, echo=said or request.echo), held)
