"""Several write at once: two adopters, a dead instance that comes back, cancels, and a store that refuses."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import pairwise

import pytest

from fsm.command import Command, decide
from fsm.events import CommandEvent
from fsm.moves import Discard, Move, MoveResult, Open, Remark, Status, Step, Transfer
from store.client.errors import StoreRefused
from store.fleet.adoption import Alive
from tests.redis.fleet import IMEI, KEYS, Fleet, ignore

LOST = ("failed", "instance_lost", "not_sent")
CANCELLED = ("failed", "cancelled", "not_sent")

# Cancels on the dead instance's stream


async def test_an_unread_cancel_is_too_late_for_a_lost_command(fleet: Fleet) -> None:
    await fleet.accept()
    await fleet.publish(type="cancel")
    await fleet.adoption().adopt()
    assert await fleet.verdict() == (2, *LOST)
    assert await fleet.notes() == [("cancel_rejected", "c1", "terminal")]
    assert await fleet.left() == 0


async def test_a_cancel_follows_its_command_to_the_instance_that_got_it(fleet: Fleet) -> None:
    await fleet.accept()
    await fleet.publish(type="cancel")
    await fleet.hold("living")
    await fleet.renew_heartbeat("living")
    await fleet.adoption().adopt()
    assert await fleet.verdict() == (2, *CANCELLED)
    assert (await fleet.left("dead"), await fleet.left("living")) == (0, 0)


async def test_a_cancel_stops_a_queued_command_of_a_live_instance(fleet: Fleet) -> None:
    held = await fleet.accept(instance="living", codec="14")
    await fleet.publish(type="cancel", requested_by="anna")
    await fleet.adoption().adopt()
    assert await fleet.verdict() == (2, *CANCELLED)
    last = (await fleet.history())[-1]
    assert (last.imei, last.codec, last.echo) == (IMEI, "14", (("requested_by", "anna"),))
    assert (last.instance_id, last.outbound_id) == ("living", held.outbound_id)
    assert (await fleet.left("dead"), await fleet.left("living")) == (0, 0)


async def test_a_cancel_that_nothing_can_be_done_for_is_rejected(fleet: Fleet) -> None:
    await fleet.accept("sent", instance="living")
    await fleet.publish(type="cancel")
    await fleet.publish(type="cancel", command_id="never heard of")
    await fleet.publish(type="cancel", command_id="c2")
    await fleet.adoption().adopt()
    assert await fleet.notes() == [("cancel_rejected", "c1", "sent"), ("cancel_rejected", "c2", "unknown")]
    assert (await fleet.left("dead"), await fleet.left("living")) == (0, 2)
    assert await fleet.client.xlen(KEYS.deadletter) == 1


# The dead instance comes back


async def test_of_an_instance_that_is_back_nothing_is_touched(fleet: Fleet) -> None:
    await fleet.hold("dead")
    await fleet.accept()
    await fleet.renew_heartbeat("dead")
    with pytest.raises(Alive):
        await fleet.adoption().adopt()
    assert await fleet.client.hget(KEYS.registry, IMEI) == b"dead"
    assert ([event.state for event in await fleet.history()], await fleet.left()) == (["queued"], 2)
    assert (fleet.closed, fleet.adopted) == ([], 0)


@pytest.mark.parametrize("kind", [Open, Transfer, Step, Discard, Remark])
async def test_an_instance_back_during_adoption_keeps_the_rest(fleet: Fleet, kind: type[Move]) -> None:
    """It has a heartbeat again just before the first move of each kind."""
    await fleet.accept(command_id="c1")
    await fleet.publish(command_id="c2", imei="356307042441014")
    await fleet.publish(command_id="no good")
    await fleet.publish(type="cancel", command_id="c9")
    await fleet.hold("living")
    await fleet.renew_heartbeat("living")
    ledger = fleet.ledger("adopter", "dead")
    found: list[object] = []

    async def come_back(move: Move) -> MoveResult | None:
        if isinstance(move, kind) and not found:
            found.extend(await fleet.log())
            await fleet.renew_heartbeat("dead")
        return None

    ledger.before = come_back
    with pytest.raises(Alive):
        await fleet.adoption(ledger=ledger).adopt()
    assert await fleet.log() == found
    assert await fleet.left() > 0


async def test_moves_of_a_zombie_after_adoption_are_conflicts(fleet: Fleet) -> None:
    entries = [await fleet.accept(state, command_id=state) for state in ("queued", "sent")]
    await fleet.accept(command_id="moved", imei="356307042441014")
    await fleet.hold("living", "356307042441014")
    await fleet.renew_heartbeat("living")
    await fleet.adoption().adopt()
    log = await fleet.log()
    zombie = fleet.ledger("dead")
    queued, sent = Command("queued", "queued", 1), Command("sent", "sent", 2)
    moved = Command("moved", "queued", 1)
    results = [
        *await zombie.execute(Step(decide(queued, "send", session_id="s1"), entries[0], ignore)),
        *await zombie.execute(Step(decide(sent, "respond"), entries[1], ignore)),
        *await zombie.execute(Step(decide(moved, "send", session_id="s1"), entries[0], ignore)),
    ]
    assert [result.status for result in results] == [Status.CONFLICT] * 3
    assert await fleet.log() == log


# Two adopters


async def test_two_adopters_at_once_end_each_command_once(fleet: Fleet) -> None:
    await fleet.hold("living")
    await fleet.renew_heartbeat("living")
    names = [
        f"{kind}{number}" for kind in ("queued", "sent", "moved", "unread", "called") for number in range(8)
    ]
    for name in names:
        imei = IMEI if name.startswith("moved") else "356307042441014"
        if name.startswith("unread"):
            await fleet.publish(command_id=name, imei=imei)
        else:
            state = "sent" if name.startswith("sent") else "queued"
            await fleet.accept(state, command_id=name, imei=imei)
    for name in names:
        if name.startswith("called"):
            await fleet.publish(command_id=name, type="cancel")
    await fleet.publish(command_id="no good")
    await asyncio.gather(*(fleet.adoption().adopt() for _ in range(3)))
    for name in names:
        if not name.startswith("moved"):
            await fleet.verdict(name)
    moved = [
        fields[b"command_id"].decode() for _, fields in await fleet.client.xrange(KEYS.outbound("living"))
    ]
    assert moved == [name for name in names if name.startswith("moved")]
    notes = await fleet.notes()
    assert len(notes) == len(set(notes)) == 16
    assert (await fleet.left(), await fleet.client.xlen(KEYS.deadletter)) == (0, 1)
    assert fleet.adopted == len(names)


@pytest.mark.parametrize("kind", [Open, Transfer, Step, Discard, Remark])
async def test_an_adopter_that_is_a_step_behind_adds_nothing(fleet: Fleet, kind: type[Move]) -> None:
    """The other adopter processes everything just before the first move of each kind."""
    await fleet.accept(command_id="c1")
    await fleet.publish(command_id="c2", imei="356307042441014")
    await fleet.publish(command_id="no good")
    await fleet.publish(type="cancel", command_id="c9")
    await fleet.accept(command_id="c3", instance="living")
    await fleet.publish(type="cancel", command_id="c3")
    await fleet.hold("living")
    await fleet.renew_heartbeat("living")
    ledger, other = fleet.ledger("adopter", "dead"), fleet.ledger("other", "dead")
    adopted = False

    async def overtake(move: Move) -> MoveResult | None:
        nonlocal adopted
        if isinstance(move, kind) and not adopted:
            adopted = True
            await fleet.adoption(ledger=other).adopt()
        return None

    ledger.before = overtake
    await fleet.adoption(ledger=ledger).adopt()
    assert adopted
    assert await fleet.verdict("c2") == (2, *LOST)
    assert await fleet.verdict("c3") == (2, *CANCELLED)
    assert await fleet.notes() == [("moved", "c1", "living"), ("cancel_rejected", "c9", "unknown")]
    assert (await fleet.client.xlen(KEYS.deadletter), await fleet.left()) == (1, 0)
    assert fleet.adopted == 2


# One adopter, again and again


async def test_an_adopter_moves_a_command_each_time_its_holder_dies(fleet: Fleet) -> None:
    """Each time its ledger begins to count its moves anew."""
    await fleet.accept()
    holders = ["dead", "second", "third"]
    for holder, following in pairwise(holders):
        await fleet.client.delete(KEYS.heartbeat(holder))
        await fleet.hold(following)
        await fleet.renew_heartbeat(following)
        await fleet.adoption(holder).adopt()
    assert [await fleet.client.xlen(KEYS.outbound(holder)) for holder in holders] == [0, 0, 1]
    assert await fleet.notes() == [("moved", "c1", "second"), ("moved", "c1", "third")]


async def test_an_adopter_can_move_a_command_to_itself(fleet: Fleet) -> None:
    """Its own repeated call is answered from memory; this command is not in its memory."""
    await fleet.accept()
    await fleet.hold("adopter")
    await fleet.renew_heartbeat("adopter")
    await fleet.adoption().adopt()
    assert not (await fleet.ledger().read("c1"))["token"].startswith("boot of adopter")


@pytest.mark.parametrize("kind", [Open, Transfer, Step])
async def test_an_adopter_that_did_not_hear_the_answer_asks_again(fleet: Fleet, kind: type[Move]) -> None:
    await fleet.accept(command_id="c1")
    await fleet.accept("sent", command_id="c2")
    await fleet.hold("living")
    await fleet.renew_heartbeat("living")
    ledger, deaf = fleet.ledger("adopter", "dead"), fleet.ledger("adopter", "dead")

    async def lose_the_reply(move: Move) -> MoveResult | None:
        await deaf.execute(move)
        if isinstance(move, kind):
            raise ConnectionResetError
        return None

    ledger.before = lose_the_reply
    with suppress(ConnectionResetError):
        await fleet.adoption(ledger=ledger).adopt()
    await fleet.adoption().adopt()
    assert await fleet.verdict("c2") == (3, "failed", "instance_lost", "maybe_sent")
    assert await fleet.notes() == [("moved", "c1", "living")]
    assert (await fleet.left("living"), await fleet.left()) == (1, 0)


# A store that refuses


async def test_a_broken_ledger_does_not_delay_other_commands(fleet: Fleet) -> None:
    await fleet.client.set(KEYS.ledger("c1"), "not a ledger")
    await fleet.client.set(KEYS.ledger("c2"), "not a ledger")
    await fleet.client.set(KEYS.ledger("c3"), "not a ledger")
    await fleet.publish(command_id="c1")
    await fleet.publish(command_id="c2", payload="two\nlines")
    await fleet.publish(command_id="c3", type="cancel")
    await fleet.accept(command_id="c4")
    with pytest.raises(Exception, match="WRONGTYPE"):
        await fleet.adoption().adopt()
    ends = [(await fleet.history(name))[-1] for name in ("c1", "c2", "c4")]
    assert [event.reason for event in ends] == ["internal_error", "invalid_command", "instance_lost"]
    assert await fleet.client.xlen(KEYS.deadletter) == 2
    assert await fleet.client.xlen(KEYS.outbound("dead")) == 1  # the cancel, which changes nothing by waiting


async def test_a_holder_whose_stream_is_broken_gets_nothing(fleet: Fleet) -> None:
    await fleet.accept()
    await fleet.hold("living")
    await fleet.renew_heartbeat("living")
    await fleet.client.set(KEYS.outbound("living"), "not a stream")
    await fleet.adoption().adopt()
    assert await fleet.verdict() == (2, *LOST)


@pytest.mark.parametrize("kind", [Open, Transfer, Step, Discard])
async def test_a_store_that_is_full_ends_the_round_and_no_command(fleet: Fleet, kind: type[Move]) -> None:
    await fleet.accept(command_id="c1")
    await fleet.accept(command_id="c2", imei="356307042441014")
    await fleet.publish(command_id="no good")
    await fleet.hold("living")
    await fleet.renew_heartbeat("living")
    ledger, tries = fleet.ledger("adopter", "dead"), []

    async def refuse(move: Move) -> MoveResult | None:
        if not isinstance(move, kind):
            return None
        tries.append(move)
        return MoveResult(Status.ERROR, detail="OOM command not allowed when used memory > 'maxmemory'.")

    ledger.before = refuse
    with pytest.raises(StoreRefused):
        await fleet.adoption(ledger=ledger).adopt()
    assert len(tries) == 1
    await fleet.adoption().adopt()
    assert await fleet.verdict("c2") == (2, *LOST)
    assert sum(isinstance(item, CommandEvent) for item in await fleet.log()) == 3
    assert (await fleet.left("living"), await fleet.left()) == (1, 0)
