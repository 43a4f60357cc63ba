"""Hundreds of commands in flight at one gateway, in every state that a command can be in."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.rig.fleet import Fleet
from tests.rig.log_lines import told
from tests.rig.tracker import Tracker
from tests.rig.waiting import each, until

FAR = 60
"""Seconds until a deadline that must not come in a test."""
UNHURRIED: dict[str, Any] = {
    "command_ttl": FAR,
    "response_timeout": FAR,
    "drain_timeout": FAR,
    "ready_grace": FAR,
    "heartbeat_ttl": FAR,
}
"""Options of gateways whose commands stay where they are until a test says so."""
EACH = 9
"""Commands in flight that `Crowd.fill` leaves for one of its `scale`; and up to one more."""


@dataclass
class Crowd:
    """Trackers in groups, and what was asked of them: command ids by the state in which they are."""

    run: Fleet
    trackers: dict[str, list[Tracker]] = field(default_factory=dict)
    asked: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def plug_in(self, group: str, count: int, manner: str, **how: Any) -> None:
        """More trackers, who all do the same with a command."""
        where = self.run.at("gw-1")
        self.trackers[group] = self.run.plug_in(
            count, where, pause=3.0, time_limit=FAR, manners=(manner,), **how
        )

    async def ask(self, state: str, group: str) -> list[str]:
        """A command for each tracker of the group; their ids."""
        found = [await self.run.producer.ask(tracker.imei) for tracker in self.trackers[group]]
        self.asked[state] += found
        return found

    async def fill(self, scale: int) -> None:
        """Bring commands into every state, and leave the gateway frozen."""
        run, trackers = self.run, self.trackers
        for group, count, manner in (
            ("silent", 2 * scale, "never"),
            ("slow", scale, "never"),
            ("returning", scale, "answer"),
            ("staying away", scale, "answer"),
            ("quick", scale, "hold"),
            ("idle", scale, "answer"),
        ):
            self.plug_in(group, count, manner)
        await run.connected()
        self.plug_in("new", scale, "answer", mute=True)
        await each(trackers["new"], lambda tracker: tracker.accepted, "accept bytes")

        overdue = [await run.producer.ask(t.imei, response_timeout="0.1") for t in trackers["slow"]]
        out = await self.ask("out", "silent") + await self.ask("being answered", "quick")
        waiting = await self.ask("behind another", "silent") + await self.ask("not ready", "new")
        absent = trackers["returning"] + trackers["staying away"]
        for tracker in absent:
            tracker.move(lambda: None)
        await until(partial(self._unregistered, absent), "devices that have left")
        waiting += await self.ask("absent", "returning") + await self.ask("absent for good", "staying away")
        await until(partial(self._in_state, "timeout", overdue), "timeouts")
        waiting += await self.ask("tainted", "slow")
        await until(partial(self._in_state, "sent", out), "commands out")
        await until(partial(self._in_state, "queued", waiting), "commands waiting")
        await until(lambda: len(run.history.received) == len(overdue + out), "commands with their devices")

        for tracker in trackers["quick"][: scale // 2]:
            tracker.answer()
        answered = self.asked["being answered"][: scale // 2]
        await until(partial(self._in_state, "responded", answered), "half of the answers")
        for tracker in trackers["quick"][scale // 2 :]:
            tracker.answer()  # the gateway freezes while it reads and commits them
        run.freeze()
        await self.ask("unread", "idle")

    async def _in_state(self, state: str, commands: list[str]) -> bool:
        async with self.run.client.pipeline(transaction=False) as pipe:
            for command_id in commands:
                pipe.hget(self.run.keys.ledger(command_id), "state")
            return set(await pipe.execute()) == {state.encode()}

    async def _unregistered(self, trackers: list[Tracker]) -> bool:
        found = await self.run.client.hmget(self.run.keys.registry, [t.imei for t in trackers])
        return not any(found)

    async def gather_at(self, instance_id: str) -> None:
        """All but those who stay away come to a gateway, report and answer."""
        self.run.calm()
        coming = [t for group, trackers in self.trackers.items() if group != "staying away" for t in trackers]
        for tracker in coming:
            tracker.speak()
            tracker.move(self.run.at(instance_id))
        await each(coming, lambda tracker: tracker.all_acknowledged, "every tracker back")
        await until(self.run.registered, "every tracker registered")

    async def undecided(self) -> int:
        """How many commands have no verdict."""
        await self.run.read_on()
        return len(self.run.history.produced) - len(self.run.memory.decided)

    async def ends(self) -> dict[str, Counter[str]]:
        """How often each end was met, as ``state reason delivery``, by the state that it met them in."""
        ends = await told(self.run)
        return {state: Counter(ends[name] for name in commands) for state, commands in self.asked.items()}
