"""Checks the configuration and the state of a Redis server. What it refuses to tell is a finding, too."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from redis.asyncio import Redis

from store.client.errors import StoreRefused, is_transient
from store.diagnosis.server_facts import Server, ask, text_of

Level = Literal["ok", "warning", "critical"]
OK: Level = "ok"
WARNING: Level = "warning"
CRITICAL: Level = "critical"
LEVELS = (OK, WARNING, CRITICAL)
"""From good to bad."""

LEAST_VERSION = (6, 2)
MOST_SKEW_MS = 2000
ALARM = 0.9
MEMORY_ALARM = 0.7
"""The share of maxmemory above which memory is a finding; see also `store.streams.caps`."""
EXAMPLES = 3
PERMISSIONS = "permissions"
"""The subject of a finding about a refused INFO or CONFIG; a warning if only CONFIG is refused."""

REPLICAS, CLIENTS = MAY_BE_UNTOLD = ("replicas", "clients")
"""The subjects for which a server may have no values."""

Result = TypeVar("Result")
Counts = Mapping[str, int]


@dataclass(slots=True, frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        level: ``ok``; ``warning``: it works, but not well, or not for long; ``critical``: a promise of the
            gateway does not hold.
        subject: what was checked.
        found: what was found.
        mend: what to do about it; empty if nothing.
        counts: the numbers of `found` by name, for programs. A name with a colon is of one group or gateway.
    """

    level: Level
    subject: str
    found: str
    mend: str = ""
    counts: Counts = field(default_factory=dict)


def examples(names: Collection[str]) -> str:
    """Some of `names`, and the number of the others."""
    shown = ", ".join(list(names)[:EXAMPLES])
    return f"{shown} and {len(names) - EXAMPLES} more" if len(names) > EXAMPLES else shown


