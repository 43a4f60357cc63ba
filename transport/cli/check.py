"""``telgw check``: whether Redis, the gateways on it and this host are configured correctly."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterable
from dataclasses import asdict

import click
from rich.table import Table
from rich.text import Text

from fsm.outbound import Limits
from store.diagnosis.fleet import Bounds, diagnose_fleet
from store.diagnosis.log import diagnose_log
from store.diagnosis.password import diagnose_password
from store.diagnosis.server import CRITICAL, LEVELS, OK, WARNING, Finding, diagnose_server
from store.diagnosis.shards import ShardServers
from store.keys import Keys
from transport.clock import Clock
from transport.connection.tcp import RESERVED_DESCRIPTORS
from transport.daemon.presence import is_gone

from . import render
from .cap_options import with_caps
from .event_loop import complete
from .options import setting
from .parameters import Duration, StreamName
from .stream_options import Where, with_streams
from .streams import servers, url

STATUS = {OK: 0, WARNING: 1, CRITICAL: 3}
STYLES = {OK: "green", WARNING: "yellow", CRITICAL: "bold red"}
LONGEST = 400
"""Characters of a cell at most."""

POSITIVE = click.IntRange(min=1)


@click.command(short_help="Check Redis, the gateways on it and this host.")
@click.option("--replay", is_flag=True, help="Fold the whole log and compare it with the ledgers.")
@click.option("--json", "raw", is_flag=True, help="One JSON object per finding.")
@click.option(
    "--connections",
    type=POSITIVE,
    default=10_000,
    show_default=True,
    help="Devices that this host must be able to hold.",
)
@with_caps
@setting("Redis", "--session-events", StreamName(), "As set for the gateways.")
@setting("Commands", "--command-ttl", Duration(1.0, 86400), "As set for the gateways.")
@setting("Commands", "--response-timeout", Duration(0.1, 3600), "As set for the gateways.")
@with_streams
def command(
    where: Where,
    replay: bool,
    raw: bool,
    connections: int,
    session_events: str,
    command_ttl: float,
    response_timeout: float,
    **caps: int,
) -> int:
    """Check the settings of Redis, every gateway known there, its streams, and the limits of this host.

    Nothing is changed. Exit status: 0 no problem found; 1 warnings; 2 wrong use, or Redis cannot be reached;
    3 critical: a promise of the gateway does not hold.
    """
    limits = Limits(command_ttl=command_ttl, response_timeout=response_timeout)
    sessions = f"{where.key_prefix}{session_events}"
    apart = session_events != "off" and sessions != Keys(where.key_prefix).responses
    bounds = Bounds(session_events=sessions if apart else "", limits=limits, **caps)
    return complete(_check(where, bounds, connections, replay, raw))


async def _check(where: Where, bounds: Bounds, connections: int, replay: bool, raw: bool) -> int:
    keys = Keys(where.key_prefix)
    async with servers(where, "check") as (client, client_of):
        clock = Clock()
        findings = await diagnose_server(client, clock.now_ms)
        findings += await diagnose_password(url(where), keys)
        shard_servers = ShardServers(client_of, clock.now_ms if client_of.several else None)
        findings += await diagnose_fleet(client, keys, bounds, shard_servers, is_gone, clock.now_ms)
        if replay:
            findings += await diagnose_log(client, keys)
    findings.append(descriptors(*resource.getrlimit(resource.RLIMIT_NOFILE), connections))
    findings = by_subject(findings)
    _show(findings, raw)
    return status(findings)


def descriptors(soft: int, hard: int, connections: int) -> Finding:
    """Whether a gateway started here can hold so many connections; it raises the soft limit itself."""
    found = f"{_limit(soft)} open files, and up to {_limit(hard)} on request"
    most = soft if hard == resource.RLIM_INFINITY else hard
    needed = connections + RESERVED_DESCRIPTORS
    limits = {"soft": soft, "hard": hard, "needed": needed}
    counts = {name: number for name, number in limits.items() if number != resource.RLIM_INFINITY}
    if most == resource.RLIM_INFINITY or most >= needed:
        return Finding(OK, "nofile", found, counts=counts)
    mend = (
        f"Allow {needed} for {connections} connections: ulimit -n, LimitNOFILE=, or ulimits of the container."
    )
    return Finding(WARNING, "nofile", found, mend, counts)


def _limit(number: int) -> str:
    return "unlimited" if number == resource.RLIM_INFINITY else str(number)


def by_subject(findings: Iterable[Finding]) -> list[Finding]:
    """One finding about each subject, which is as bad as the worst."""
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        found.setdefault(finding.subject, []).append(finding)
    return [
        Finding(
            max((one.level for one in same), key=STATUS.__getitem__),
            subject,
            "; ".join(one.found for one in same),
            " ".join(one.mend for one in same if one.mend),
            dict(pair for one in same for pair in one.counts.items()),
        )
        for subject, same in found.items()
    ]


def status(findings: list[Finding]) -> int:
    """The exit status of the worst finding."""
    return max((STATUS[finding.level] for finding in findings), default=0)


def _show(findings: list[Finding], raw: bool) -> None:
    if raw:
        for finding in findings:
            click.echo(json.dumps(asdict(finding)))
        return
    console = render.Output()
    console.print(table(findings))
    counts = [(sum(finding.level == level for finding in findings), level) for level in LEVELS]
    console.print(", ".join(f"{count} {level}" for count, level in counts))


def table(findings: list[Finding]) -> Table:
    """The findings, one in each row."""
    shown = Table(title="telgw check", title_justify="left")
    shown.add_column("", no_wrap=True)
    to_do = any(finding.mend for finding in findings)
    for heading in ("what", "found", *(("what to do",) if to_do else ())):
        shown.add_column(heading, overflow="fold")
    for finding in findings:
        words = (finding.subject, finding.found, *((finding.mend,) if to_do else ()))
        cells = [Text(render.printable(word, LONGEST)) for word in words]
        shown.add_row(Text(finding.level, STYLES[finding.level]), *cells)
    return shown
