"""All mechanisms that are taken out, in the order of the promises."""

from __future__ import annotations

from tests.mutation.mechanism import PROMISES, Mechanism
from tests.mutation.table import (
    answers,
    books,
    commands,
    connections,
    daemon,
    entries,
    estate,
    flights,
    flow,
    followers,
    framing,
    intake,
    janitor,
    lanes,
    ledger,
    leftovers,
    lost,
    moves,
    places,
    reader,
    registry,
    rules,
    security,
    telemetry,
    trace,
    trimming,
    turns,
    wiring,
)

AREAS = (
    *(rules, entries),
    *(moves, trace, ledger, reader),
    *(lanes, turns, answers, flights, commands, intake, followers),
    *(registry, leftovers, janitor, estate, lost, places, daemon, wiring),
    *(telemetry, trimming, connections, books, flow, framing, security),
)
MECHANISMS: tuple[Mechanism, ...] = tuple(
    sorted(
        (mechanism for area in AREAS for mechanism in area.MECHANISMS),
        key=lambda mechanism: list(PROMISES).index(mechanism.promise),
    )
)
