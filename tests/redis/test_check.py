"""A look at real servers: each thing that can be wrong is made wrong, and found."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import pytest
from click.testing import CliRunner
from redis.asyncio import Redis
from structlog.testing import capture_logs

from fsm.command import Command, Entry, decide, evolve
from fsm.moves import Open, Step
from fsm.outbound import Limits, parse_entry
from store.client.client import connect
from store.client.errors import StoreRefused
from store.diagnosis.fleet import Bounds, diagnose_fleet
from store.diagnosis.log import diagnose_log
from store.diagnosis.server import CRITICAL, OK, WARNING, Finding, diagnose_server
from store.keys import GROUP, Keys
from store.ledger.ledger import Ledger
from tests.rig.rights import rules
from transport.cli import cli
from transport.clock import Clock
from transport.daemon import gateway as gateway_module
from transport.daemon.gateway import Gateway
from transport.settings import Settings

pytestmark = pytest.mark.redis

KEYS = Keys()
IMEI = "356307042441013"
STREAM = KEYS.outbound("gw-1")

Configure = Callable[..., Awaitable[None]]


def ignore(*_: object) -> None:
    """A hook that nobody listens to."""


def bad(findings: list[Finding]) -> dict[str, str]:
    return {finding.subject: finding.level for finding in findings if finding.level != OK}


@pytest.fixture
async def configure(client: Redis) -> AsyncIterator[Configure]:
    """Sets parameters of the server, and puts them back after the test."""
    before: dict[str, Any] = {}

    async def change(**parameters: str) -> None:
        for name, value in parameters.items():
            parameter = name.replace("_", "-")
            before.setdefault(parameter, (await client.config_get(parameter)).popitem()[1])
            await client.config_set(parameter, value)

    yield change
    for parameter, value in before.items():
        await client.config_set(parameter, value)


async def server_of(client: Redis) -> list[Finding]:
    return await diagnose_server(client, Clock().now_ms)


async def test_the_server_that_the_gateway_starts_is_right(client: Redis) -> None:
    findings = await server_of(client)
    assert bad(findings) == {}
    assert len(findings) == 9


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"appendonly": "no"}, {"appendonly": CRITICAL}),
        ({"appendfsync": "no"}, {"appendfsync": WARNING}),
        ({"appendfsync": "always"}, {}),
        ({"maxmemory_policy": "allkeys-lru"}, {"maxmemory-policy": WARNING}),
        ({"maxmemory_policy": "volatile-ttl", "maxmemory": "1gb"}, {"maxmemory-policy": CRITICAL}),
        ({"maxmemory": "1gb"}, {}),
        ({"maxmemory": "100kb"}, {"memory": CRITICAL}),
    ],
)
async def test_each_setting_that_is_wrong_is_found(
    client: Redis, configure: Configure, parameters: dict[str, str], expected: dict[str, str]
) -> None:
    await configure(**parameters)
    assert bad(await server_of(client)) == expected


async def test_a_host_with_another_time_is_found(client: Redis) -> None:
    assert bad(await diagnose_server(client, lambda: Clock().now_ms() - 3000)) == {"clock": WARNING}


async def test_a_replica_takes_no_writes(client: Redis) -> None:
    await client.replicaof("127.0.0.1", "1")
    try:
        assert bad(await server_of(client)) == {"role": CRITICAL}
    finally:
        await client.replicaof("NO", "ONE")


@pytest.fixture
async def limited(client: Redis, redis_url: str) -> AsyncIterator[Callable[..., Awaitable[Redis]]]:
    """A client of a user with the given rights."""
    clients: list[Redis] = []

    async def user(*rights: str) -> Redis:
        execute: Any = client.execute_command
        await execute("ACL", "SETUSER", "limited", "reset", "on", ">secret", "+@all", *rights)
        clients.append(connect(redis_url.replace("://", "://limited:secret@"), purpose="limited"))
        return clients[-1]

    yield user
    for opened in clients:
        await opened.aclose()
    await client.acl_deluser("limited")


@pytest.mark.parametrize(
    ("rights", "level", "words"),
    [
        (("-config",), WARNING, "CONFIG refused; not checked: appendfsync."),
        (("-info",), CRITICAL, "INFO refused; not checked: version, role, snapshots, memory."),
        (("-info", "-config"), CRITICAL, "INFO and CONFIG refused; not checked: version, role, appendonly,"),
    ],
)
async def test_what_a_user_may_not_ask_is_a_finding(
    limited: Callable[..., Awaitable[Redis]], rights: tuple[str, ...], level: str, words: str
) -> None:
    findings = await server_of(await limited("~*", *rights))
    assert bad(findings) == {"permissions": level}
    assert findings[-1].found.startswith(words)


DEVICE = "352093081452251"


async def test_lines_of_the_allow_list_that_cannot_be_read_are_findings(client: Redis) -> None:
    assert not {KEYS.allowed, KEYS.terms} & {
        found.subject for found in await diagnose_fleet(client, KEYS, Bounds())
    }
    await client.sadd(KEYS.allowed, DEVICE)
    await client.hset(KEYS.terms, DEVICE, "10.0.0.0/8")
    found = {one.subject: (one.level, one.found) for one in await diagnose_fleet(client, KEYS, Bounds())}
    assert found[KEYS.allowed] == (OK, "1 device")
    assert found[KEYS.terms] == (OK, "1 devices have to show more than their IMEI")
    await client.sadd(KEYS.allowed, f"{DEVICE} 10.0.0.0/8")
    await client.hset(KEYS.terms, mapping={DEVICE: "10.0.0.0/33", "1": ""})
    findings = [one for one in await diagnose_fleet(client, KEYS, Bounds()) if one.level == WARNING]
    told = [one.found for one in findings if one.subject in (KEYS.allowed, KEYS.terms)]
    assert told == [
        f"1 members are not an IMEI of 15 digits: {DEVICE} 10.0.0.0/8",
        f"1 rows cannot be read: {DEVICE}",
        "1 rows are of devices that may not connect: 1",
    ]


async def test_keys_that_a_user_may_not_read_are_findings(
    client: Redis, limited: Callable[..., Awaitable[Redis]]
) -> None:
    await live(client)
    user = await limited("~connections:*", "~instance*", "~commands:outbound:*")
    found = bad(await diagnose_fleet(user, KEYS, Bounds()))
    assert found.pop("fleet", WARNING) == WARNING
    assert set(found) == {*(KEYS.shared.keys() - {KEYS.registry, KEYS.sessions, KEYS.instances}), STREAM}
    assert bad(await diagnose_log(user, KEYS)) == {KEYS.responses: WARNING}


RIGHTS_OF_A_GATEWAY = [
    word for word in rules()["gateway"] if word.startswith(("-@", "+")) and word != "+xinfo|stream"
]


async def test_gateway_rights_suffice_but_for_config_and_stream_names(
    client: Redis, limited: Callable[..., Awaitable[Redis]]
) -> None:
    await live(client, "c1", "c2")
    user = await limited("~*", *RIGHTS_OF_A_GATEWAY)
    assert bad(await server_of(user)) == {"permissions": WARNING}
    assert bad(await diagnose_fleet(user, KEYS, Bounds())) == {"streams": WARNING}
    assert bad(await diagnose_log(user, KEYS)) == {}


async def live(client: Any, *commands: str) -> None:
    """The gateway gw-1 lives, and has sent `commands`."""
    await client.hset(KEYS.instances, "gw-1", "1")
    seconds, _ = await client.time()
    await client.set(KEYS.heartbeat("gw-1"), str(seconds * 1000), ex=90)
    await client.hset(KEYS.registry, IMEI, "gw-1")
    await client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    for command_id in commands or ("c0",):
        fields = {"command_id": command_id, "imei": IMEI, "payload": "getinfo"}
        await client.xadd(STREAM, fields)
    [(_, entries)] = await client.xreadgroup(GROUP, "gw-1", {STREAM: ">"})
    for entry_id, fields in entries if commands else ():
        await send(client, entry_id.decode(), fields)


def ledger_of(client: Redis) -> Ledger:
    return Ledger(client, KEYS, "gw-1", "boot", retention=60.0, on_error=ignore, on_fenced=ignore)


async def send(client: Redis, outbound_id: str, fields: dict[bytes, bytes]) -> None:
    now_ms = min(int(outbound_id.partition("-")[0]), Clock().now_ms())
    at: Any = {"instance_id": "gw-1", "outbound_id": outbound_id, "now_ms": now_ms}
    request: Any = parse_entry(fields, **at, limits=Limits())
    entry, command = Entry("gw-1", outbound_id), Command(request.command_id)
    accepted = decide(command, "accept", request=request)
    command = evolve(command, accepted)
    sent = decide(command, "send", request=request)
    await ledger_of(client).execute(Open(accepted, entry, ignore, request), Step(sent, entry, ignore))


async def test_commands_in_flight_are_no_finding(client: Redis) -> None:
    await live(client, "c1", "c2")
    assert bad(await diagnose_fleet(client, KEYS, Bounds())) == {}
    findings = await diagnose_log(client, KEYS)
    assert bad(findings) == {}
    assert findings[0].found == "4 events of 2 commands folded"


async def test_commands_whose_time_is_over_are_found(client: Redis) -> None:
    await live(client, "c1")
    await client.hset(KEYS.ledger("c1"), "expires_at", "1")  # type: ignore[misc]
    assert bad(await diagnose_fleet(client, KEYS, Bounds())) == {STREAM: CRITICAL}


async def test_a_missing_group_and_a_dead_gateway_are_found(client: Redis) -> None:
    await live(client, "c1")
    await client.xgroup_destroy(STREAM, GROUP)
    assert bad(await diagnose_fleet(client, KEYS, Bounds())) == {STREAM: WARNING}
    await client.delete(KEYS.heartbeat("gw-1"))
    found = bad(await diagnose_fleet(client, KEYS, Bounds()))
    assert found == {"fleet": WARNING, "instance gw-1": CRITICAL, STREAM: CRITICAL}


async def test_keys_of_another_type_are_found(client: Redis) -> None:
    for key in (KEYS.registry, KEYS.responses, KEYS.instances):
        await client.set(key, "x")
    found = bad(await diagnose_fleet(client, KEYS, Bounds()))
    assert found == {KEYS.registry: CRITICAL, KEYS.responses: CRITICAL, KEYS.instances: CRITICAL}


HIGHEST = f"{2**64 - 1}-{2**64 - 1}"


@pytest.mark.parametrize("key", [name for name, kind in KEYS.shared.items() if kind == "stream"] + [STREAM])
@pytest.mark.parametrize("deleted", [False, True], ids=["there", "deleted"])
async def test_a_stream_to_which_nothing_can_be_appended_is_found(
    client: Redis, limited: Callable[..., Awaitable[Redis]], key: str, deleted: bool
) -> None:
    await live(client, "c1")
    await client.xadd(key, {"a": "b"}, id=HIGHEST)
    if deleted:
        await client.xdel(key, HIGHEST)
    else:
        limited_to = await limited("~*", *RIGHTS_OF_A_GATEWAY)  # which leave out XINFO STREAM
        assert bad(await diagnose_fleet(limited_to, KEYS, Bounds()))[key] == CRITICAL
    assert bad(await diagnose_fleet(client, KEYS, Bounds()))[key] == CRITICAL
    with pytest.raises(StoreRefused, match="last possible ID"):
        await client.xadd(key, {"a": "b"})


async def test_ids_of_no_time_and_of_the_future_are_found(client: Redis) -> None:
    seconds, _ = await client.time()
    for key, entry_id in ((KEYS.telemetry, f"{2**64 - 1}-1"), (KEYS.messages, f"{(seconds + 300) * 1000}-0")):
        await client.xadd(key, {"a": "b"}, id=entry_id)
    await client.xadd(KEYS.undecodable, {"a": "b"}, id=f"{(seconds + 30) * 1000}-0")
    found = bad(await diagnose_fleet(client, KEYS, Bounds()))
    assert found == {KEYS.telemetry: CRITICAL, KEYS.messages: WARNING}


async def test_the_session_stream_is_checked(client: Redis) -> None:
    await client.set("sessions", "x")
    assert bad(await diagnose_fleet(client, KEYS, Bounds())) == {}
    assert bad(await diagnose_fleet(client, KEYS, Bounds(session_events="sessions"))) == {
        "sessions": CRITICAL
    }


async def test_only_an_event_deleted_in_the_middle_is_a_gap(
    client: Redis,
) -> None:
    await live(client, "c1")
    responded = decide(Command("c1", state="sent", seq=2), "respond")
    [(entry_id, _)] = await client.xrange(STREAM)
    await ledger_of(client).execute(Step(responded, Entry("gw-1", entry_id.decode()), ignore))
    first, second, _ = [entry_id for entry_id, _ in await client.xrange(KEYS.responses)]
    await client.xdel(KEYS.responses, second)
    assert bad(await diagnose_log(client, KEYS)) == {"replay: gaps": CRITICAL}
    await client.xdel(KEYS.responses, first)
    assert bad(await diagnose_log(client, KEYS)) == {}
    await client.hset(KEYS.ledger("c1"), "seq", "7")  # type: ignore[misc]
    assert bad(await diagnose_log(client, KEYS)) == {"replay: ledgers": CRITICAL}


async def test_the_exit_status_tells_what_was_found(
    client: Redis, redis_url: str, configure: Configure
) -> None:
    async def check(*args: str) -> tuple[int, dict[str, str]]:
        args = ("check", "--redis", redis_url, "--connections", "1", "--json", *args)
        result = await asyncio.to_thread(CliRunner().invoke, cli, args)
        findings = [Finding(**json.loads(line)) for line in result.stdout.splitlines()]
        return result.exit_code, bad(findings)

    await live(client, "c1")
    assert await check("--replay") == (0, {})
    await configure(appendfsync="no")
    assert await check() == (1, {"appendfsync": WARNING})
    await configure(appendonly="no")
    assert await check() == (3, {"appendfsync": WARNING, "appendonly": CRITICAL})


def settings() -> Settings:
    return Settings(instance_id="gw-1", listen=(("127.0.0.1", 0),), metrics=None, shutdown_timeout=0.0)


async def run_until_checked(url: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The log of a gateway that is stopped when it has looked at its server."""
    gateway = Gateway(settings(), url)
    check_up: Callable[..., Coroutine[Any, Any, None]] = gateway_module.check_up
    ready = asyncio.Event()

    async def checked(*args: Any) -> None:
        await check_up(*args)
        await ready.wait()
        gateway.stop()

    monkeypatch.setattr(gateway_module, "check_up", checked)
    with capture_logs() as logs:
        assert await gateway.run(lambda _: ready.set()) == 0
    return [line for line in logs if line["event"] == "check"]


async def test_a_gateway_checks_its_server_once_and_logs_findings(
    redis_url: str, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    await configure(appendonly="no", appendfsync="no")
    lines = await run_until_checked(redis_url, monkeypatch)
    assert [(line["log_level"], line["subject"]) for line in lines] == [
        ("warning", "appendonly"),
        ("warning", "appendfsync"),
    ]
    assert all(line["found"] and line["mend"] for line in lines)


async def test_a_gateway_says_nothing_of_a_server_that_is_right(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await run_until_checked(redis_url, monkeypatch) == []


async def test_a_gateway_that_may_not_ask_for_settings_is_no_alarm(
    redis_url: str, limited: Callable[..., Awaitable[Redis]], monkeypatch: pytest.MonkeyPatch
) -> None:
    await limited("~*", "-config")
    [line] = await run_until_checked(redis_url.replace("://", "://limited:secret@"), monkeypatch)
    assert (line["log_level"], line["subject"]) == ("info", "permissions")
