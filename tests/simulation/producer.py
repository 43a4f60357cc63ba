"""The business plane of a run: it looks up who holds a device, and appends commands and cancels."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from tests.history import Fields, Produced

if TYPE_CHECKING:
    from tests.simulation.world import World


ANSWER_WITHIN = ("0.5", "2", "6")
"""Seconds that some commands give their device to answer."""
LONGEST_ANSWER = 6.0
WAIT_FOR = (4.0, 12.0, 25.0)
"""Seconds until a command expires that waits for its device wherever that is."""


class Producer:
    """Asks much, and not always well."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = world.random
        self._count = 0
        self._asked: list[tuple[str, Fields]] = []

    async def live(self) -> None:
        """Produce until the run is at rest."""
        while not self._world.weather.calm:
            self._produce()
            await asyncio.sleep(self._random.choice((0.0, 0.02, 0.3, 1.0)))

    def _produce(self) -> None:
        what = self._random.random()
        if what < 0.80 or not self._asked:
            for _ in range(self._random.choice((1, 1, 1, 3))):
                self._command()
        elif what < 0.90:
            self._again(cancel=True)
        elif what < 0.97:
            self._again(cancel=False)
        else:
            self._nonsense()

    def _command(self) -> None:
        random = self._random
        self._count += 1
        device = random.choice(self._world.busy if random.random() < 0.9 else self._world.devices)
        fields = {
            "command_id": f"c{self._count}",
            "imei": device.imei,
            "payload": f"setdigout {self._count:05d}",
            "codec": random.choice(("12", "14")),
        }
        if random.random() < 0.5:
            del fields["codec"]
        if random.random() < 0.3:
            fields["response_timeout"] = random.choice(ANSWER_WITHIN)
        if random.random() < 0.3:
            ahead = random.choice((-5.0, 0.05, 1.0, 5.0))
            fields["expires_at"] = str(int((self._world.clock.wall() + ahead) * 1000))
        if random.random() < (0.7 if device.sleepy else 0.1):
            fields["offline"] = "wait"
            ahead = random.choice(WAIT_FOR)
            fields["expires_at"] = str(int((self._world.clock.wall() + ahead) * 1000))
        if random.random() < 0.15:
            fields["expect_response"] = "0"
        if random.random() < 0.03:
            fields["codec"] = "13"
        instance = self._world.holder(device.imei)
        if instance is None or random.random() < 0.1:
            instance = self._anywhere()
        self._append(instance, fields)

    def _anywhere(self) -> str | None:
        """An instance that Redis knows; where it knows none, there is nowhere to send to."""
        known = self._known()
        return self._random.choice(known) if known else None

    def _known(self) -> list[str]:
        return [name.decode() for name in self._world.server.keys.cmd_hgetall(b"instances:known")[::2]]

    def _again(self, cancel: bool) -> None:
        """A cancel, or the same command once more, now and then on another stream or with another text."""
        random = self._random
        instance, fields = random.choice(self._asked[-8:])
        if random.random() < 0.3 or instance not in self._known():
            instance = self._anywhere()
        if cancel:
            fields = {"command_id": fields["command_id"], "type": "cancel"}
        elif random.random() < 0.5:
            self._count += 1
            fields = {**fields, "payload": f"setdigout {self._count:05d}"}
        self._append(instance, fields)

    def _nonsense(self) -> None:
        self._append(self._anywhere(), {"imei": "1", "payload": "no id"})

    def _append(self, instance: str | None, fields: Fields) -> None:
        """What Redis refuses was never asked."""
        if instance is None or not self._world.server.up:
            return
        try:
            entry = self._world.server.execute("XADD", f"commands:outbound:{instance}", "*", *_flat(fields))
        except RedisError:
            return
        self._world.history.produced.append(Produced(instance, entry.decode(), fields))
        if "command_id" in fields and "type" not in fields:
            self._asked.append((instance, fields))


def _flat(fields: Fields) -> list[str]:
    return [text for pair in fields.items() for text in pair]
