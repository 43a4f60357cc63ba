"""The users that the contract prints: each can do its work, and nothing else."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from fsm.moves import Status
from store.client.client import connect
from store.client.errors import StoreRefused
from tests.redis.book import KEYS, Book
from tests.redis.live_gateway import IMEI, Device, running, told
from tests.rig.rights import refused, rules, rules_of_6_2
from tests.serial_port import SENSOR
from transport.daemon.gateway import Gateway
from transport.teltonika.handshake import ACCEPT, REJECT

pytestmark = pytest.mark.redis

REFUSED = r"(?i)no permissions|can't run this command|can't access at least one of the keys|ACL failure"

As = Callable[[str], Redis]

SCRIPTS = Path(__file__).parents[2] / "store" / "scripts"
CALL = re.compile(r"redis\.p?call\('([A-Z]+)'(?:, '([A-Z]+)')?")
"""A call of a script, and the word after it, which may be a subcommand."""


FORMS = {"7": rules, "6.2": rules_of_6_2}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> dict[str, list[str]]:
    """The users in each form."""
    return FORMS[request.param]()


@pytest.fixture
async def users(client: Redis, redis_url: str, form: dict[str, list[str]]) -> AsyncIterator[dict[str, str]]:
    """The URL of each user of the page, who exists exactly as it is printed."""
    names = {}
    for role, words in form.items():
        await client.execute_command(*words)  # type: ignore[no-untyped-call]
        names[role] = words[2]
    await client.execute_command("ACL", "LOG", "RESET")  # type: ignore[no-untyped-call]
    yield {role: redis_url.replace("://", f"://{name}:secret@") for role, name in names.items()}
    for name in names.values():
        await client.execute_command("ACL", "DELUSER", name)  # type: ignore[no-untyped-call]


@pytest.fixture
async def log_in(users: dict[str, str]) -> AsyncIterator[As]:
    """Clients that are one of the users."""
    clients = []

    def client_of(role: str) -> Redis:
        clients.append(connect(users[role], purpose=role))
        return clients[-1]

    yield client_of
    for client in clients:
        await client.aclose()


async def test_a_missing_right_leaves_no_event_without_its_ledger(client: Redis, log_in: As) -> None:
    book = Book(log_in("gateway"))
    name = rules()["gateway"][2]
    moves = []
    for lacks in ("the begin", "the step"):
        case = await book.case(lacks)
        moves.append(case.open())
        if lacks == "the step":
            await book.statuses(moves.pop())
            moves.append(case.step("send", session_id="s-1"))
    before = await client.xlen(KEYS.responses)
    await client.execute_command("ACL", "SETUSER", name, "-hset")  # type: ignore[no-untyped-call]
    assert await book.statuses(*moves) == [Status.ERROR] * 2
    assert await client.xlen(KEYS.responses) == before
    await client.execute_command("ACL", "SETUSER", name, "+hset")  # type: ignore[no-untyped-call]
    assert await book.statuses(*moves) == [Status.OK] * 2
    await book.audit()


async def refusals(client: Redis) -> set[str]:
    """What the server has refused to anybody."""
    entries: Any = await client.acl_log()
    return refused(entries)


def errors(gateway: Gateway) -> list[str]:
    """The calls to Redis that failed."""
    return [
        sample.labels["error"]
        for metric in gateway.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "teltonika_store_errors_total"
    ]


def test_the_page_prints_a_user_for_each_role() -> None:
    assert (
        set(rules()) == set(rules_of_6_2()) == {"gateway", "producer", "consumer", "operator", "maintainer"}
    )


def test_the_form_for_redis_6_2_has_no_words_of_redis_7() -> None:
    words = [word for words in rules_of_6_2().values() for word in words]
    assert [word for word in words if word[0] in "%("] == []


@pytest.mark.parametrize("role", rules())
def test_both_forms_have_the_same_commands(role: str) -> None:
    ours, older = rules()[role], rules_of_6_2()[role]
    assert {word.strip("()") for word in ours if "+" in word} == {word for word in older if "+" in word}


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.lua")), ids=lambda script: script.stem)
def test_whoever_runs_a_script_may_make_each_call_of_it(script: Path) -> None:
    role = rules()["maintainer" if script.stem == "requeue" else "gateway"]
    rights = {word.strip("()") for word in role}
    for name, word in CALL.findall(script.read_text(encoding="utf-8")):
        assert {f"+{name}".lower(), f"+{name}|{word}".lower()} & rights, f"{script.name}: {name} {word}"


async def test_each_role_works_with_the_printed_rights(
    client: Redis, users: dict[str, str], log_in: As
) -> None:
    producer, consumer = log_in("producer"), log_in("consumer")
    await client.sadd("devices:allowed", IMEI)
    await consumer.xgroup_create("commands:responses", "directus", "0", mkstream=True)
    await consumer.xgroup_create("telemetry:records", "directus", "0", mkstream=True)
    await consumer.xgroup_create("telemetry:messages", "directus", "0", mkstream=True)
    async with running(users["gateway"], allow_list="redis") as (gateway, address):
        async with Device.at(*address) as unknown:
            assert await unknown.name_itself("352093081452252") == REJECT
        async with Device.at(*address) as device:
            assert await device.name_itself() == ACCEPT
            assert await device.report() == 1
            holder = await producer.hget("connections:registry", IMEI)
            assert holder == b"gw-1"
            entry = {"command_id": "c1", "imei": IMEI, "payload": "getinfo"}
            await producer.xadd("commands:outbound:gw-1", entry)
            assert (await device.command()).payload == b"getinfo"
            device.answer(b"OK")
            device.say(SENSOR)
            assert await device.report() == 1
            await told(client, ("command_id", "c1"), ("state", "responded"))
            assert await producer.hget("commands:state:c1", "instance_id") == b"gw-1"
            await producer.xadd("commands:outbound:gw-1", {"nonsense": "x"})
            await producer.xadd("commands:outbound:gw-1", {"type": "cancel", "command_id": "c1"})
            await told(client, ("note", "cancel_rejected"))
            assert await gateway.backend.heartbeat.renew()
            await read_all(consumer)
    assert errors(gateway) == []
    assert await refusals(client) == set()
    assert await client.xlen("commands:deadletter") == 1
    assert await client.exists("connections:registry", "instance:heartbeat:gw-1") == 0


async def read_all(consumer: Redis) -> None:
    """What a consumer does: read with its group, acknowledge, and claim what another has dropped."""
    for stream in ("commands:responses", "telemetry:records", "telemetry:messages"):
        [(_, entries)] = await consumer.xreadgroup("directus", "one", {stream: ">"})
        await consumer.xack(stream, "directus", *(entry_id for entry_id, _ in entries))
        await consumer.xautoclaim(stream, "directus", "two", min_idle_time=0)


async def test_a_janitor_adopts_with_the_printed_rights(client: Redis, users: dict[str, str]) -> None:
    await client.hset("instances:known", "dead", 1)
    await client.hset("connections:registry", IMEI, "dead")
    await client.xadd("commands:outbound:dead", {"command_id": "c1", "imei": IMEI, "payload": "getinfo"})
    await client.xadd("commands:responses", {"kind": "old"}, id="1-0")
    await client.xgroup_create("commands:responses", "directus", "0")
    await client.xreadgroup("directus", "one", {"commands:responses": ">"})
    times = {"janitor_interval": 0.1, "janitor_grace": 0.0, "janitor_min_uptime": 0.0}
    async with running(users["gateway"], **times) as (gateway, _):
        await told(client, ("command_id", "c1"), ("terminal", "1"))
        await told(client, ("kind", "session"), ("imei", IMEI), ("reason", "instance_lost"))
        while await client.hexists("instances:known", "dead"):
            await gateway.backend.janitor.check()
        await gateway.backend.janitor.trim()
    assert errors(gateway) == []
    assert await refusals(client) == set()
    assert await client.exists("connections:registry", "commands:outbound:dead") == 0


@pytest.mark.parametrize("role", rules())
async def test_rights_include_ping_and_select(log_in: As, role: str) -> None:
    assert await log_in(role).ping()
    assert await log_in(role).select(0)  # type: ignore[no-untyped-call]


LAST = f"{2**64 - 1}-{2**64 - 1}"
OUTBOUND, LEDGER, KEPT = "commands:outbound:gw-1", "commands:state:c1", "commands:deadletter:kept"
STREAMS = (
    OUTBOUND,
    "commands:responses",
    "commands:deadletter",
    "telemetry:records",
    "telemetry:messages",
    KEPT,
)

EVERYBODY = [
    *((word,) for word in ("FLUSHALL", "FLUSHDB", "SHUTDOWN", "SAVE", "BGREWRITEAOF", "MONITOR")),
    *(("CONFIG", *rest) for rest in (("GET", "*"), ("SET", "maxmemory", "1"), ("RESETSTAT",))),
    *(("ACL", word) for word in ("LIST", "WHOAMI")),
    *(("SCRIPT", *rest) for rest in (("FLUSH",), ("KILL",), ("LOAD", "return 1"))),
    *(("CLIENT", *rest) for rest in (("LIST",), ("KILL", "TYPE", "normal"), ("PAUSE", "1"))),
    ("FUNCTION", "FLUSH"),
    ("REPLICAOF", "127.0.0.1", "1"),
    ("KEYS", "*"),
    ("PUBLISH", "channel", "x"),
    ("GET", "foreign"),
    ("SET", "foreign", "x"),
    ("DEL", "foreign"),
    ("RENAME", "commands:responses", "stolen"),
    ("XGROUP", "DESTROY", OUTBOUND, "ingestion"),
    ("XGROUP", "DESTROY", "commands:responses", "directus"),
    ("XGROUP", "SETID", "commands:responses", "directus", "$"),
    ("XCLAIM", "commands:responses", "directus", "thief", "0", "1-1"),
    ("XSETID", "commands:responses", LAST),
]
"""What none of them may do."""

CHANGES = [
    *(("DEL", stream) for stream in (*STREAMS, "connections:registry", LEDGER, "devices:allowed")),
    *(("XDEL", stream, "1-1") for stream in STREAMS),
    *(("XTRIM", stream, "MAXLEN", "0") for stream in STREAMS),
    *(("XADD", stream, LAST, "a", "b") for stream in STREAMS[1:]),
    *(("XADD", stream, "MAXLEN", "0", "*", "a", "b") for stream in STREAMS[1:]),
    ("XADD", "commands:responses", "*", "state", "responded"),
    ("XADD", "telemetry:records", "*", "imei", IMEI),
    ("HSET", "connections:registry", IMEI, "mine"),
    ("HSET", LEDGER, "state", "queued"),
    ("SADD", "devices:allowed", IMEI),
    ("SET", "instance:boot:gw-1", "mine"),
    ("XGROUP", "CREATE", OUTBOUND, "mine", "0", "MKSTREAM"),
    ("XREADGROUP", "GROUP", "ingestion", "me", "STREAMS", OUTBOUND, ">"),
    ("EVAL", "return 1", "0"),
]
"""What only gateways may do."""

READS = [
    *(("XRANGE", stream, "-", "+") for stream in STREAMS),
    *(("XREAD", "STREAMS", stream, "0") for stream in STREAMS),
    ("HGETALL", "connections:registry"),
    ("HGETALL", LEDGER),
    ("SMEMBERS", "devices:allowed"),
    ("GET", "instance:boot:gw-1"),
    ("SCAN", "0"),
]
"""What producers and consumers may not read in this way."""

DENIED = {
    "gateway": [
        *EVERYBODY,
        ("XADD", "commands", "*", "a", "b"),
        ("EVAL", "return redis.call('SET', 'foreign', 'x')", "0"),
        ("EVAL", "return redis.call('FLUSHALL')", "0"),
        ("SCAN", "0"),
    ],
    "producer": [
        *EVERYBODY,
        *CHANGES,
        *READS,
        ("XADD", "commands:outbound", "*", "a", "b"),
        ("HGET", "connections:sessions", IMEI),
    ],
    "consumer": [
        *EVERYBODY,
        *CHANGES,
        *READS,
        ("XADD", OUTBOUND, "*", "imei", IMEI),
        ("XREADGROUP", "GROUP", "mine", "me", "STREAMS", "commands:deadletter", ">"),
        ("HGET", "connections:registry", IMEI),
    ],
    "maintainer": [
        *EVERYBODY,
        ("XRANGE", "commands:responses", "-", "+"),
        ("XADD", "commands:responses", "*", "state", "responded"),
        ("XADD", "telemetry:records", "*", "imei", IMEI),
        ("XDEL", "commands:responses", "1-1"),
        ("HSET", LEDGER, "state", "queued"),
        ("HSET", "connections:registry", IMEI, "mine"),
        ("XTRIM", KEPT, "MAXLEN", "0"),
        ("DEL", KEPT),
        ("XREADGROUP", "GROUP", "ingestion", "me", "STREAMS", OUTBOUND, ">"),
    ],
    "operator": [
        *EVERYBODY,
        *CHANGES,
        ("XADD", OUTBOUND, "*", "imei", IMEI),
        ("XREADGROUP", "GROUP", "directus", "me", "STREAMS", "commands:responses", ">"),
        ("XACK", "commands:responses", "directus", "1-1"),
        ("XAUTOCLAIM", "commands:responses", "directus", "me", "0", "0"),
        ("XGROUP", "CREATE", "commands:responses", "mine", "0"),
    ],
}
ONLY_IN_7 = {
    "gateway": [
        ("DEL", "devices:allowed"),
        ("SADD", "devices:allowed", IMEI),
        ("DEL", "devices:terms"),
        ("HSET", "devices:terms", IMEI, "10.0.0.0/8"),
        ("EVAL", "return redis.call('SADD', KEYS[1], 'x')", "1", "devices:allowed"),
    ],
    "producer": [
        ("XADD", "connections:registry", "*", "a", "b"),
        ("XADD", LEDGER, "*", "a", "b"),
        ("XADD", LEDGER, LAST, "a", "b"),
        ("HGET", OUTBOUND, "a"),
    ],
    "maintainer": [
        ("XRANGE", OUTBOUND, "-", "+"),
        ("XDEL", OUTBOUND, "1-1"),
        ("XADD", KEPT, "*", "payload", "forged"),
        ("XADD", LEDGER, "*", "a", "b"),
        ("EVAL", "return redis.call('XDEL', KEYS[1], '1-1')", "1", OUTBOUND),
    ],
}
"""What Redis 6.2 cannot forbid, as the page says."""


async def tried(client: Redis, *calls: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Make calls; those that were not refused."""
    allowed = []
    for words in calls:
        try:
            await client.execute_command(*words)  # type: ignore[no-untyped-call]
        except StoreRefused as error:
            if re.search(REFUSED, str(error)):
                continue
        allowed.append(words)
    return allowed


