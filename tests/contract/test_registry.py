"""The registry on every backend: who holds a device, and whose entry a session may remove."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from fsm.registration import Registered, RegisterResult, value_of
from fsm.takeover import MEMORY, Claimant
from store.client.errors import StoreError
from tests.store.test_registry import HERE, IMEI, KEYS, Gateway, entry, renew_heartbeat

Make = Callable[[str], Gateway]
REGISTERED = Registered.REGISTERED


@pytest.fixture
def gateway(any_redis: Redis) -> Make:
    return lambda name: Gateway(any_redis, name, f"b{name}")


async def registered(
    gateway: Gateway, *sessions: str, claimant: Claimant = HERE
) -> list[tuple[Registered, str]]:
    """Register sessions in turn; what became of each, and who held the device."""
    for session in sessions:
        gateway.register(session, claimant=claimant)
    await gateway.finish()
    results = [gateway.results[session] for session in sessions]
    return [(result.status, result.holder) for result in results]


async def unregistered(gateway: Gateway, session: str) -> None:
    gateway.registrar.unregister(IMEI, session)
    await gateway.finish()


async def reconciled(
    gateway: Gateway, session: str, claimant: Claimant = HERE
) -> list[tuple[Registered, str]]:
    """Register a session late; what became of it, and who holds the device."""
    pending = gateway.registrar.reconcile([(IMEI, session, claimant)])
    await gateway.finish()
    return [(result.status, result.holder) for result in await pending]


# Registration


async def test_the_first_registration_wins_and_names_the_holder(gateway: Make, any_redis: Redis) -> None:
    await renew_heartbeat(any_redis, "gw-1")
    assert await registered(gateway("gw-1"), "s1") == [(REGISTERED, "")]
    assert await registered(gateway("gw-2"), "s2") == [(REGISTERED, "gw-1")]
    assert await entry(any_redis) == (b"gw-2", b"s2")


@pytest.mark.parametrize(
    ("holder", "alive", "status"),
    [
        ("", False, REGISTERED),
        ("gw-1", True, REGISTERED),
        ("gw-2", False, REGISTERED),
        ("gw-2", True, Registered.SUPERSEDED),
    ],
    ids=["nobody", "ours", "dead", "alive"],
)
async def test_a_deferred_registration_yields_to_a_live_holder_only(
    gateway: Make, any_redis: Redis, holder: str, alive: bool, status: Registered
) -> None:
    if holder:
        await any_redis.hset(KEYS.registry, IMEI, holder)
        await any_redis.hset(KEYS.sessions, IMEI, "theirs")
    if alive:
        await renew_heartbeat(any_redis, holder)
    assert await reconciled(gateway("gw-1"), "ours") == [(status, holder)]
    won = status is REGISTERED
    assert await entry(any_redis) == ((b"gw-1", b"ours") if won else (b"gw-2", b"theirs"))


@pytest.mark.parametrize(
    ("key", "written", "differs"),
    [
        (KEYS.registry, "gw-1", False),
        (KEYS.registry, "gw-2", True),
        (KEYS.registry, None, True),
        (KEYS.sessions, "s1", True),
        (KEYS.sessions, "s2 10.0.0.1 plain", True),
        (KEYS.sessions, None, True),
    ],
    ids=["as it was", "taken", "lost", "no address", "another session", "a lost session"],
)
async def test_a_registration_that_somebody_changed_is_found(
    gateway: Make, any_redis: Redis, key: str, written: str | None, differs: bool
) -> None:
    """Also by a gateway that writes no tokens."""
    one = gateway("gw-1")
    await registered(one, "s1")
    await (any_redis.hset(key, IMEI, written) if written else any_redis.hdel(key, IMEI))
    values = {IMEI: value_of("s1", HERE), "another": value_of("s2", HERE)}
    assert await one.registrar.differing(values) == [IMEI] * differs + ["another"]
    assert await one.registrar.differing({}) == []


async def test_a_registry_that_cannot_be_read_is_no_answer(gateway: Make, any_redis: Redis) -> None:
    await any_redis.set(KEYS.sessions, "not a hash")
    with pytest.raises(StoreError):
        await gateway("gw-1").registrar.differing({IMEI: value_of("s1", HERE)})


async def test_a_registered_instance_is_known_to_janitors(gateway: Make, any_redis: Redis) -> None:
    await registered(gateway("gw-1"), "s1")
    assert int(await any_redis.hget(KEYS.instances, "gw-1") or 0) > 1_700_000_000_000


async def test_a_registration_tells_whether_the_device_sends_serial_data(
    gateway: Make, any_redis: Redis
) -> None:
    one = gateway("gw-1")
    await any_redis.sadd(KEYS.serial, IMEI)
    one.register("s1")
    one.register("s2", "another")
    await one.finish()
    assert [one.results[session].speaks for session in ("s1", "s2")] == [True, False]


async def test_a_replaced_process_registers_nothing_and_is_told_once(gateway: Make, any_redis: Redis) -> None:
    await any_redis.set(KEYS.boot("gw-1"), "a newer process")
    one = gateway("gw-1")
    for number in range(700):
        one.register(f"s{number}", f"{number:015}")
    await one.registrar.run()
    assert (one.fenced, len(one.results)) == (1, 700)
    assert set(one.results.values()) == {RegisterResult(Registered.FENCED)}
    assert await any_redis.hlen(KEYS.registry) == 0


async def test_holders_are_named_for_the_devices_that_have_one(gateway: Make) -> None:
    one = gateway("gw-1")
    await registered(one, "s1")
    assert await one.registrar.holders([IMEI, "unknown"]) == {IMEI: "gw-1"}
    assert await one.registrar.holders([]) == {}


# Removal


async def test_an_old_session_leaves_the_entry_of_a_newer_one(gateway: Make, any_redis: Redis) -> None:
    one = gateway("gw-1")
    await registered(one, "old", "new")
    await unregistered(one, "old")
    assert await entry(any_redis) == (b"gw-1", b"new")
    await unregistered(one, "new")
    assert await entry(any_redis) == (None, None)


async def test_an_instance_leaves_the_entry_of_another(gateway: Make, any_redis: Redis) -> None:
    await registered(gateway("gw-2"), "s2")
    await unregistered(gateway("gw-1"), "s1")
    assert await entry(any_redis) == (b"gw-2", b"s2")


async def test_a_gateway_without_tokens_keeps_its_entry(gateway: Make, any_redis: Redis) -> None:
    one = gateway("gw-1")
    await registered(one, "s1")
    await any_redis.hset(KEYS.registry, IMEI, "foreign")
    await unregistered(one, "s1")
    assert await entry(any_redis) == (b"foreign", None)


async def test_an_entry_of_ours_without_a_token_is_removed(gateway: Make, any_redis: Redis) -> None:
    await any_redis.hset(KEYS.registry, IMEI, "gw-1")
    await unregistered(gateway("gw-1"), "s1")
    assert await entry(any_redis) == (None, None)


async def test_a_session_removes_the_entry_of_an_older_one(gateway: Make, any_redis: Redis) -> None:
    one = gateway("gw-1")
    await registered(one, "bgw-1-1-tls")
    await unregistered(one, "bgw-1-2-tls")
    assert await entry(any_redis) == (None, None)


async def test_a_shutdown_removes_our_entries_only(gateway: Make, any_redis: Redis) -> None:
    one = gateway("gw-1")
    sessions = [(f"{number:015}", f"s{number}") for number in range(1200)]
    for imei, session in sessions:
        one.register(session, imei)
    await one.finish()
    await any_redis.hset(KEYS.registry, sessions[7][0], "gw-2")
    await any_redis.hset(KEYS.sessions, sessions[7][0], "theirs")
    assert await one.registrar.unregister_all(sessions, 10) == 0
    assert await any_redis.hlen(KEYS.registry) == await any_redis.hlen(KEYS.sessions) == 1
    assert await entry(any_redis, sessions[7][0]) == (b"gw-2", b"theirs")


# With TLS and without


@pytest.fixture
async def alive(gateway: Make, any_redis: Redis) -> dict[str, Gateway]:
    """Two instances that are alive."""
    for name in ("gw-1", "gw-2"):
        await renew_heartbeat(any_redis, name)
        await any_redis.set(KEYS.boot(name), f"b{name}")
    return {name: gateway(name) for name in ("gw-1", "gw-2")}


async def test_a_plain_session_takes_no_device_from_a_live_tls_session(
    alive: dict[str, Gateway], any_redis: Redis
) -> None:
    await registered(alive["gw-1"], "bgw-1-1-tls")
    assert await registered(alive["gw-2"], "bgw-2-1") == [(Registered.INSECURE, "gw-1")]
    assert await entry(any_redis) == (b"gw-1", b"bgw-1-1-tls")
    await unregistered(alive["gw-2"], "bgw-2-1")
    assert await entry(any_redis) == (b"gw-1", b"bgw-1-1-tls")


async def test_a_tls_session_takes_the_device_from_any_other(
    alive: dict[str, Gateway], any_redis: Redis
) -> None:
    await registered(alive["gw-1"], "bgw-1-1-tls")
    assert await registered(alive["gw-2"], "bgw-2-1-tls") == [(REGISTERED, "gw-1")]
    assert await entry(any_redis) == (b"gw-2", b"bgw-2-1-tls")


@pytest.mark.parametrize("end", ["closed", "no heartbeat", "another process", "no owner", "no token"])
async def test_a_plain_session_takes_the_device_of_a_dead_tls_session(
    alive: dict[str, Gateway], any_redis: Redis, end: str
) -> None:
    await registered(alive["gw-1"], "bgw-1-1-tls")
    match end:
        case "closed":
            await unregistered(alive["gw-1"], "bgw-1-1-tls")
        case "no heartbeat":
            await any_redis.delete(KEYS.heartbeat("gw-1"))
        case "another process":
            await any_redis.set(KEYS.boot("gw-1"), "b-later")
        case "no owner":
            await any_redis.delete(KEYS.boot("gw-1"))
        case "no token":
            await any_redis.hdel(KEYS.sessions, IMEI)
    await registered(alive["gw-2"], "bgw-2-1")
    assert await entry(any_redis) == (b"gw-2", b"bgw-2-1")


@pytest.mark.parametrize(
    ("holder", "late", "wins"),
    [("1", "1-tls", True), ("1-tls", "1-tls", False), ("1", "1", False), ("1-tls", "1", False)],
)
async def test_a_deferred_tls_registration_wins_over_a_plain_session(
    alive: dict[str, Gateway], any_redis: Redis, holder: str, late: str, wins: bool
) -> None:
    await registered(alive["gw-1"], f"bgw-1-{holder}")
    status = REGISTERED if wins else Registered.SUPERSEDED
    assert await reconciled(alive["gw-2"], f"bgw-2-{late}") == [(status, "gw-1")]
    assert await any_redis.hget(KEYS.registry, IMEI) == (b"gw-2" if wins else b"gw-1")


# Take-overs

ELSEWHERE = Claimant("10.0.0.2", "cert:aa")
THERE = Claimant("10.0.0.3", "plain")


async def takes(gateway: Gateway, session: str, claimant: Claimant) -> RegisterResult:
    gateway.register(session, claimant=claimant)
    await gateway.finish()
    return gateway.results[session]


def claimants(result: RegisterResult) -> list[Claimant]:
    return [claim.claimant for claim in result.claims]


@pytest.mark.parametrize("second", ["gw-1", "gw-2"])
async def test_a_registration_tells_who_held_the_device_and_who_has_claimed_it(
    alive: dict[str, Gateway], any_redis: Redis, second: str
) -> None:
    first = await takes(alive["gw-1"], "bgw-1-1", HERE)
    assert (first.former, first.claims) == (None, ())
    result = await takes(alive[second], f"b{second}-2", ELSEWHERE)
    assert (result.holder, result.former, claimants(result)) == ("gw-1", HERE, [ELSEWHERE, HERE])
    assert result.claims[0].at > 1_700_000_000_000
    assert 0 < await any_redis.pttl(KEYS.claims(IMEI)) <= MEMORY * 60_000


async def test_the_same_peer_again_is_no_claim(alive: dict[str, Gateway], any_redis: Redis) -> None:
    await takes(alive["gw-1"], "bgw-1-1", HERE)
    result = await takes(alive["gw-2"], "bgw-2-1", HERE)
    assert (result.former, result.claims) == (HERE, ())
    assert await any_redis.exists(KEYS.claims(IMEI)) == 0


@pytest.mark.parametrize("end", ["closed", "no heartbeat", "another process"])
async def test_a_session_that_is_over_has_no_claim(
    alive: dict[str, Gateway], any_redis: Redis, end: str
) -> None:
    await takes(alive["gw-1"], "bgw-1-1", HERE)
    match end:
        case "closed":
            await unregistered(alive["gw-1"], "bgw-1-1")
        case "no heartbeat":
            await any_redis.delete(KEYS.heartbeat("gw-1"))
        case "another process":
            await any_redis.set(KEYS.boot("gw-1"), "b-later")
    result = await takes(alive["gw-2"], "bgw-2-1", ELSEWHERE)
    assert (result.former, result.claims) == (None, ())


async def test_who_closes_its_connection_has_still_claimed_the_device(alive: dict[str, Gateway]) -> None:
    await takes(alive["gw-1"], "bgw-1-1", HERE)
    await takes(alive["gw-2"], "bgw-2-1", THERE)
    await unregistered(alive["gw-2"], "bgw-2-1")
    again = await takes(alive["gw-2"], "bgw-2-2", THERE)
    assert claimants(again) == [THERE, HERE]
    assert claimants(await takes(alive["gw-1"], "bgw-1-2", HERE)) == [HERE, THERE, HERE]


async def test_the_first_two_and_the_last_six_claims_are_kept(alive: dict[str, Gateway]) -> None:
    for number in range(12):
        result = await takes(alive["gw-1"], f"bgw-1-{number:x}", Claimant(f"10.0.1.{number}", "plain"))
    assert [claim.claimant.host for claim in result.claims] == [
        f"10.0.1.{n}" for n in (11, 10, 9, 8, 7, 6, 1, 0)
    ]


@pytest.mark.parametrize(("session", "settled"), [("bgw-2-1", True), ("bgw-1-1", False)])
async def test_only_the_holder_settles_a_take_over(
    alive: dict[str, Gateway], any_redis: Redis, session: str, settled: bool
) -> None:
    await takes(alive["gw-1"], "bgw-1-1", HERE)
    await takes(alive["gw-2"], "bgw-2-1", ELSEWHERE)
    alive["gw-2"].registrar.settle(IMEI, session)
    await alive["gw-2"].finish()
    assert await any_redis.exists(KEYS.claims(IMEI)) == (not settled)


async def test_the_loser_is_told_of_its_session(alive: dict[str, Gateway], any_redis: Redis) -> None:
    await takes(alive["gw-1"], "bgw-1-1", HERE)
    await takes(alive["gw-1"], "bgw-1-2", HERE)
    assert await any_redis.xlen(KEYS.outbound("gw-1")) == 0
    await takes(alive["gw-2"], "bgw-2-1", HERE)
    [(_, fields)] = await any_redis.xrange(KEYS.outbound("gw-1"))
    assert fields == {b"type": b"superseded", b"imei": IMEI.encode(), b"session_id": b"bgw-1-2"}


@pytest.mark.parametrize("token", ["bgw-1-1", "bgw-1-1-tls"])
async def test_a_gateway_of_an_earlier_version_holds_a_device_by_its_token_alone(
    alive: dict[str, Gateway], any_redis: Redis, token: str
) -> None:
    await any_redis.hset(KEYS.registry, IMEI, "gw-1")
    await any_redis.hset(KEYS.sessions, IMEI, token)
    plain = await takes(alive["gw-2"], "bgw-2-1", ELSEWHERE)
    assert plain.status is (Registered.INSECURE if token.endswith("-tls") else REGISTERED)
    result = await takes(alive["gw-2"], "bgw-2-2-tls", ELSEWHERE)
    assert (result.status, result.claims) == (REGISTERED, ())
    assert await any_redis.xlen(KEYS.outbound("gw-1")) == 0
    value = await any_redis.hget(KEYS.sessions, IMEI)
    assert value == b"bgw-2-2-tls 10.0.0.2 cert:aa -tls"


async def test_claims_that_cannot_be_read_keep_no_device_away(
    alive: dict[str, Gateway], any_redis: Redis
) -> None:
    await any_redis.hset(KEYS.claims(IMEI), "x", "y")
    await takes(alive["gw-1"], "bgw-1-1", HERE)
    result = await takes(alive["gw-2"], "bgw-2-1", ELSEWHERE)
    assert (result.status, claimants(result)) == (REGISTERED, [ELSEWHERE, HERE])


@pytest.mark.parametrize("disputed", [False, True])
async def test_a_loser_settles_a_take_over_of_two_and_the_holder_is_told(
    alive: dict[str, Gateway], any_redis: Redis, disputed: bool
) -> None:
    await takes(alive["gw-1"], "bgw-1-1", THERE)
    if disputed:
        await takes(alive["gw-1"], "bgw-1-2", HERE)
        await takes(alive["gw-1"], "bgw-1-3", THERE)
    await takes(alive["gw-2"], "bgw-2-1", HERE)
    pending = alive["gw-1"].registrar.reconcile([(IMEI, "bgw-1-1", THERE)])
    await alive["gw-1"].finish()
    [lost] = await pending
    assert (lost.status, lost.former) == (Registered.SUPERSEDED, HERE)
    alive["gw-1"].registrar.vouch(IMEI, "bgw-1-1", THERE)
    await alive["gw-1"].finish()
    assert await any_redis.exists(KEYS.claims(IMEI)) == disputed
    told = [fields[b"session_id"] for _, fields in await any_redis.xrange(KEYS.outbound("gw-2"))]
    assert told == ([] if disputed else [b"bgw-2-1"])


# Certificates

CERTIFIED = Claimant("10.0.0.1", f"cert:{'5a' * 32}")
UNPROVED = Registered.UNPROVED


async def test_a_device_seen_with_a_certificate_is_not_registered_without(
    gateway: Make, any_redis: Redis
) -> None:
    one, other = gateway("gw-1"), gateway("gw-2")
    assert await registered(one, "s1-tls", claimant=CERTIFIED) == [(REGISTERED, "")]
    known = await any_redis.hget(KEYS.auth, IMEI)
    assert known is not None
    assert re.fullmatch(rf"{CERTIFIED.auth} \d{{13}}", known.decode())
    await unregistered(one, "s1-tls")
    for auth in ("plain", "tls"):
        claimant = Claimant("10.0.0.1", auth)
        assert await registered(other, "s2", claimant=claimant) == [(UNPROVED, "")]
        assert await reconciled(other, "s2", claimant) == [(UNPROVED, "")]
    assert await any_redis.hget(KEYS.registry, IMEI) is None
    assert await registered(other, "s3-tls", claimant=Claimant("10.0.0.1", "cert:another")) == [
        (REGISTERED, "")
    ]
    assert await any_redis.hget(KEYS.auth, IMEI) == known
    await any_redis.hdel(KEYS.auth, IMEI)
    assert await registered(other, "s4") == [(REGISTERED, "gw-2")]


async def test_a_deferred_registration_remembers_the_certificate(gateway: Make, any_redis: Redis) -> None:
    assert await reconciled(gateway("gw-1"), "s1-tls", CERTIFIED) == [(REGISTERED, "")]
    assert await registered(gateway("gw-1"), "s2") == [(UNPROVED, "gw-1")]


async def test_certificates_that_cannot_be_read_keep_no_device_out(gateway: Make, any_redis: Redis) -> None:
    await any_redis.set(KEYS.auth, "not a hash")
    assert await registered(gateway("gw-1"), "s1") == [(REGISTERED, "")]
    assert await registered(gateway("gw-1"), "s2-tls", claimant=CERTIFIED) == [(REGISTERED, "gw-1")]
