"""What has to be told a second time, because Redis lost what it had confirmed."""

from __future__ import annotations

from dataclasses import replace

from fsm.command import NEW, QUEUED, SENT, Command, CommandRequest, decide, evolve
from fsm.events import CommandEvent


def restore_lost_events(verdict: CommandEvent, found: Command, request: CommandRequest) -> list[CommandEvent]:
    """The events that lead from what the ledger holds to the verdict that was given; empty if none do.

    Args:
        found: the command as the ledger has it; ``new`` when it has nothing.
        request: the entry that came again, which need not be the one that `verdict` was given to.
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
