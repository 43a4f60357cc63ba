"""Events that have to be published again, because Redis lost them after it had confirmed them."""

from __future__ import annotations

from dataclasses import replace

from fsm.command import NEW, QUEUED, SENT, Command, CommandRequest, decide, evolve
from fsm.events import CommandEvent


def restore_lost_events(verdict: CommandEvent, found: Command, request: CommandRequest) -> list[CommandEvent]:
    """The events from the state in the ledger to the terminal event that was published; empty if there are
    none.

    Args:
        verdict: the terminal event that was published.
        found: the command as the ledger has it; ``new`` if there is no ledger.
        request: the entry that was read again; it may be another one than that of `verdict`.
    """
    events = []
    if found.state == NEW and verdict.prev:
        events.append(decide(found, "accept", request=request, codec=verdict.codec))
        found = evolve(found, events[-1])
    if found.state == QUEUED and verdict.prev == SENT:
        sent = decide(found, "send", request=request, session_id=verdict.session_id, codec=verdict.codec)
        events.append(sent)
        found = evolve(found, events[-1])
    if found.state != (verdict.prev or NEW):
        return []
    here = replace(verdict, instance_id=request.instance_id, outbound_id=request.outbound_id)
    return [*events, replace(here, seq=found.seq + 1, recovered=True)]
