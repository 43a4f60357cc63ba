"""What a dead instance leaves behind: every session and every command of it ends, each exactly once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fsm.events import SessionEvent
from fsm.outbound import Limits
from fsm.redelivery import MAX_HOPS
from store.client.script import Script
from store.fleet.adoption import Adoption
from store.keys import Keys
from store.ledger.ledger import Ledger
from tests.redis.fleet import IMEI, KEYS, Fleet, ignore

DAY_MS = 86_400_000
LOST = ("failed", "instance_lost", "not_sent")


async def test_nothing_left_is_nothing_to_do(fleet: Fleet) -> None:
    await fleet.adoption().adopt()
    assert (await fleet.log(), fleet.closed, fleet.adopted) == ([], [], 0)


# The registry


async def test_registry_entries_go_and_sessions_are_published_closed(fleet: Fleet) -> None:
    await fleet.hold("dead", IMEI, "s1")
    await fleet.hold("living", "356307042441014", "s2")
    await fleet.client.hset(KEYS.registry, "356307042441015", "dead")  # by one who writes no session tokens
    await fleet.adoption().adopt()
    assert await fleet.client.hgetall(KEYS.registry) == {b"356307042441014": b"living"}
    assert await fleet.client.hgetall(KEYS.sessions) == {b"356307042441014": b"s2"}
    closed = SessionEvent(
        session_id="s1",
        seq=0,  # the adopter does not know how far the session had come
        state="closed",
        prev="",
        trigger="close",
        reason="instance_lost",
        imei=IMEI,
        instance_id="dead",
        terminal=True,
    )
    assert sorted(fleet.closed, key=lambda event: event.imei) == [
        closed,
        replace(closed, session_id="", imei="356307042441015"),
    ]


async def test_a_whole_fleet_of_registry_entries_vanishes(fleet: Fleet) -> None:
    imeis = [f"{number:015}" for number in range(2500)]
    await fleet.client.hset(KEYS.registry, mapping=dict.fromkeys(imeis, "dead"))
    await fleet.client.hset(KEYS.sessions, mapping=dict.fromkeys(imeis, "s1"))
    await fleet.adoption().adopt()
    assert await fleet.client.exists(KEYS.registry, KEYS.sessions) == 0
    assert sorted(event.imei for event in fleet.closed) == imeis


async def test_a_device_registered_elsewhere_keeps_its_entry(fleet: Fleet) -> None:
    await fleet.hold("living")
    names = [KEYS.registry, KEYS.sessions, KEYS.heartbeat("dead")]
    assert (
        await Script("remove_registrations.lua")(fleet.client, names, ["dead", IMEI, "356307042441014"]) == []
    )
    assert await fleet.client.hget(KEYS.sessions, IMEI) == b"session"


async def test_binary_registry_entries_do_no_harm(fleet: Fleet) -> None:
    await fleet.client.hset(KEYS.registry, b"\xff", b"\xfe")
    await fleet.client.hset(KEYS.registry, b"\xfd", "dead")
    await fleet.adoption().adopt()
    assert await fleet.client.hgetall(KEYS.registry) == {b"\xff": b"\xfe"}
    assert len(fleet.closed) == 1


# Commands it had accepted


async def test_a_queued_command_moves_to_the_holder_of_its_device(fleet: Fleet) -> None:
    entry = await fleet.accept(codec="14", requested_by="anna", response_timeout="2.5")
    accepted_at = (await fleet.ledger().read("c1"))["accepted_at"]
    await fleet.hold("living")
    await fleet.renew_heartbeat("living")
    fleet.now_ms += 60_000
    await fleet.adoption().adopt()
    [(moved_to, fields)] = await fleet.client.xrange(KEYS.outbound("living"))
    assert {name.decode(): value.decode() for name, value in fields.items()} == {
        "command_id": "c1",
        "imei": IMEI,
        "payload": "getinfo",
        "codec": "14",
        "expires_at": str(int(entry.outbound_id.partition("-")[0]) + 300_000),
        "response_timeout": "2.5",
        "expect_response": "1",
        "requested_by": "anna",
    }
    ledger = await fleet.ledger().read("c1")
    assert (ledger["accepted_at"], ledger["hops"]) == (accepted_at, "1")
    assert (ledger["instance_id"], ledger["outbound_id"]) == ("living", moved_to.decode())
    assert (ledger["state"], ledger["seq"]) == ("queued", "1")
    assert await fleet.notes() == [("moved", "c1", "living")]
    assert [event.state for event in await fleet.history()] == ["queued"]
    assert (await fleet.left(), fleet.adopted) == (0, 1)


@pytest.mark.parametrize("holder", [None, "dead", "silent"])
async def test_a_queued_command_without_a_live_holder_is_lost(fleet: Fleet, holder: str | None) -> None:
    await fleet.accept(requested_by="anna")
    if holder:
        await fleet.hold(holder)
    await fleet.adoption().adopt()
    assert await fleet.verdict() == (2, *LOST)
    assert {(event.imei, event.codec, event.echo) for event in await fleet.history()} == {
        (IMEI, "12", (("requested_by", "anna"),))
    }
    assert (await fleet.left(), fleet.adopted) == (0, 1)


async def test_a_queued_command_whose_time_is_over_expires(fleet: Fleet) -> None:
    await fleet.accept(expires_at=str(fleet.now_ms + 1000))
    await fleet.hold("living")
    await fleet.renew_heartbeat("living")
    fleet.now_ms += 1000
    await fleet.adoption().adopt()
    assert await fleet.verdict() == (2, "timeout", "expired", "not_sent")
    assert (await fleet.left(), await fleet.client.exists(KEYS.outbound("living"))) == (0, 0)


async def test_a_sent_command_ends_maybe_sent_wherever_its_device_is(fleet: Fleet) -> None:
    await fleet.accept("sent", expires_at=str(fleet.now_ms + 1000))
    await fleet.hold("living")
    await fleet.renew_heartbeat("living")
    fleet.now_ms += 1000
    await fleet.adoption().adopt()
    assert await fleet.verdict() == (3, "failed", "instance_lost", "maybe_sent")
    assert [event.session_id for event in await fleet.history()] == ["", "s1", "s1"]
    assert (await fleet.left(), fleet.adopted) == (0, 1)


async def test_of_a_command_that_has_ended_only_the_entry_is_removed(fleet: Fleet) -> None:
    await fleet.accept()
    stream, ledger = KEYS.outbound("dead"), KEYS.ledger("c1")
    raw = (await fleet.client.xrange(stream))[0]
    await fleet.adoption().adopt()
    # The entry is back, as if the server had forgotten its removal and nothing else.
    await fleet.client.xadd(stream + "2", raw[1], id=raw[0])
    await fleet.client.rename(stream + "2", stream)
    before, fleet.adopted = await fleet.log(), 0
    await fleet.adoption().adopt()
    assert (await fleet.log(), await fleet.left(), fleet.adopted) == (before, 0, 0)
    assert 0 < await fleet.client.ttl(ledger) <= 60


async def test_a_command_moves_three_times_and_no_more(fleet: Fleet) -> None:
    await fleet.hold("living")
    await fleet.renew_heartbeat("living")
    await fleet.accept(command_id="c1")
    await fleet.accept(command_id="c2")
    await fleet.client.hset(KEYS.ledger("c1"), "hops", MAX_HOPS - 1)
    await fleet.client.hset(KEYS.ledger("c2"), "hops", MAX_HOPS)
    await fleet.adoption().adopt()
    [(_, fields)] = await fleet.client.xrange(KEYS.outbound("living"))
    assert fields[b"command_id"] == b"c1"
    assert (await fleet.ledger().read("c1"))["hops"] == str(MAX_HOPS)
    assert await fleet.verdict("c2") == (2, *LOST)


async def test_a_command_only_the_dead_instance_accepts_still_ends(fleet: Fleet) -> None:
    await fleet.accept(command_id="c1", payload="x" * 600)
    await fleet.accept("sent", command_id="c2", payload="x" * 600)
    await fleet.adoption(limits=Limits(max_payload=512)).adopt()
    assert await fleet.verdict("c1") == (2, *LOST)
    assert await fleet.verdict("c2") == (3, "failed", "instance_lost", "maybe_sent")
    assert {event.imei for event in await fleet.history("c1")} == {IMEI}
    assert (await fleet.left(), fleet.adopted) == (0, 2)


async def test_commands_beyond_one_page_keep_their_order(fleet: Fleet) -> None:
    await fleet.hold("living")
    await fleet.renew_heartbeat("living")
    names = [f"c{number}" for number in range(250)]
    for name in names:
        await fleet.publish(command_id=name)
    await fleet.adoption().adopt()
    entries = await fleet.client.xrange(KEYS.outbound("living"))
    assert [fields[b"command_id"].decode() for _, fields in entries] == names
    assert (await fleet.left(), fleet.adopted) == (0, 250)


# What it had never read


async def test_an_unread_command_is_accepted_and_then_lost(fleet: Fleet) -> None:
    await fleet.publish()
    await fleet.adoption().adopt()
    assert await fleet.verdict() == (2, *LOST)
    assert [event.state for event in await fleet.history()] == ["queued", "failed"]
    assert await fleet.left() == 0


async def test_an_unread_command_is_accepted_and_then_expires(fleet: Fleet) -> None:
    await fleet.publish(expires_at=str(fleet.now_ms - 1))
    await fleet.adoption().adopt()
    assert await fleet.verdict() == (2, "timeout", "expired", "not_sent")


async def test_an_unread_command_is_accepted_and_then_moves(fleet: Fleet) -> None:
    await fleet.publish()
    await fleet.hold("living")
    await fleet.renew_heartbeat("living")
    await fleet.adoption().adopt()
    [(_, fields)] = await fleet.client.xrange(KEYS.outbound("living"))
    assert fields[b"expires_at"].decode() == (await fleet.ledger().read("c1"))["expires_at"]
    assert [event.state for event in await fleet.history()] == ["queued"]
    assert (await fleet.left(), fleet.adopted) == (0, 1)


async def test_an_entry_that_is_no_command_is_refused(fleet: Fleet) -> None:
    await fleet.publish(expires_at=str(fleet.now_ms + 2 * DAY_MS), command_id="c1")
    await fleet.publish(payload="two\nlines", command_id="c2")
    await fleet.adoption().adopt()
    for name in ("c1", "c2"):
        assert await fleet.verdict(name) == (1, "failed", "invalid_command", "not_sent")
    details = [(await fleet.history(name))[0].detail for name in ("c1", "c2")]
    assert [detail.partition(":")[0] for detail in details] == ["expires_at", "payload"]
    assert (await fleet.left(), fleet.adopted) == (0, 2)


async def test_an_entry_without_an_id_is_a_dead_letter(fleet: Fleet) -> None:
    await fleet.publish(command_id="no good", payload="getver")
    await fleet.client.xadd(KEYS.outbound("dead"), {"imei": IMEI, "payload": b"\xff\x00"})
    await fleet.adoption().adopt()
    letters = [fields for _, fields in await fleet.client.xrange(KEYS.deadletter)]
    assert [letter[b"error"].partition(b":")[0] for letter in letters] == [b"command_id", b"command_id"]
    assert [letter[b"payload_length"] for letter in letters] == [b"6", b"2"]
    assert (await fleet.log(), await fleet.left()) == ([], 0)


async def test_a_command_id_that_came_twice_is_one_command(fleet: Fleet) -> None:
    await fleet.accept("sent", command_id="c1")
    await fleet.publish(command_id="c1", payload="another")
    await fleet.publish(command_id="c2")
    await fleet.publish(command_id="c2", payload="two\nlines")
    await fleet.accept(command_id="c3", instance="living")
    await fleet.publish(command_id="c3")
    await fleet.adoption().adopt()
    assert await fleet.verdict("c1") == (3, "failed", "instance_lost", "maybe_sent")
    assert await fleet.verdict("c2") == (2, *LOST)
    assert [event.state for event in await fleet.history("c3")] == ["queued"]
    assert await fleet.notes() == [("duplicate_ignored", name, "") for name in ("c1", "c2", "c3")]
    assert (await fleet.left(), fleet.adopted) == (0, 2)


async def test_every_key_lies_behind_the_prefix(fleet: Fleet) -> None:
    keys, client = Keys("{fleet}:"), fleet.client
    await client.xadd(keys.outbound("dead"), {"command_id": "c1", "imei": IMEI, "payload": "getinfo"})
    await client.hset(keys.registry, IMEI, "living")
    await client.set(keys.heartbeat("living"), 1)
    options = {"retention": 60.0, "on_error": ignore, "on_fenced": ignore}
    ledger = Ledger(client, keys, "adopter", "boot", dead="dead", **options)  # type: ignore[arg-type]
    hooks = {"now_ms": lambda: fleet.now_ms, "on_closed": ignore, "on_adopted": ignore}
    await Adoption(client, keys, "dead", ledger, Limits(), **hooks).adopt()  # type: ignore[arg-type]
    assert await client.xlen(keys.outbound("living")) == 1
    assert all(key.startswith(b"{fleet}:") for key in await client.keys())
