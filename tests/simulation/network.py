"""What becomes of a request to Redis: storms pass over the store, over one process, or over one purpose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from store.keys import Keys

NEVER = -1.0
TELEMETRY = "telemetry"
"""The purpose of the client that stores telemetry, where there are no shards."""


def store_of(shard: Keys) -> str:
    """The purpose of the client that stores the telemetry of a shard."""
    return TELEMETRY if shard.shard is None else f"{TELEMETRY}:{shard.shard}"


@dataclass
class Plan:
    """The fate of one request.

    Attributes:
        refused: there is no connection; nothing happens.
        before, after: seconds to the effect, and from the effect to the reply; `NEVER` when it is lost.
        reset: a loss is noticed at once, rather than by waiting for the reply.
        garbled: the reply that comes is none.
    """

    refused: bool = False
    before: float = 0.0005
    after: float = 0.0005
    reset: bool = False
    garbled: bool = False


@dataclass
class Storm:
    """Trouble for the requests that `touches` names."""

    kind: str
    touches: Callable[[str, str], bool]
    until: float


class Weather:
    """The storms of a run.

    Kinds: ``down`` refuses, ``black`` loses everything, ``flaky`` loses or refuses some, ``slow`` delays, now
    and then beyond the time limit of a client, ``oom`` lets the server take no writes, ``cut`` ends
    connections between two calls, ``garbled`` makes replies that are none.

    Attributes:
        stores: the purposes that store telemetry; with shards, one for each.
        trouble: when telemetry is not stored as it should be, by instance and store.
    """

    KINDS = ("down", "black", "flaky", "flaky", "flaky", "slow", "slow", "oom", "cut", "garbled")

    def __init__(self, random: Random, stores: Sequence[str] = (TELEMETRY,)) -> None:
        self._random = random
        self.stores = stores
        self.storms: list[Storm] = []
        self.calm = False
        self.trouble: dict[tuple[str, str], list[tuple[float, float]]] = {}

    def brew(self, now: float, instances: list[str]) -> Storm:
        """A new storm."""
        random = self._random
        kind = random.choice(self.KINDS)
        scope = random.choice(("all", "all", "instance", "instance", "purpose", "commands"))
        instance = random.choice(instances)
        purpose = random.choice(
            ("ledger", "registry", "heartbeat", "reader", *self.stores, "janitor", "sessions")
        )
        touches = {
            "all": lambda where, what: True,
            "instance": lambda where, what: where == instance,
            "purpose": lambda where, what: what == purpose,
            "commands": lambda where, what: what not in self.stores,
        }[scope if kind != "oom" else "all"]
        length = random.choice((0.3, 1.0, 2.5, 6.0, 12.0)) * random.uniform(0.5, 1.5)
        return self._pass(Storm(kind, touches, now + length), now, instances)

    def cut_off(self, instance: str, now: float, length: float) -> Storm:
        """One instance reaches nothing, for so long that others take it for dead."""
        storm = Storm("down", lambda where, what: where == instance, now + length)
        return self._pass(storm, now, [instance])

    def _pass(self, storm: Storm, now: float, instances: list[str]) -> Storm:
        self.storms.append(storm)
        for name in instances:
            touched = [store for store in self.stores if storm.touches(name, store)]
            self.hinder(name, now, storm.until, touched)
        return storm

    def hinder(self, instance: str, begin: float, end: float, stores: Sequence[str] | None = None) -> None:
        """Remember that the telemetry of `instance`, or what goes to these stores, is not stored as it
        should be."""
        for store in self.stores if stores is None else stores:
            self.trouble.setdefault((instance, store), []).append((begin, end))

    def clear(self) -> None:
        """The faults cease for good."""
        self.calm = True
        self.storms.clear()

    def oom(self, now: float) -> bool:
        """Whether the server takes no writes now."""
        return any(storm.kind == "oom" and now < storm.until for storm in self.storms)

    def cuts(self, instance: str, purpose: str, now: float) -> bool:
        """Whether a connection that is kept has ended since it carried its last call."""
        cut = [s for s in self.storms if s.kind == "cut" and now < s.until and s.touches(instance, purpose)]
        return bool(cut) and self._random.random() < 0.3

    def plan(self, instance: str, purpose: str, now: float) -> Plan:
        """The fate of a request that is made now."""
        random = self._random
        plan = Plan(before=random.uniform(0.0001, 0.002), after=random.uniform(0.0001, 0.002))
        if self.storms:
            self.storms = [storm for storm in self.storms if now < storm.until]
        for storm in self.storms:
            if storm.touches(instance, purpose):
                self._strike(storm.kind, plan)
        return plan

    def _strike(self, kind: str, plan: Plan) -> None:
        random = self._random
        if kind == "down":
            plan.refused = True
        elif kind == "black":
            self._lose(plan)
        elif kind == "slow":
            plan.before += random.choice((0.0, 0.01, 0.1, 0.9, 1.5, 4.0))
            plan.after += random.choice((0.0, 0.01, 0.1, 0.9, 1.5))
        elif kind == "garbled":
            plan.garbled = random.random() < 0.3
        elif kind == "flaky" and random.random() < 0.4:
            plan.refused = random.random() < 0.2
            self._lose(plan)

    def _lose(self, plan: Plan) -> None:
        if self._random.random() < 0.4:
            plan.before = NEVER
        else:
            plan.after = NEVER
        plan.reset = self._random.random() < 0.5
