"""Numbers in words: what is worth a look, durations, shares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from ..times import duration
from .facts import Facts
from .markup import named

Kind = Literal["good", "warning", "bad"]
BAD_SHARE = 0.1
"""The share of commands that failed or timed out from which it is bad."""
NAMES = 5
"""Gateways that a sentence names."""


def findings(facts: Facts) -> Iterator[tuple[Kind, str]]:
    """What is worth a look: how bad it is, and a sentence."""
    yield _of_commands(facts)
    yield from _of_outages(facts)
    for one in facts.overview.consumers:
        if one.lag:
            yield (
                "warning",
                f"The group {named(one.group)} has not read {one.lag:,} entries of {named(one.stream)}.",
            )
    if count := facts.dead_letters:
        entries = "is 1 dead letter" if count == 1 else f"are {count:,} dead letters"
        yield "warning", f"There {entries}: telgw dead-letters shows why."


def _of_commands(facts: Facts) -> tuple[Kind, str]:
    tally = facts.tally
    lost = tally.of("failed") + tally.of("timeout")
    if not tally.ended:
        return "warning", "No command has ended in this time."
    if not lost:
        return "good", f"All {tally.ended:,} commands were answered or delivered."
    counts = {reason: sum(values) for reason, values in tally.reasons.items()}
    reason = max(counts, key=lambda name: (counts[name], name), default="")
    most = f", most often as {reason} ({counts[reason]:,})" if reason else ""
    kind: Kind = "bad" if lost > BAD_SHARE * tally.ended else "warning"
    return kind, f"{lost:,} of {tally.ended:,} commands failed or timed out{most}."


def _of_outages(facts: Facts) -> Iterator[tuple[Kind, str]]:
    if going_on := [named(one.who) for one in facts.outages if not one.over]:
        yield "bad", f"Away now: {', '.join(going_on[:NAMES])}{' and others' * (len(going_on) > NAMES)}."
    for redis in (True, False):
        spans = [one.until_ms - one.since_ms for one in facts.outages if one.of_redis is redis]
        if spans:
            who = "Redis was" if redis else "A gateway was"
            often = "once, for" if len(spans) == 1 else f"{len(spans):,} times, the longest time for"
            yield "warning", f"{who} away {often} {duration(max(spans))}."
    if not facts.outages:
        yield "good", "The log tells of no outage of Redis or of a gateway."


def shown_of(count: int, most: int) -> str:
    """A sentence that a table is not complete; empty if it is."""
    return f"{most} of {count:,} are shown." if count > most else ""


def share(count: int, of: int) -> str:
    """Per cent; empty if there is nothing to have a share of."""
    return f"{count / of:.1%}" if of else ""


def time_of(ms: int) -> str:
    """A duration as ``850 ms`` or ``1.5 s``."""
    return f"{ms:,} ms" if ms < 1000 else f"{ms / 1000:,.1f} s"
