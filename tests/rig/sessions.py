"""Which session of the log was which connection of a tracker."""

from __future__ import annotations

from collections import defaultdict

from tests.rig.memory import Log
from tests.rig.tracker import Tracker


def session_names(responses: Log, trackers: list[Tracker]) -> dict[str, str]:
    """Name of a connection -> id of its session, as the log tells it by the peer's address."""
    begun = defaultdict(list)
    for entry, fields in responses:
        if fields["kind"] == "session" and fields["state"] == "identified":
            moment = (int(entry.partition("-")[0]), fields["session_id"])
            begun[fields["imei"], fields["peer"]].append(moment)
    names = {}
    for tracker in trackers:
        for line in reversed(tracker.lines):  # a port may be used again, long after
            found = begun[tracker.imei, line.peer]
            after = [(at, session) for at, session in found if at >= line.opened - 1000]
            begun[tracker.imei, line.peer] = [moment for moment in found if moment not in after]
            if after:
                names[line.name] = min(after)[1]
    return names
