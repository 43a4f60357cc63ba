"""An in-memory Redis for the simulation and for tests that commit moves step by step.

It serves one command after the other, runs the gateway's own scripts, lets readers wait, says who it is, runs
out of memory, dies, and comes back with its data or without. `tests/contract` holds it equal to real servers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from redis.exceptions import (
    ConnectionError,
    NoScriptError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
)

from store.client.client import connect
from tests.history import Loss
from tests.in_memory.keyspace import Keyspace, Refusal
from tests.in_memory.scripting import Scripts

FIRST_UPTIME = 10_000.0
"""Seconds that the first server of a run has been up when the run begins."""

Watch = Callable[[str, Sequence[bytes]], None]
Deliver = Callable[[Any], None]


class Clock(Protocol):
    """What the server takes for the time."""

    @property
    def now(self) -> float:
        """Seconds since some time ago."""

    def wall(self) -> float:
        """Seconds since 1970."""


class HostClock:
    """The clock of the machine, asked at call time, so that a frozen one is understood.

    Attributes:
        ahead: ms by which the server's clock is ahead of ours.
    """

    def __init__(self) -> None:
        self.ahead = 0

    @property
    def now(self) -> float:
        """Seconds since some time ago."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since 1970."""
        return time.time() + self.ahead / 1000


@cache
def _callbacks() -> dict[str, Any]:
    """What redis-py makes of the replies to each command."""
    return dict(connect("redis://nowhere", purpose="none").response_callbacks)


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Disk:
    """What a server that begins finds, and of when that is (epoch ms)."""

    at: float
    keys: Keyspace


class Server:
    """What clients talk to.

    Attributes:
        life: counts the server processes; what was sent to one of them reaches no other.
        up: whether there is a process now.
        losses: each start without all of the data of before.
    """

    def __init__(self, clock: Clock, full: Callable[[], bool] = _never) -> None:
        self._clock = clock
        self._full = full
        self._watches: list[Watch] = []
        self._blocked: list[tuple[Callable[[], Any], Deliver]] = []
        self._started = clock.now - FIRST_UPTIME
        self.life = 1
        self.up = True
        self.losses: list[Loss] = []
        self.keys = Keyspace(clock.wall, full)
        self.scripts = Scripts()

    def watch(self, watch: Watch) -> None:
        """Tell `watch` of every command before it is carried out, those of scripts included."""
        self._watches.append(watch)

    # Lives

    def save(self) -> Disk:
        """Write everything to the disk; what is written from this millisecond on is not on it."""
        return Disk(int(self._clock.wall() * 1000) - 0.5, self.keys.copy())

    def wipe(self) -> Disk:
        """A disk with nothing on it."""
        return Disk(0.0, Keyspace(self._clock.wall, self._full))

    def die(self) -> None:
        """The process is gone; whoever is connected notices."""
        self.up = False
        blocked, self._blocked = self._blocked, []
        for _, deliver in blocked:
            deliver(ConnectionError("Connection closed by server."))

    def rise(self, disk: Disk | None = None) -> None:
        """Another process, with the data of before, or with what was on `disk`; scripts are never kept."""
        if disk is not None:
            self.losses.append(Loss(disk.at, self._clock.wall() * 1000))
            self.keys = disk.keys
        self.scripts.flush()
        self.life += 1
        self._started = self._clock.now
        self.up = True

    # Commands

    def execute(self, *args: Any, **options: Any) -> Any:
        """One command as a client sends it; the reply as the client returns it.

        Raises:
            RedisError: the server answers with an error.
        """
        name, *arguments = args
        try:
            reply = self._serve(name, [_spelt(argument) for argument in arguments])
        except Refusal as refusal:
            raise understood(str(refusal)) from None
        finally:
            if self._blocked and name in ("XADD", "EVALSHA", "EVAL"):
                self._serve_blocked()
        options.pop("keys", None)
        understand = _callbacks().get(name)
        return understand(reply, **options) if understand else reply

    def _serve(self, name: str, arguments: Sequence[bytes]) -> Any:
        if name == "EVALSHA":
            return self.scripts.evaluate_known(arguments[0], arguments[1:], self._carry_out)
        if name == "EVAL":
            return self.scripts.evaluate(arguments[0], arguments[1:], self._carry_out)
        if name == "INFO":
            return self._info()
        if name == "CONFIG GET":
            return []
        return self._carry_out(name, arguments)

    def _carry_out(self, name: str, arguments: Sequence[bytes]) -> Any:
        for watch in self._watches:
            watch(name, arguments)
        return self.keys.run(name, arguments)

    @property
    def uptime(self) -> float:
        """Seconds since this process began."""
        return self._clock.now - self._started

    def _info(self) -> bytes:
        facts = {
            "redis_version": "7.2.0",
            "run_id": f"life{self.life}",
            "uptime_in_seconds": int(self.uptime),
        }
        return "".join(f"{name}:{value}\r\n" for name, value in facts.items()).encode()

    # Those who wait for an entry

    def block(self, attempt: Callable[[], Any], deliver: Deliver) -> Callable[[], bool]:
        """`deliver` the first outcome of `attempt` that is something; call the result to stop waiting."""
        waiter = (attempt, deliver)
        self._blocked.append(waiter)

        def stop() -> bool:
            waited = waiter in self._blocked
            if waited:
                self._blocked.remove(waiter)
            return waited

        return stop

    def _serve_blocked(self) -> None:
        for waiter in list(self._blocked):
            attempt, deliver = waiter
            try:
                found = attempt()
            except RedisError as failure:
                found = failure
            if found:
                self._blocked.remove(waiter)
                deliver(found)


def understood(text: str) -> ResponseError:
    """The error that a client makes of a reply."""
    word, _, rest = text.partition(" ")
    classes = {"ERR": ResponseError, "OOM": OutOfMemoryError, "NOSCRIPT": NoScriptError}
    return classes[word](rest) if word in classes else ResponseError(text)


def _spelt(argument: Any) -> bytes:
    return argument if isinstance(argument, bytes) else str(argument).encode()
