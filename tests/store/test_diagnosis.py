"""What a look at Redis finds, and what it makes of it, on an imitation of Redis."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from fsm.command import Command, CommandRequest, decide, evolve
from fsm.events import CommandEvent
from fsm.outbound import Limits
from store.client.errors import CallFailed, StoreRefused
from store.diagnosis import log as audit_module
from store.diagnosis import overdue
from store.diagnosis.fleet import Bounds, diagnose_fleet
from store.diagnosis.log import diagnose_log
from store.diagnosis.server import CRITICAL, OK, WARNING, Finding, diagnose_server, evaluate
from store.diagnosis.server_facts import Server, ask
from store.keys import GROUP, Keys
from store.streams.events import command_fields

KEYS = Keys("{fleet}:")
IMEI = "356307042441013"
HOUR = 3_600_000

GOOD_INFO: Mapping[str, Any] = {
    "redis_version": "7.0.15",
    "role": "master",
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "rdb_last_bgsave_status": "ok",
    "maxmemory_policy": "noeviction",
    "maxmemory": 0,
    "used_memory": 2**20,
}
GOOD_CONFIG = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "maxmemory-policy": "noeviction",
    "maxmemory": "0",
}


NUMBER = re.compile(r"(?<![\w.:'/(-])\d+(?:\.\d+)?(?![\w:/%-]|\.\d)")
WITHOUT = re.compile(r"version|maxmemory-policy|certificate of .*|client CA of .*|instance .*")
"""Subjects with numbers that are no counts: versions, settings, dates, and process ids."""


def uncounted(finding: Finding) -> set[str]:
    """The numbers of the prose that are no fields, in the unit of the prose."""
    counts = [abs(count) for count in finding.counts.values()]
    told = {text for n in counts for text in (f"{n}", f"{n / 1000:.1f}", f"{n / 2**20:.0f}")}
    if WITHOUT.fullmatch(finding.subject):
        return set()
    prose = finding.found.partition(": ")[0] if finding.subject.startswith("replay: ") else finding.found
    return {number for number in NUMBER.findall(prose) if len(number) < len(IMEI)} - told


def bad(findings: list[Finding]) -> dict[str, str]:
    """What is not right, and how bad it is; every such finding says what to do."""
    assert [(one.subject, one.found) for one in findings if uncounted(one)] == []
    assert all(finding.mend for finding in findings if finding.level != OK)
    assert all(finding.found and not finding.mend for finding in findings if finding.level == OK)
    return {finding.subject: finding.level for finding in findings if finding.level != OK}


def about(findings: list[Finding], subject: str) -> str:
    return " | ".join(finding.found for finding in findings if finding.subject == subject)


# The server


def test_a_server_as_the_readme_wants_it_is_right() -> None:
    findings = evaluate(Server(GOOD_INFO, GOOD_CONFIG))
    assert bad(findings) == {}
    assert [finding.subject for finding in findings] == [
        *("version", "role", "appendonly", "appendfsync", "snapshots", "maxmemory-policy", "memory", "clock")
    ]


@pytest.mark.parametrize(
    ("info", "config", "expected"),
    [
        ({"redis_version": "6.2.0"}, {}, {}),
        ({"redis_version": "6.0.16"}, {}, {"version": CRITICAL}),
        ({"redis_version": "10.0"}, {}, {}),
        ({"role": "slave"}, {}, {"role": CRITICAL}),
        ({"role": "slave", "connected_slaves": 1}, {}, {"role": CRITICAL}),
        ({"connected_slaves": 1}, {}, {"replicas": WARNING}),
        ({"connected_slaves": 1, "min_slaves_good_slaves": 1}, {}, {}),
        ({"connected_slaves": 0, "min_slaves_good_slaves": 0}, {}, {"replicas": CRITICAL}),
        ({"connected_slaves": 2, "min_slaves_good_slaves": 1}, {"min-replicas-to-write": "1"}, {}),
        (
            {"connected_slaves": 2, "min_slaves_good_slaves": 1},
            {"min-replicas-to-write": "2"},
            {"replicas": CRITICAL},
        ),
        ({"connected_clients": 90, "maxclients": 100}, {}, {}),
        ({"connected_clients": 91, "maxclients": 100}, {}, {"clients": WARNING}),
        ({"aof_enabled": 0}, {}, {"appendonly": CRITICAL}),
        ({"aof_last_write_status": "err"}, {}, {"appendonly": CRITICAL}),
        ({}, {"appendfsync": "always"}, {}),
        ({}, {"appendfsync": "no"}, {"appendfsync": WARNING}),
        ({"rdb_last_bgsave_status": "err"}, {}, {"snapshots": WARNING}),
        ({"maxmemory_policy": "allkeys-lru"}, {}, {"maxmemory-policy": WARNING}),
        ({"maxmemory_policy": "volatile-ttl", "maxmemory": 2**30}, {}, {"maxmemory-policy": CRITICAL}),
        ({"maxmemory": 2**30}, {}, {}),
        ({"maxmemory": 2**20 + 1}, {}, {"memory": WARNING}),
        ({"maxmemory": 2**20}, {}, {"memory": CRITICAL}),
    ],
)
def test_each_wrong_setting_is_found(
    info: dict[str, Any], config: dict[str, str], expected: dict[str, str]
) -> None:
    assert bad(evaluate(Server({**GOOD_INFO, **info}, {**GOOD_CONFIG, **config}))) == expected


@pytest.mark.parametrize(("skew_ms", "level"), [(2000, OK), (-2000, OK), (2001, WARNING), (-2001, WARNING)])
def test_a_clock_more_than_two_seconds_off_is_a_warning(skew_ms: int, level: str) -> None:
    *_, clock = evaluate(Server(GOOD_INFO, GOOD_CONFIG, skew_ms))
    assert (clock.subject, clock.level) == ("clock", level)
    assert ("ahead" in clock.found, "behind" in clock.found) == (skew_ms > 2000, skew_ms < -2000)


def test_a_valkey_says_its_own_version() -> None:
    info = {**GOOD_INFO, "redis_version": "7.2.4", "valkey_version": "9.1.0"}
    assert evaluate(Server(info, GOOD_CONFIG))[0].found == "Valkey 9.1.0, compatible with Redis 7.2.4"


class Port:
    """A server that tells of itself what it is given, or refuses."""

    def __init__(self, info: Any = None, config: Any = None) -> None:
        self._info, self._config = info, config
        self.asked: list[str] = []

    async def time(self) -> tuple[int, int]:
        return (10, 500_000)

    async def info(self) -> Any:
        return self._told(self._info)

    async def config_get(self, pattern: str) -> Any:
        self.asked.append(pattern)
        found = self._told(self._config)
        return {name.encode(): found[name] for name in found if name.startswith(pattern.rstrip("*"))}

    def _told(self, what: Any) -> Any:
        if isinstance(what, Exception):
            raise what
        return what


async def test_only_the_needed_settings_are_read() -> None:
    port: Any = Port(GOOD_INFO, GOOD_CONFIG)
    server = await ask(port, lambda: 10_400)
    assert server == Server(GOOD_INFO, GOOD_CONFIG, 100)
    assert port.asked == ["append*", "maxmemory*", "min-replicas*"]


DENIED = StoreRefused("NOPERM this user has no permissions to run the command")
HIDDEN = StoreRefused("unknown command 'CONFIG', with args beginning with: 'GET'")


@pytest.mark.parametrize("refusal", [DENIED, HIDDEN])
async def test_what_cannot_be_seen_without_config_is_named(refusal: Exception) -> None:
    port: Any = Port(GOOD_INFO, refusal)
    findings = await diagnose_server(port, lambda: 10_500)
    assert bad(findings) == {"permissions": WARNING}
    assert about(findings, "permissions") == "CONFIG refused; not checked: appendfsync."


async def test_without_info_config_still_shows_persistence() -> None:
    port: Any = Port(DENIED, {**GOOD_CONFIG, "appendonly": "no"})
    findings = await diagnose_server(port, lambda: 10_500)
    assert bad(findings) == {"permissions": CRITICAL, "appendonly": CRITICAL}
    assert about(findings, "permissions") == "INFO refused; not checked: version, role, snapshots, memory."


async def test_a_server_without_info_and_config_is_a_finding(fake_redis: Any) -> None:
    findings = await diagnose_server(fake_redis, lambda: 0)
    assert bad(findings) == {"permissions": CRITICAL, "clock": WARNING}
    assert "INFO and CONFIG refused" in about(findings, "permissions")


@pytest.mark.parametrize("error", [StoreRefused("BUSY a script is running"), CallFailed("gone")])
async def test_a_server_that_does_not_serve_is_no_finding(error: Exception) -> None:
    port: Any = Port(error, GOOD_CONFIG)
    with pytest.raises(type(error)):
        await diagnose_server(port, lambda: 0)


# The fleet


class Site:
    """A Redis with gateways on it; the newest entry is as old as `age` says, in ms."""

    def __init__(self, client: Any, now_ms: int) -> None:
        self.client = client
        self.now_ms = now_ms
        self._count = 0

    async def gateway(self, name: str = "gw-1", *, known: bool = True, alive: bool = True) -> None:
        """A gateway with a group, which has read everything there is."""
        if known:
            await self.client.hset(KEYS.instances, name, "1")
        if alive:
            await self.client.set(KEYS.heartbeat(name), str(self.now_ms - 1000), ex=90)
        await self.client.xgroup_create(KEYS.outbound(name), GROUP, "0", mkstream=True)

    async def hold(self, name: str, imei: str = IMEI) -> None:
        await self.client.hset(KEYS.registry, imei, name)

    async def entry(self, name: str = "gw-1", age: int = 0, **fields: str) -> str:
        self._count += 1
        entry_id = f"{self.now_ms - age}-{self._count}"
        fields = {"imei": IMEI, "payload": "getinfo"} | fields
        return str((await self.client.xadd(KEYS.outbound(name), fields, id=entry_id)).decode())

    async def read(self, name: str = "gw-1", consumer: str = "") -> None:
        await self.client.xreadgroup(GROUP, consumer or name, {KEYS.outbound(name): ">"})

    async def ledger(self, command_id: str, entry_id: str, name: str = "gw-1", **fields: str) -> None:
        fields = {"state": "queued", "seq": "1", "instance_id": name, "outbound_id": entry_id} | fields
        await self.client.hset(KEYS.ledger(command_id), mapping=fields)

    async def findings(self, **bounds: Any) -> list[Finding]:
        return await diagnose_fleet(self.client, KEYS, Bounds(**bounds))


@pytest.fixture
async def site(fake_redis: Any) -> Site:
    seconds, micros = await fake_redis.time()
    return Site(fake_redis, seconds * 1000 + micros // 1000)


STREAM = KEYS.outbound("gw-1")


async def test_an_empty_redis_is_right(site: Site) -> None:
    findings = await site.findings()
    assert bad(findings) == {}
    assert about(findings, "fleet") == "No gateway is known here yet."


async def test_a_fleet_at_work_is_right(site: Site) -> None:
    await site.gateway()
    await site.hold("gw-1")
    entry = await site.entry(age=3000, command_id="c1")
    await site.read()
    await site.ledger("c1", entry)
    await site.entry(command_id="c2")
    findings = await site.findings()
    assert bad(findings) == {}
    assert about(findings, "instance gw-1").endswith("s ago, 1 device")
    assert about(findings, STREAM).startswith("1 pending, the oldest for 3.")
    assert about(findings, STREAM).endswith("; 1 unread")


async def test_a_cleanly_stopped_gateway_is_no_finding_of_its_own(site: Site) -> None:
    await site.gateway(alive=False)
    assert bad(await site.findings()) == {"fleet": WARNING}


@pytest.mark.parametrize(
    ("known", "adopter", "level"), [(True, True, WARNING), (True, False, CRITICAL), (False, True, CRITICAL)]
)
async def test_leftovers_without_a_janitor_are_critical(
    site: Site, known: bool, adopter: bool, level: str
) -> None:
    await site.gateway("dead", known=known, alive=False)
    await site.gateway("adopter", alive=adopter)
    await site.hold("dead")
    await site.entry("dead", command_id="c1")
    found = bad(await site.findings())
    assert found.pop("fleet", None) == (None if adopter else WARNING)
    assert found == {"instance dead": level, KEYS.outbound("dead"): level}


async def test_commands_for_a_name_that_no_gateway_ever_had_are_found(site: Site) -> None:
    await site.gateway()
    await site.entry("gw-O1", command_id="c1")
    findings = await site.findings()
    stray = KEYS.outbound("gw-O1")
    assert bad(findings) == {stray: CRITICAL}
    assert about(findings, "instance gw-O1").startswith("only a stream: no gateway with this name is known")
    assert "1 entries, and no heartbeat of its gateway" in about(findings, stray)
    (mend,) = {found.mend for found in findings if found.level == CRITICAL}
    assert f"HSET {KEYS.instances} gw-O1 0" in mend


@pytest.mark.parametrize("prefix", ["", "a*b?[c]\\:", "{fleet}:"])
async def test_streams_of_other_fleets_are_none_of_ours(site: Site, prefix: str) -> None:
    keys = Keys(prefix)
    for other in ("aXbYc:", "{flee}:", "other:"):
        await site.client.xadd(Keys(other).outbound("gw-8"), {"imei": IMEI})
    await site.client.xadd(keys.outbound("gw-9"), {"imei": IMEI})
    findings = await diagnose_fleet(site.client, keys, Bounds())
    about_instances = {found.subject for found in findings if found.subject.endswith(("gw-8", "gw-9"))}
    assert about_instances == {"instance gw-9", keys.outbound("gw-9")}


async def test_a_gateway_that_is_not_listed_would_die_unnoticed(site: Site) -> None:
    await site.gateway(known=False)
    await site.hold("gw-1")
    assert bad(await site.findings()) == {"instance gw-1": WARNING}


async def test_a_heartbeat_of_another_program_may_hold_anything(site: Site) -> None:
    await site.gateway()
    await site.client.set(KEYS.heartbeat("gw-1"), "alive", ex=90)
    assert bad(await site.findings()) == {}


async def test_a_stream_without_its_group_is_found(site: Site) -> None:
    await site.gateway()
    await site.client.delete(STREAM)
    assert bad(await site.findings()) == {STREAM: WARNING}
    await site.entry(command_id="c1")
    findings = await site.findings()
    assert bad(findings) == {STREAM: WARNING}
    assert about(findings, STREAM) == "1 entries, and no group 'ingestion'"


async def test_entries_pending_under_another_consumer_are_found(site: Site) -> None:
    await site.gateway()
    for number in range(4):
        await site.entry(command_id=f"c{number}")
        await site.read(consumer=f"other-{number}")
    found = about(await site.findings(), STREAM)
    assert "other consumers: other-0 (1), other-1 (1), other-2 (1) and 1 more |" in found


async def test_a_reader_that_does_not_read_is_found(site: Site) -> None:
    await site.gateway()
    await site.entry(age=61_000, command_id="c1")
    findings = await site.findings()
    assert bad(findings) == {STREAM: WARNING}
    assert about(findings, STREAM) == "0 pending; 1 unread"


async def test_an_overdue_command_is_critical(site: Site) -> None:
    await site.gateway()
    soon = str(site.now_ms - 20_000)
    for command_id, timeout in (("late", "10"), ("waiting", "30")):
        entry = await site.entry(age=HOUR, command_id=command_id, expires_at=soon, response_timeout=timeout)
        await site.ledger(command_id, entry, state="sent", expires_at=soon)
    await site.read()
    findings = await site.findings()
    assert bad(findings) == {STREAM: CRITICAL}
    assert "1 without a terminal event after their time (of 2 checked): late" in about(findings, STREAM)


async def test_what_the_producer_left_out_is_what_the_gateways_assume(site: Site) -> None:
    await site.gateway()
    await site.entry(age=10_000, command_id="c1")
    await site.entry(age=10_000, command_id="c 2")
    await site.entry(age=10_000, command_id="c1", type="cancel")
    await site.read()
    assert bad(await site.findings(limits=Limits(command_ttl=5.0, response_timeout=1.0))) == {}
    findings = await site.findings(limits=Limits(command_ttl=3.0, response_timeout=1.0))
    assert bad(findings) == {STREAM: CRITICAL}
    assert "3 without a terminal event" in about(findings, STREAM)
    assert "c1, entry " in about(findings, STREAM)


async def test_a_duplicate_is_measured_by_its_own_time(site: Site) -> None:
    await site.gateway()
    await site.ledger("c1", "1-1", state="responded", expires_at="1")
    await site.entry(command_id="c1")
    await site.read()
    assert bad(await site.findings()) == {}


async def test_a_finished_command_still_listed_is_found(site: Site) -> None:
    await site.gateway()
    await site.ledger("c1", await site.entry(command_id="c1"), state="responded")
    await site.read()
    findings = await site.findings()
    assert bad(findings) == {STREAM: WARNING}
    assert "1 ended, but not removed (of 1 checked): c1" in about(findings, STREAM)


async def test_a_terminal_event_during_the_check_is_no_finding(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.gateway()
    await site.entry(age=HOUR, command_id="c1")
    await site.read()
    read = overdue.read_ledgers

    async def verdict(*args: Any) -> list[dict[str, str]]:
        ledgers = await read(*args)
        await site.client.xtrim(STREAM, maxlen=0, approximate=False)
        return ledgers

    monkeypatch.setattr(overdue, "read_ledgers", verdict)
    assert bad(await site.findings()) == {}


async def test_a_long_stream_is_read_in_pages_up_to_a_limit(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overdue, "_PAGE", 2)
    monkeypatch.setattr(overdue, "MOST", 5)
    await site.gateway()
    for number in range(7):
        await site.entry(age=HOUR, command_id=f"c{number}")
    assert "5 without a terminal event after their time (of 5 checked)" in about(
        await site.findings(), STREAM
    )


async def test_the_streams_are_compared_with_their_caps(site: Site) -> None:
    for stream in (KEYS.responses, KEYS.telemetry):
        for _ in range(21):
            await site.client.xadd(stream, {"a": "b"})
    assert bad(await site.findings(responses_maxlen=11, telemetry_maxlen=11)) == {}
    findings = await site.findings(responses_maxlen=10, telemetry_maxlen=11)
    assert bad(findings) == {KEYS.responses: WARNING}


async def test_a_group_that_is_far_behind_is_named(site: Site) -> None:
    for _ in range(6):
        await site.client.xadd(KEYS.telemetry, {"a": "b"})
    await site.client.xgroup_create(KEYS.telemetry, "billing", "0")
    assert bad(await site.findings(telemetry_maxlen=12)) == {}
    findings = await site.findings(telemetry_maxlen=11)
    assert bad(findings) == {KEYS.telemetry: WARNING}
    assert "group billing: 6 entries behind" in about(findings, KEYS.telemetry)


def test_the_types_of_all_keys_are_checked() -> None:
    named = [getattr(KEYS, name) for name, kind in vars(Keys).items() if isinstance(kind, property)]
    assert set(KEYS.shared) == {name for name in named if isinstance(name, str)}


@pytest.mark.parametrize(
    "key",
    [*KEYS.shared, STREAM],
)
async def test_a_key_of_another_type_is_critical(site: Site, key: str) -> None:
    await site.gateway()
    await site.client.delete(key)
    await site.client.set(key, "x")
    found = bad(await site.findings())
    assert found[key] == CRITICAL


@pytest.mark.parametrize("key", [KEYS.heartbeat("gw-1"), KEYS.boot("gw-1")])
async def test_a_heartbeat_of_another_type_is_critical(site: Site, key: str) -> None:
    await site.gateway()
    await site.client.delete(key)
    await site.client.hset(key, "a", "b")
    assert bad(await site.findings())[key] == CRITICAL


async def test_a_ledger_of_another_type_is_critical(site: Site) -> None:
    await site.gateway()
    await site.entry(command_id="c1")
    await site.client.set(KEYS.ledger("c1"), "x")
    assert bad(await site.findings()) == {STREAM: CRITICAL}


async def test_an_unreadable_key_is_found_and_the_rest_is_checked(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.gateway()

    async def denied(*_: Any, **__: Any) -> Any:
        raise StoreRefused("NOPERM No permissions to access a key")

    monkeypatch.setattr(site.client, "hscan", denied)
    findings = await site.findings()
    assert bad(findings) == {KEYS.registry: WARNING, KEYS.terms: WARNING}
    assert "alive" in about(findings, "instance gw-1")


# The log


def request(command_id: str) -> CommandRequest:
    return CommandRequest(
        *(command_id, IMEI, b"getinfo", "12", 2_000_000_000_000, 1_900_000_000_000, 30.0, True),
        instance_id="gw-1",
        outbound_id="1-1",
    )


ANSWERED = (("accept", ""), ("send", ""), ("respond", ""))


def life(command_id: str, *moves: tuple[str, str]) -> list[CommandEvent]:
    """The events of a command that lives through `moves`."""
    command, events = Command(command_id), []
    for trigger, reason in moves:
        event = decide(command, trigger, reason=reason, request=request(command_id))
        command = evolve(command, event)
        events.append(event)
    return events


class Log:
    """A log that is written as the store writes it."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def append(self, *events: CommandEvent, **changed: str) -> None:
        for event in events:
            flat = command_fields(event)
            fields = dict(zip(flat[::2], flat[1::2], strict=True)) | changed
            last = await self.client.xadd(KEYS.responses, fields)
            ledger = {"state": event.state, "seq": str(event.seq), "last": last}
            await self.client.hset(KEYS.ledger(event.command_id), mapping=ledger)

    async def findings(self) -> list[Finding]:
        return await diagnose_log(self.client, KEYS)


