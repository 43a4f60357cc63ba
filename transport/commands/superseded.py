"""Another instance says that it has taken over a device."""

from __future__ import annotations

from fsm.moves import Discard
from fsm.outbound import SupersededHint
from transport.commands.device_queues import DeviceQueues
from transport.commands.effects import Effects, Recheck
from transport.commands.in_flight_command import ignore


def look_again(hint: SupersededHint, queues: DeviceQueues, effects: Effects) -> None:
    """Have the registry asked about the session that the hint names, and remove the entry.

    Any producer could write such an entry, so the registry decides.
    """
    link = queues.link_of(hint.imei)
    if link is not None and link.session_id == hint.session_id:
        effects.add(Recheck(link))
    effects.submit(Discard(hint.entry, ignore))