@pytest.mark.parametrize("role", DENIED)
async def test_no_role_has_other_rights(log_in: As, client: Redis, role: str) -> None:
    await client.set("foreign", "untouched")
    assert await tried(log_in(role), *DENIED[role]) == []
    assert await client.get("foreign") == b"untouched"


@pytest.mark.parametrize("form", ["7"], indirect=True)
@pytest.mark.parametrize("role", ONLY_IN_7)
async def test_selectors_forbid_more(log_in: As, role: str) -> None:
    assert await tried(log_in(role), *ONLY_IN_7[role]) == []


async def test_the_page_says_what_rights_cannot_forbid(client: Redis, log_in: As) -> None:
    """If one of these is refused some day, the page can promise more."""
    await client.xgroup_create("commands:responses", "other", "0", mkstream=True)
    entry = await client.xadd("commands:responses", {"a": "b"})
    producer, consumer = log_in("producer"), log_in("consumer")
    harm = [("XADD", OUTBOUND, "MAXLEN", "0", "*", "a", "b"), ("XADD", OUTBOUND, LAST, "a", "b")]
    assert await tried(producer, *harm, ("XADD", "commands:outbound:nobody", "*", "a", "b")) != []
    await consumer.xreadgroup("other", "thief", {"commands:responses": ">"})
    assert await consumer.xack("commands:responses", "other", entry) == 1


async def test_a_gateway_without_rights_logs_it_and_refuses_devices(
    client: Redis, users: dict[str, str]
) -> None:
    await client.execute_command("ACL", "SETUSER", "telgw", "resetkeys")  # type: ignore[no-untyped-call]
    await client.sadd("devices:allowed", IMEI)
    async with running(users["gateway"], allow_list="redis") as (gateway, address):
        async with Device.at(*address) as device:
            assert await device.name_itself() == REJECT
        assert "NoPermissionError" in errors(gateway)