@pytest.fixture
def log(fake_redis: Any) -> Log:
    return Log(fake_redis)


async def test_an_empty_log_holds_together(log: Log) -> None:
    assert about(await log.findings(), "replay") == "0 events of 0 commands folded"


async def test_a_log_of_whole_lives_holds_together_page_by_page(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "PAGE", 2)
    for number in range(3):
        await log.append(*life(f"c{number}", *ANSWERED))
    await log.append(*life("c3", ("accept", ""), ("send", "")))
    await log.client.xadd(KEYS.responses, {"kind": "note", "command_id": "c1"})
    await log.client.xadd(KEYS.responses, {"kind": "session", b"\xff": b"\xff"})
    await log.client.delete(KEYS.ledger("c0"))
    findings = await log.findings()
    assert bad(findings) == {}
    assert about(findings, "replay") == "11 events of 4 commands folded"


async def test_a_command_whose_beginning_was_trimmed_is_counted(log: Log) -> None:
    await log.append(*life("c1", *ANSWERED)[1:])
    findings = await log.findings()
    assert bad(findings) == {}
    assert about(findings, "replay").endswith("; the first events of 1 were trimmed")


async def test_a_gap_is_critical_and_says_what_is_missing(log: Log) -> None:
    first, _, last = life("c1", *ANSWERED)
    await log.append(first, last)
    findings = await log.findings()
    assert bad(findings) == {"replay: gaps": CRITICAL}
    assert about(findings, "replay: gaps") == "1: c1 (event 2 missing)"