class Report:
    """Findings in the order in which they were made."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def add(
        self, level: Level, subject: str, found: str, mend: str = "", counts: Counts | None = None
    ) -> None:
        """Append a finding. For ``ok`` no `mend` is needed."""
        self.findings.append(Finding(level, subject, found, "" if level == OK else mend, counts or {}))

    async def attempt(self, subject: str, work: Awaitable[Result], otherwise: Result) -> Result:
        """The result of `work`. If the server refuses it, add a finding about `subject` and return
        `otherwise`.

        Raises:
            StoreError: the server cannot be reached, or refuses all calls now.
        """
        try:
            return await work
        except StoreRefused as error:
            if is_transient(error):
                raise
            self.findings.append(_refused(subject, error))
            return otherwise


def _refused(subject: str, error: StoreRefused) -> Finding:
    if "WRONGTYPE" in str(error):
        mend = "Find out who wrote it, then rename or delete it: the gateway cannot use it."
        return Finding(CRITICAL, subject, "The key, or a key that belongs to it, has a wrong type.", mend)
    mend = "Allow this user to read it, or run the check as a user who may."
    return Finding(WARNING, subject, f"Could not be read: {error}", mend)


async def diagnose_server(client: Redis, host_ms: Callable[[], int]) -> list[Finding]:
    """Check a server.

    Args:
        host_ms: epoch ms by the clock of this host.

    Raises:
        StoreError: the server cannot be reached, or refuses all calls now.
    """
    return evaluate(await ask(client, host_ms))


def evaluate(server: Server) -> list[Finding]:
    """The findings about `server`, and about what it did not report."""
    looks = {subject: look(server) for subject, look in _LOOKS.items()}
    findings = [finding for finding in looks.values() if finding]
    if server.refused:
        unseen = [
            subject for subject, seen in looks.items() if not seen and subject not in (REPLICAS, CLIENTS)
        ]
        findings.append(_unseen(server.refused, unseen))
    return findings


def _unseen(refused: tuple[str, ...], subjects: list[str]) -> Finding:
    found = f"{' and '.join(refused)} refused"
    found += f"; not checked: {', '.join(subjects)}." if subjects else "."
    if "INFO" in refused:
        mend = "Allow +info: without it gateways do not detect dead instances."
        return Finding(CRITICAL, PERMISSIONS, found, mend)
    mend = "Check once as an administrator; gateways do not need it."
    return Finding(WARNING, PERMISSIONS, found, mend)


def _version(server: Server) -> Finding | None:
    match = re.match(r"(\d+)\.(\d+)", text_of(server.info.get("redis_version", "")))
    if match is None:
        return None
    found = f"Redis {server.info['redis_version']}"
    if "valkey_version" in server.info:
        found = f"Valkey {server.info['valkey_version']}, compatible with {found}"
    if (int(match[1]), int(match[2])) >= LEAST_VERSION:
        return Finding(OK, "version", found)
    return Finding(CRITICAL, "version", found, "Install Redis 6.2 or later, or Valkey.")


def _role(server: Server) -> Finding | None:
    role = server.info.get("role")
    if role is None:
        return None
    if role == "master":
        return Finding(OK, "role", "accepts writes")
    return Finding(CRITICAL, "role", f"{role}: it accepts no writes", "Name the primary with --redis.")


def _replicas(server: Server) -> Finding | None:
    """Check the replicas. INFO has the number of good ones only if writes depend on it."""
    count, good = int(server.info.get("connected_slaves", 0)), server.info.get("min_slaves_good_slaves")
    if good is not None:
        needed, found = int(server.config.get("min-replicas-to-write", 1)), f"{count}, {good} in sync"
        counts = {"replicas": count, "in_sync": int(good), "needed": needed}
        if int(good) >= needed:
            return Finding(OK, REPLICAS, f"{found}; with too few, writes are refused", counts=counts)
        mend = "Repair the replicas, or lower min-replicas-to-write: until then nothing is acknowledged."
        return Finding(CRITICAL, REPLICAS, f"{found}, fewer than {needed}: writes are refused", mend, counts)
    if not count or server.info.get("role") != "master":
        return None
    found = f"{count}, and no write needs one: a failover may lose acknowledged records"
    mend = "Set min-replicas-to-write 1 and min-replicas-max-lag 2 on every server that may become primary."
    return Finding(WARNING, REPLICAS, found, mend, {"replicas": count})


def _appendonly(server: Server) -> Finding | None:
    kept = server.info.get("aof_enabled", server.config.get("appendonly"))
    if kept is None:
        return None
    if kept in (0, "no"):
        mend = "Set appendonly yes, also in the configuration file of the server."
        return Finding(CRITICAL, "appendonly", "no: a restart loses which commands were sent", mend)
    if server.info.get("aof_last_write_status", "ok") == "ok":
        return Finding(OK, "appendonly", "yes")
    return Finding(CRITICAL, "appendonly", "The last write to disk failed.", "Check the disk of the server.")


def _appendfsync(server: Server) -> Finding | None:
    match server.config.get("appendfsync"):
        case None:
            return None
        case "always":
            return Finding(OK, "appendfsync", "always")
        case "everysec":
            return Finding(OK, "appendfsync", "everysec: a power loss loses the last second")
        case other:
            found = f"{other}: a power loss may lose half a minute"
            return Finding(WARNING, "appendfsync", found, "Set appendfsync everysec, or always.")


def _snapshots(server: Server) -> Finding | None:
    status = server.info.get("rdb_last_bgsave_status")
    if status is None:
        return None
    if status == "ok":
        return Finding(OK, "snapshots", "ok")
    mend = "Read the log of the server: by default it refuses writes after this."
    return Finding(WARNING, "snapshots", "The last one failed.", mend)


def _policy(server: Server) -> Finding | None:
    policy = server.info.get("maxmemory_policy") or server.config.get("maxmemory-policy")
    if policy is None:
        return None
    if policy == "noeviction":
        return Finding(OK, "maxmemory-policy", "noeviction")
    mend = "Set maxmemory-policy noeviction: writes then fail, and devices keep their records."
    if _limit(server):
        return Finding(CRITICAL, "maxmemory-policy", f"{policy}: ledgers and streams may be dropped", mend)
    return Finding(WARNING, "maxmemory-policy", f"{policy}, harmless only while maxmemory is 0", mend)


def _limit(server: Server) -> int:
    return int(server.info.get("maxmemory") or server.config.get("maxmemory") or 0)


def _memory(server: Server) -> Finding | None:
    if "used_memory" not in server.info:
        return None
    used, limit = int(server.info["used_memory"]), _limit(server)
    if not limit:
        found = f"{used / 2**20:.0f} MiB used, no limit set"
        return Finding(OK, "memory", found, counts={"used_bytes": used})
    level = CRITICAL if used >= limit else WARNING if used > limit * MEMORY_ALARM else OK
    mend = "Raise maxmemory, or keep less: above 80 % telemetry is trimmed, read or not (docs/operations.md)."
    found = f"{used / 2**20:.0f} of {limit / 2**20:.0f} MiB used"
    counts = {"used_bytes": used, "limit_bytes": limit}
    return Finding(level, "memory", found, mend * (level != OK), counts)


def _clients(server: Server) -> Finding | None:
    if "maxclients" not in server.info:
        return None
    count, most = int(server.info["connected_clients"]), int(server.info["maxclients"])
    level, mend = (WARNING, "Raise maxclients.") if count > most * ALARM else (OK, "")
    counts = {"connections": count, "limit": most}
    return Finding(level, CLIENTS, f"{count} connections of {most}", mend, counts)


def _clock(server: Server) -> Finding | None:
    if server.skew_ms is None:
        return None
    ahead, seconds = server.skew_ms > 0, abs(server.skew_ms) / 1000
    counts = {"ahead_ms": server.skew_ms}
    if abs(server.skew_ms) <= MOST_SKEW_MS:
        return Finding(OK, "clock", f"within {seconds:.1f} s of the clock of this host", counts=counts)
    found = f"{seconds:.1f} s {'ahead of' if ahead else 'behind'} the clock of this host"
    mend = "Use NTP on both: commands expire by the clock of the server."
    return Finding(WARNING, "clock", found, mend, counts)


_LOOKS: dict[str, Callable[[Server], Finding | None]] = {
    "version": _version,
    "role": _role,
    REPLICAS: _replicas,
    "appendonly": _appendonly,
    "appendfsync": _appendfsync,
    "snapshots": _snapshots,
    "maxmemory-policy": _policy,
    "memory": _memory,
    CLIENTS: _clients,
    "clock": _clock,
}
