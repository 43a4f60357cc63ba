"""All mechanisms that are taken out, in the order of the promises."""

from __future__ import annotations

from tests.mutation.mechanism import PROMISES, Mechanism
from tests.mutation.table import (
    answers,
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
)

AREAS = (
    *(rules, entries),
    *(moves, trace, ledger, reader),
    *(lanes, answers, flights, commands, intake, followers),
    *(registry, leftovers, janitor, estate, lost, places, daemon),
    *(telemetry, trimming, connections, flow, framing, security),
)
MECHANISMS: tuple[Mechanism, ...] = tuple(
    sorted(
        (mechanism for area in AREAS for mechanism in area.MECHANISMS),
        key=lambda mechanism: list(PROMISES).index(mechanism.promise),
    )
)