async def test_an_event_that_stands_twice_is_critical(log: Log) -> None:
    first, second, last = life("c1", *ANSWERED)
    await log.append(first, second, first, second, last)
    findings = await log.findings()
    assert bad(findings) == {"replay: repeated events": CRITICAL}
    assert about(findings, "replay: repeated events") == "2: c1 (event 1), c1 (event 2)"


async def test_a_second_terminal_event_is_critical(log: Log) -> None:
    await log.append(*life("c1", *ANSWERED))
    await log.append(life("c1", *ANSWERED)[-1], seq="4", state="failed", trigger="reject")
    await log.client.hset(KEYS.ledger("c1"), "seq", "4")
    await log.client.hset(KEYS.ledger("c1"), "state", "failed")
    findings = await log.findings()
    assert bad(findings) == {"replay: several terminal events": CRITICAL, "replay: broken chains": CRITICAL}
    assert "c1 (responded, then failed)" in about(findings, "replay: several terminal events")


async def test_a_transition_missing_in_the_table_is_found(log: Log) -> None:
    first, second, last = life("c1", *ANSWERED)
    await log.append(first, second)
    await log.append(last, trigger="teleport")
    findings = await log.findings()
    assert bad(findings) == {"replay: unknown moves": WARNING}
    assert "sent --teleport--> responded" in about(findings, "replay: unknown moves")


