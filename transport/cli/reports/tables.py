"""The tables of a report."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from store.fleet.overview import Overview

from ..times import Times, duration
from .facts import WORST, Facts
from .markup import Child, named, table
from .words import share, time_of

MIB = 1024 * 1024
OUTAGES = 15
"""Outages that are listed."""
GATEWAYS = 30
"""Gateways and groups that are listed."""
LATE = (0.5, 0.95, 0.99)
UNTOLD = "not told"
"""Stands for what the user of Redis may not ask for."""


def endings(facts: Facts) -> Element:
    """How many commands ended with which state, reason and delivery."""
    tally = facts.tally
    rows = (
        (state, reason, f"{count:,}", share(count, tally.ended), named(delivery))
        for (state, reason, delivery), count in tally.endings.most_common()
    )
    return table(("state", "reason", "commands", "share", "delivery"), rows, frozenset({2, 3}))


def gateways(facts: Facts) -> Element:
    """Each gateway that is known or has written to the log."""
    tally = facts.tally
    now = {one.instance_id: one for one in facts.overview.instances}

    def row(name: str) -> Iterator[Child]:
        one, answers, waits = now.get(name), tally.by_gateway.get(name), tally.waits.get(name)
        age = None if one is None else one.heartbeat_age_ms
        yield named(name) or "unknown"
        yield "none" if age is None else f"{duration(age)} ago"
        yield "" if one is None else f"{one.waiting:,}"
        yield f"{answers.count:,}" if answers else "0"
        yield from (time_of(ms) for ms in answers.quantiles(LATE)) if answers else ("", "", "")
        yield time_of(waits.quantiles((0.95,))[0]) if waits else ""

    headings = (
        "gateway",
        "heartbeat",
        "in flight",
        "answers",
        "50 % in",
        "95 % in",
        "99 % in",
        "95 % written in",
    )
    names = sorted({*now, *tally.by_gateway, *tally.waits})[:GATEWAYS]
    return table(headings, map(row, names), frozenset(range(2, 8)))


def server(facts: Facts) -> Element:
    """The server, and what waits in its streams."""
    found = facts.overview.server
    limit = f" of {found.memory_limit / MIB:,.0f} MiB" if found.memory_limit else ""
    rows = [
        ("version", named(found.version or UNTOLD)),
        ("memory", UNTOLD if found.memory is None else f"{found.memory / MIB:,.0f} MiB{limit}"),
        ("clients", UNTOLD if found.clients is None else f"{found.clients:,}"),
        ("calls a second", UNTOLD if found.calls is None else f"{found.calls:,}"),
        ("dead letters", f"{facts.dead_letters:,}"),
        ("devices with parked commands", f"{facts.parked:,}"),
    ]
    return table(("Redis", "now"), rows, frozenset({1}))


def consumers(overview: Overview) -> Element:
    """How far the consumers are."""
    rows = (
        (
            *(named(one.stream), named(one.group)),
            *("unknown" if one.lag is None else f"{one.lag:,}", f"{one.pending:,}"),
        )
        for one in overview.consumers[:GATEWAYS]
    )
    return table(("stream", "group", "not read", "not acked"), rows, frozenset({2, 3}))


def notes(facts: Facts) -> Element:
    """How many notes there were."""
    rows = ((name, f"{count:,}") for name, count in sorted(facts.tally.notes.items()))
    return table(("note", "times"), rows, frozenset({1}))


def outages(facts: Facts, times: Times) -> Element:
    """The longest outages."""
    rows = (
        (
            *(named(one.who), one.what, times.show(one.since_ms)),
            times.show(one.until_ms) if one.over else "still away",
            duration(one.until_ms - one.since_ms),
        )
        for one in facts.outages[:OUTAGES]
    )
    return table(("who", "what", "from", "to", "for at most"), rows, frozenset({4}))


def worst(facts: Facts) -> Element:
    """The devices with the most trouble."""
    rows = (
        (
            *(named(imei), f"{one.ended:,}", f"{one.failed:,}", f"{one.timeouts:,}", f"{one.disconnects:,}"),
            ", ".join(f"{reason} {count:,}" for reason, count in one.reasons.most_common(3)),
        )
        for imei, one in facts.tally.worst(WORST)
    )
    headings = ("IMEI", "commands", "failed", "timeouts", "connections lost", "most often")
    return table(headings, rows, frozenset({1, 2, 3, 4}))
