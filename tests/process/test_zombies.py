"""A gateway that was frozen for so long that others took its place, and wakes up."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from functools import partial

from tests.process.gateway import Gateway
from tests.rig.commands_in_flight import FAR
from tests.rig.fleet import Fleet, fleet
from tests.rig.log_lines import ended, notes, told
from tests.rig.tracker import Tracker
from tests.rig.waiting import each, until

COUNT = 10
NO_TIMEOUTS = {"response_timeout": FAR, "command_ttl": FAR, "drain_timeout": FAR, "heartbeat_ttl": FAR}
ANSWERED = "responded answered"


def rival(run: Fleet) -> Gateway:
    """Let another process have the instance id and the devices of ``gw-1``; the one that had them."""
    del run.ports["gw-1"]
    run.history.contested.add("gw-1")
    return run.gateways.pop("gw-1")


async def ask(run: Fleet, trackers: list[Tracker]) -> list[str]:
    """A command for each; their ids."""
    return [await run.producer.ask(tracker.imei) for tracker in trackers]


async def out_and_behind(run: Fleet, trackers: list[Tracker]) -> tuple[list[str], dict[str, str]]:
    """Two commands for each tracker, which holds its answers: those out, and by IMEI those behind them."""
    out = await ask(run, trackers)
    behind = {tracker.imei: await run.producer.ask(tracker.imei) for tracker in trackers}
    await ended(run, out, "sent maybe_sent")
    await ended(run, list(behind.values()), "queued not_sent")
    await until(lambda: len(run.history.received) == len(out), "commands with their devices")
    return out, behind


async def are_noted(run: Fleet, commands: list[str]) -> bool:
    """Whether there is a late outcome of each of these commands, and of no other."""
    return {note["command_id"] for note in await notes(run, "late_outcome")} == set(commands)


async def all_begun(run: Fleet, commands: list[str]) -> bool:
    """Whether something is known of all these commands."""
    return (await told(run)).keys() >= set(commands)


async def works(run: Fleet) -> None:
    """Every device is served: it has a report acknowledged, and obeys a command."""
    acks = {tracker.imei: len(tracker.acks) for tracker in run.trackers}
    await ended(run, await ask(run, run.trackers), ANSWERED)
    await each(run.trackers, lambda tracker: len(tracker.acks) > acks[tracker.imei], "acknowledgements")


async def test_a_zombie_writes_no_adopted_command_and_goes_on(
    redis_url: str,
) -> None:
    async with fleet(redis_url, **NO_TIMEOUTS) as run:
        for name in ("gw-1", "gw-2"):
            await run.start(name)
        plug_in = partial(run.plug_in, COUNT, run.at("gw-1"), time_limit=FAR, pause=1.0)
        staying, moving, deserting = (plug_in(manners=("hold",)) for _ in range(3))
        idle = plug_in(manners=("answer",))
        await run.connected()
        out, behind = await out_and_behind(run, staying + moving + deserting)

        run.freeze("gw-1")
        unread = await ask(run, idle)
        for tracker in moving:
            tracker.move(run.at("gw-2"))
        for tracker in deserting:
            tracker.move(run.at("gw-2"), silently=True)
        for tracker in staying:
            tracker.answer()
        run.calm()
        await each(moving + deserting, lambda tracker: tracker.all_acknowledged, "devices elsewhere")
        await until(run.registered, "devices registered there")
        await run.outlive("gw-1")
        await ended(run, out, "failed instance_lost maybe_sent")
        await ended(run, [behind[t.imei] for t in staying], "failed instance_lost not_sent")
        await ended(run, unread, "failed instance_lost not_sent")
        await ended(run, [behind[t.imei] for t in moving + deserting], ANSWERED)

        run.thaw("gw-1")
        await until(partial(are_noted, run, out), "late outcomes")
        outcomes = Counter((n["detail"], "response" in n) for n in await notes(run, "late_outcome"))
        assert outcomes == {
            ("responded", True): COUNT,
            ("connection_lost", False): COUNT,
            ("session_superseded", False): COUNT,
        }
        await each(deserting, lambda tracker: tracker.lines[0].ended, "sessions let go")
        await until(run.registered, "devices registered again")
        await works(run)
        await run.rest()
        assert await run.verdict() == []
        assert Counter(run.history.registry.values()) == {"gw-1": 2 * COUNT, "gw-2": 2 * COUNT}


async def test_a_zombie_whose_id_is_taken_ends_without_writing(redis_url: str) -> None:
    async with fleet(redis_url, **NO_TIMEOUTS, reconnect_grace=FAR) as run:
        await run.start()
        plug_in = partial(run.plug_in, COUNT, run.at("gw-1"), time_limit=FAR, pause=1.0, manners=("hold",))
        staying, moving = plug_in(), plug_in()
        await run.connected()
        out, behind = await out_and_behind(run, staying + moving)

        run.freeze("gw-1")
        with rival(run) as zombie:
            await run.start("gw-1")
            for tracker in moving:
                tracker.move(run.at("gw-1"))
            for tracker in staying:
                tracker.answer()
            run.calm()
            await ended(run, out, "failed gateway_restart maybe_sent")
            await ended(run, [behind[t.imei] for t in moving], ANSWERED)
            assert not any(tracker.lines[0].ended for tracker in staying)

            zombie.process.send_signal(signal.SIGCONT)
            assert await asyncio.to_thread(zombie.exit_status) == 3
        await ended(run, [behind[t.imei] for t in staying], ANSWERED)
        assert await notes(run, "late_outcome") == []
        await works(run)
        await run.rest()
        assert await run.verdict() == []


async def test_two_processes_with_one_id_do_nothing_twice(redis_url: str) -> None:
    async with fleet(redis_url) as run:
        await run.start()
        run.plug_in(3 * COUNT)
        await run.connected()
        commands = [command for _ in range(10) for command in await ask(run, run.trackers)]
        await until(partial(all_begun, run, commands), "commands accepted")
        with rival(run) as first:
            await run.start("gw-1", take_over=True)
            assert await asyncio.to_thread(first.exit_status) == 3
        await run.rest()
        assert await run.verdict() == []