@pytest.mark.parametrize("changed", [{"state": "failed"}, {"seq": "2"}])
async def test_a_ledger_that_differs_from_the_log_is_critical(log: Log, changed: dict[str, str]) -> None:
    await log.append(*life("c1", *ANSWERED))
    await log.client.hset(KEYS.ledger("c1"), mapping=changed)
    assert bad(await log.findings()) == {"replay: ledgers": CRITICAL}


async def test_an_unfinished_command_without_a_ledger_is_found(log: Log) -> None:
    await log.append(*life("c1", ("accept", "")))
    await log.client.delete(KEYS.ledger("c1"))
    assert bad(await log.findings()) == {"replay: lost ledgers": WARNING}


async def test_an_unreadable_event_is_found(log: Log) -> None:
    await log.append(*life("c1", ("accept", "")), seq="one")
    await log.client.xadd(KEYS.responses, {"kind": "command"})
    findings = await log.findings()
    assert bad(findings) == {"replay: unreadable events": WARNING}
    assert about(findings, "replay: unreadable events").startswith("2: entry ")


async def test_a_change_during_the_check_is_no_difference(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, last = life("c1", *ANSWERED)
    await log.append(first, second)
    read = audit_module.read_ledgers

    async def meanwhile(*args: Any) -> list[dict[str, str]]:
        await log.append(last)
        return await read(*args)

    monkeypatch.setattr(audit_module, "read_ledgers", meanwhile)
    findings = await log.findings()
    assert bad(findings) == {}
    assert about(findings, "replay").endswith("; 1 changed during the check")


async def test_trimming_during_the_check_is_no_gap(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_module, "PAGE", 1)
    await log.append(*life("c1", *ANSWERED))
    xrange, calls = log.client.xrange, []

    async def trimming(*args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            await log.client.xtrim(KEYS.responses, maxlen=1, approximate=False)
        return await xrange(*args, **options)

    monkeypatch.setattr(log.client, "xrange", trimming)
    findings = await log.findings()
    assert bad(findings) == {}
    assert about(findings, "replay").endswith("; the first events of 1 were trimmed")


async def test_a_log_of_another_type_is_a_finding(log: Log) -> None:
    await log.client.set(KEYS.responses, "x")
    assert bad(await log.findings()) == {KEYS.responses: CRITICAL}


# Parked commands


async def park(site: Site, *, age: int, expires_in: int, imei: str = IMEI) -> None:
    await site.client.xadd(KEYS.parked(imei), {"command_id": "c1"}, id=f"{site.now_ms - age}-0")
    await site.client.zadd(KEYS.parked_devices, {imei: site.now_ms + expires_in})


async def test_parked_commands_are_counted_and_in_order(site: Site) -> None:
    await site.gateway()
    await park(site, age=3_600_000, expires_in=1000)
    await site.hold("gw-1", "352093081452259")
    found = await site.findings()
    [one] = [finding for finding in found if finding.subject == KEYS.parked_devices]
    assert (one.level, one.found) == (OK, "devices for which commands are parked: 1")


async def test_parked_commands_that_nobody_ends_are_found(site: Site) -> None:
    await site.gateway()
    await park(site, age=3_600_000, expires_in=-600_000)
    found = bad(await site.findings())
    assert found[KEYS.parked_devices] == WARNING


@pytest.mark.parametrize(
    ("age", "alive", "seen"), [(120_000, True, True), (0, True, False), (120_000, False, False)]
)
async def test_parked_commands_that_are_not_taken_up_are_found(
    site: Site, age: int, alive: bool, seen: bool
) -> None:
    await site.gateway(alive=alive)
    await site.hold("gw-1")
    await park(site, age=age, expires_in=1_000_000)
    assert (bad(await site.findings()).get(f"{KEYS.parked('')}*") == WARNING) == seen


async def test_dead_letters_are_a_warning_that_says_how_to_read_them(site: Site) -> None:
    await site.gateway()
    assert "dead letters" not in bad(await site.findings())
    await site.client.xadd(KEYS.deadletter, {"error": "command_id is missing"})
    [finding] = [one for one in await site.findings() if one.subject == "dead letters"]
    assert (finding.level, "telgw dead-letters" in finding.mend) == (WARNING, True)
