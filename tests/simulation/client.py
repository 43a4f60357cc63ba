"""Redis as a process sees it: a client, and a network that delays, loses and refuses."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError, RedisError, TimeoutError

from store.client.client import READER_MARGIN
from store.client.client import TIMEOUT as TIME_LIMIT
from store.client.replies import StrangeReply
from tests.in_memory.client import Client
from tests.simulation.network import NEVER, Plan

if TYPE_CHECKING:
    from tests.simulation.process import Process

RESET = 0.001
"""Seconds until a connection that breaks, or that nobody takes, is seen to be none."""
GARBAGE = (None, -7, b"OK", [], [None], [b"0", []], [[b"1-1", None]])
"""Replies of a form that no script has."""


class Wire:
    """The way from one client of a process to the server and back."""

    def __init__(self, process: Process, purpose: str, time_limit: float) -> None:
        self._process = process
        self._purpose = purpose
        self._time_limit = time_limit
        self.server = process.world.server

    async def call(self, effect: Callable[[], Any], block: float = 0.0, *, script: bool = False) -> Any:
        """Send a request and wait for its reply; what the network does to it is decided now.

        The effect does not depend on the process that asked for it: it may come after its time limit, or its
        end. Whoever calls a `script` gets its reply as it comes, and a garbled one too.
        """
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[Any] = loop.create_future()
        if self._process.dead:
            await reply
        self._process.tempt()
        plan = self._process.world.weather.plan(self._process.instance_id, self._purpose, loop.time())
        if plan.refused or not self.server.up:
            await asyncio.sleep(RESET)
            raise ConnectionError("Error 111 connecting: refused.")
        if plan.garbled:
            garbage = self._process.world.random.choice(GARBAGE) if script else StrangeReply("a command")
            effect = _garbled(effect, garbage)
        if plan.before != NEVER:
            self._later(plan.before, self._arrive, effect, plan, reply, block, self.server.life)
        elif plan.reset:
            self._later(RESET, self._settle, reply, ConnectionError("Connection reset."))
        return await self._wait(reply)

    @property
    def cut(self) -> bool:
        """Whether a connection that is kept has ended since it carried its last call."""
        process, now = self._process, asyncio.get_running_loop().time()
        return process.world.weather.cuts(process.instance_id, self._purpose, now)

    async def _wait(self, reply: asyncio.Future[Any]) -> Any:
        try:
            async with asyncio.timeout(self._time_limit):
                outcome = await reply
        except builtins.TimeoutError:
            raise TimeoutError("Timeout reading from the server") from None
        self._process.tempt()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _arrive(
        self, effect: Callable[[], Any], plan: Plan, reply: asyncio.Future[Any], block: float, life: int
    ) -> None:
        if not self.server.up or self.server.life != life:
            self._settle(reply, ConnectionError("Connection reset."))
            return
        try:
            outcome = effect()
        except RedisError as error:
            outcome = error
        if block and not outcome:
            self._block(effect, plan, reply, block)
        else:
            self._answer(plan, reply, outcome)

    def _block(self, effect: Callable[[], Any], plan: Plan, reply: asyncio.Future[Any], block: float) -> None:
        """The server knows that a process has died, and not that a client has given up."""
        stop = self.server.block(
            lambda: None if self._process.dead else effect(), lambda found: self._answer(plan, reply, found)
        )

        def expire() -> None:
            if stop():
                self._answer(plan, reply, [])

        self._later(block, expire)

    def _answer(self, plan: Plan, reply: asyncio.Future[Any], outcome: Any) -> None:
        if self._process.dead:
            return
        self._process.tempt()
        if plan.after != NEVER:
            self._later(plan.after, self._settle, reply, outcome)
        elif plan.reset:
            self._later(RESET, self._settle, reply, ConnectionError("Connection reset."))

    def _later(self, delay: float, call: Callable[..., None], *args: Any) -> None:
        """Outside of the process: what is on its way goes on while that is frozen, or dead."""
        context = self._process.world.context
        asyncio.get_running_loop().call_later(delay, call, *args, context=context)

    @staticmethod
    def _settle(reply: asyncio.Future[Any], outcome: Any) -> None:
        if not reply.done():
            reply.set_result(outcome)


def _garbled(effect: Callable[[], Any], garbage: Any) -> Callable[[], Any]:
    """What takes effect all the same, and has another outcome."""

    def carried_out() -> Any:
        effect()
        return garbage

    return carried_out


class SimulatedRedis(Client):
    """A client of a process; all that is not a real client's is the way its commands go."""

    def __init__(self, process: Process, purpose: str, block: float) -> None:
        super().__init__(Wire(process, purpose, block + READER_MARGIN if block else TIME_LIMIT))
