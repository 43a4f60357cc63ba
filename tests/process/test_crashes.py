"""The end of a gateway with hundreds of commands in flight, in every state: each gets its one verdict."""

from __future__ import annotations

import time

from tests.rig.commands_in_flight import EACH, UNHURRIED, Crowd
from tests.rig.fleet import fleet
from tests.rig.waiting import each

SCALE = 56
ANSWERED = "responded answered"
SHUT_DOWN = "failed gateway_shutdown not_sent"


async def test_after_a_kill_the_instance_goes_on_with_queued_commands(redis_url: str) -> None:
    async with fleet(redis_url, **UNHURRIED, reconnect_grace=5) as run:
        crowd = Crowd(run)
        await run.start()
        await crowd.fill(SCALE)
        await run.kill()
        assert await crowd.undecided() >= EACH * SCALE > 500
        await run.start()
        await crowd.gather_at("gw-1")
        await run.rest()
        ends = await crowd.ends()
        cut_off = ends["being answered"].pop("failed gateway_restart maybe_sent", 0)
        assert ends == {
            "out": {"failed gateway_restart maybe_sent": 2 * SCALE},
            "being answered": {ANSWERED: SCALE - cut_off},
            "behind another": {ANSWERED: 2 * SCALE},
            "tainted": {ANSWERED: SCALE},
            "not ready": {ANSWERED: SCALE},
            "absent": {ANSWERED: SCALE},
            "absent for good": {"failed device_not_connected not_sent": SCALE},
            "unread": {ANSWERED: SCALE},
        }
        assert await run.verdict() == []


async def test_another_instance_adopts_a_killed_one(redis_url: str) -> None:
    async with fleet(redis_url, **UNHURRIED) as run:
        crowd = Crowd(run)
        await run.start()
        await crowd.fill(SCALE)
        await run.kill()
        assert await crowd.undecided() >= EACH * SCALE > 500
        await run.start("gw-2")
        await crowd.gather_at("gw-2")
        await run.outlive("gw-1")
        await run.rest()
        ends = await crowd.ends()
        cut_off = ends["being answered"].pop("failed instance_lost maybe_sent", 0)
        assert ends == {
            "out": {"failed instance_lost maybe_sent": 2 * SCALE},
            "being answered": {ANSWERED: SCALE - cut_off},
            "behind another": {ANSWERED: 2 * SCALE},
            "tainted": {ANSWERED: SCALE},
            "not ready": {ANSWERED: SCALE},
            "absent": {ANSWERED: SCALE},
            "absent for good": {"failed instance_lost not_sent": SCALE},
            "unread": {ANSWERED: SCALE},
        }
        assert await run.verdict() == []


async def test_sigterm_ends_hundreds_of_commands_in_time(redis_url: str) -> None:
    scale = 24
    async with fleet(redis_url, **UNHURRIED, shutdown_timeout=1) as run:
        crowd = Crowd(run)
        await run.start()
        await crowd.fill(scale)
        assert await crowd.undecided() >= EACH * scale > 200
        begun = time.monotonic()
        run.thaw()
        assert await run.stop() == 0
        assert time.monotonic() - begun < 1 + 5
        assert await crowd.undecided() == 0
        ends = await crowd.ends()
        assert ends.pop("unread").keys() <= {ANSWERED, SHUT_DOWN}
        assert ends == {
            "out": {"failed gateway_shutdown received": 2 * scale},
            "being answered": {ANSWERED: scale},
            "behind another": {SHUT_DOWN: 2 * scale},
            "tainted": {SHUT_DOWN: scale},
            "not ready": {SHUT_DOWN: scale},
            "absent": {SHUT_DOWN: scale},
            "absent for good": {SHUT_DOWN: scale},
        }
        ours = [run.keys.registry, run.keys.sessions, run.keys.heartbeat("gw-1"), run.keys.boot("gw-1")]
        assert await run.client.exists(*ours) == 0
        await each(run.trackers, lambda tracker: not tracker.accepted, "trackers that know it")
        assert await run.verdict() == []
