"""All mechanisms that are taken out, in the order of the promises."""

from __future__ import annotations

from tests.mutation.mechanism import PROMISES, Mechanism
from tests.mutation.table import (
    adoption,
    answers,
    commands,
    connections,
    consumer,
    daemon,
    dead_letters,
    device_queue,
    device_status,
    entries,
    flow,
    followers,
    framing,
    in_flight,
    janitor,
    ledger,
    lost,
    moves,
    parked,
    places,
    reader,
    registry,
    rules,
    security,
    session_share,
    sessions,
    shards,
    stale_registrations,
    tap,
    telemetry,
    trace,
    trimming,
    turns,
    wiring,
)

AREAS = (
    *(rules, entries),
    *(moves, trace, ledger, reader, dead_letters),
    *(device_queue, turns, answers, in_flight, commands, consumer, followers),
    *(registry, device_status, stale_registrations, janitor, adoption, parked, lost, places, daemon, wiring),
    *(telemetry, shards, trimming, connections, sessions, session_share, flow, framing, tap, security),
)
MECHANISMS: tuple[Mechanism, ...] = tuple(
    sorted(
        (mechanism for area in AREAS for mechanism in area.MECHANISMS),
        key=lambda mechanism: list(PROMISES).index(mechanism.promise),
    )
)
