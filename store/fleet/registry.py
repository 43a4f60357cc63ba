"""The registry: which instance holds which device.

Calls wait in a `store.client.batch_queue`, so nothing in a read path waits for Redis. They are carried out in
their order, many in one script call.

Registration has two forms. The first one of a session wins, since the device has just connected here. It is
tried once: if it were repeated after an outage, it could take the device from where it has moved since. A
deferred one (`reconcile`) repairs what was missed (`differing`), and yields to a holder that is alive.
Removals are repeated until Redis has carried them out. The script keeps entries of others and newer sessions.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from redis.asyncio import Redis

from fsm.registration import Registered, RegisterResult, value_of
from fsm.takeover import FIRST, KEPT, MEMORY, Claimant
from store.client.batch_queue import BatchQueue
from store.client.errors import NotOwnerYet, StoreError
from store.client.fifo import Fifo
from store.client.replies import understood
from store.client.script import Script
from store.fleet.claims import read_claims
from store.fleet.registrations import differing, holders
from store.keys import Keys

BATCH = 500
RETAINED = 50_000
"""Unregistrations kept while Redis is away; beyond that the oldest are dropped."""
QUEUED = 2 * RETAINED
"""Calls that may wait for Redis while it answers."""

_FIRST, _DEFERRED, _REMOVE, _SETTLE, _VOUCH = "first", "deferred", "remove", "settle", "vouch"
_REGISTERING = (_FIRST, _DEFERRED)
_encode = msgspec.json.Encoder().encode


Done = Callable[[RegisterResult], None]

_FAILED = RegisterResult(Registered.FAILED)
_FENCED = RegisterResult(Registered.FENCED)


@dataclass(slots=True, frozen=True)
class _Call:
    act: str
    imei: str
    session_id: str
    done: Done | None = None
    claimant: Claimant | None = None

    @property
    def encoded(self) -> tuple[str, ...]:
        """The call as the script takes it."""
        call = (self.act, self.imei, self.session_id)
        if self.claimant is None:
            return call
        return (*call, value_of(self.session_id, self.claimant), str(self.claimant))


def _read_results(reply: Any, calls: int) -> list[RegisterResult]:
    if len(reply) != calls:
        raise ValueError("not a result for each call")
    return [_read_result(*row) for row in reply]


def _read_result(
    status: bytes, holder: bytes, speaks: bytes, former: bytes, claims: bytes, parked: bytes
) -> RegisterResult:
    return RegisterResult(
        Registered(status.decode()),
        holder.decode(errors="replace"),
        bool(speaks),
        Claimant(*former.decode().split(" ")) if former else None,
        read_claims(claims.decode()),
        bool(parked),
    )


class _Fenced(Exception):
    """Another process owns our instance id."""


class Registrar:
    """Registers the sessions of one instance.

    The first registration of a session wins, except that a session without TLS does not take the device from
    a live session with TLS, and that a device once seen with a certificate is not registered without one.

    Args:
        on_failure: called with the number of failed registrations of a call.
        on_fenced: called once, when another process owns our instance id; nothing is registered any more.
        hold: seconds of the first hold after a take-over (`fsm.takeover`), from which follows how long
            claims are kept.
        owns: whether this process has taken the instance id over. Before that, an owner found in its place is
            an earlier process and not a newer one: registrations fail as if Redis were away.
    """

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        instance_id: str,
        boot_id: str,
        *,
        on_failure: Callable[[int], None],
        on_fenced: Callable[[], None],
        hold: float = 60.0,
        owns: Callable[[], bool] = lambda: True,
    ) -> None:
        self._client = client
        self._keys = keys
        self._instance_id = instance_id
        self._header = {
            "boot": boot_id,
            "instance": instance_id,
            "heartbeat": keys.heartbeat(""),
            "boots": keys.boot(""),
            "claims": keys.claims(""),
            "outbound": keys.outbound(""),
            "memory": round(MEMORY * hold * 1000),
            "kept": KEPT,
            "first": FIRST,
        }
        self._names = [
            *(keys.registry, keys.sessions, keys.boot(instance_id)),
            *(keys.instances, keys.serial, keys.auth, keys.parked_devices),
        ]
        self._on_failure = on_failure
        self._on_fenced = on_fenced
        self._owns = owns
        self._script = Script("registry.lua")
        self._queue: BatchQueue[_Call] = BatchQueue(Fifo(BATCH), self._carry_out, finishes=True)

    @property
    def depth(self) -> int:
        """Calls not yet carried out."""
        return self._queue.depth

    def register(self, imei: str, session_id: str, claimant: Claimant, done: Done) -> None:
        """Queue the first registration of a session; `done` is called with its result."""
        self._add(_Call(_FIRST, imei, session_id, done, claimant))

    def confirm(self, imei: str, session_id: str, claimant: Claimant, done: Done) -> None:
        """Queue a deferred registration, see `reconcile`; `done` is called with its result."""
        self._add(_Call(_DEFERRED, imei, session_id, done, claimant))

    def settle(self, imei: str, session_id: str) -> None:
        """Forget who else has claimed the device, if the session still holds it. Tried once."""
        self._add(_Call(_SETTLE, imei, session_id))

    def vouch(self, imei: str, session_id: str, claimant: Claimant) -> None:
        """The session has lost the device to another gateway, and its peer was dead. Tried once."""
        self._add(_Call(_VOUCH, imei, session_id, claimant=claimant))

    def unregister(self, imei: str, session_id: str, done: Done | None = None) -> None:
        """Queue the end of a session; repeated until Redis has carried it out. Entries of others stay.

        `done` is called with REMOVED or KEPT, or not at all if Redis is away so long that the call is
        dropped.
        """
        self._add(_Call(_REMOVE, imei, session_id, done))

    def reconcile(self, sessions: Iterable[tuple[str, str, Claimant]]) -> Awaitable[list[RegisterResult]]:
        """Queue deferred registrations of live sessions (imei, session_id and claimant of each); await the
        results, in their order.

        A deferred registration wins if nobody holds the device, if we do, if its holder has no heartbeat, or
        if it has TLS and the holder's has not.
        """
        return asyncio.gather(*(self._deferred(*session) for session in sessions))

    def _deferred(self, imei: str, session_id: str, claimant: Claimant) -> asyncio.Future[RegisterResult]:
        outcome: asyncio.Future[RegisterResult] = asyncio.get_running_loop().create_future()

        def done(result: RegisterResult) -> None:
            if not outcome.done():
                outcome.set_result(result)

        self.confirm(imei, session_id, claimant, done)
        return outcome

    def _add(self, call: _Call) -> None:
        if call.act != _DEFERRED and self._queue.depth >= QUEUED:
            self._turn_away(call)
        else:
            self._queue.put(call)

    def _turn_away(self, call: _Call) -> None:
        """The queue is full: drop the call. `reconcile` repeats a registration later."""
        if call.act == _FIRST:
            self._on_failure(1)
        if call.act == _FIRST and call.done:
            asyncio.get_running_loop().call_soon(call.done, _FAILED)

    async def run(self) -> None:
        """Carry out calls until `stop`, and then what is queued, unless Redis is away.

        A second call while one runs waits for its end.
        """
        await self._queue.run()

    def stop(self) -> None:
        """Let `run` end once the queue is empty."""
        self._queue.stop()

    async def _carry_out(self, batch: deque[_Call]) -> Exception | None:
        """Carry out one batch and tell the results."""
        try:
            results = await self._send(batch)
        except StoreError as error:
            self._fail()
            return error
        except _Fenced:
            self._fence()
            return None
        except Exception:
            self._fail()  # the outcome is unknown, and a first registration must not be repeated
            raise
        calls = list(batch)
        batch.clear()
        self._report(zip(calls, results, strict=True))
        return None

    async def _send(self, calls: Collection[_Call]) -> list[RegisterResult]:
        encoded = [call.encoded for call in calls]
        owned = self._owns()  # by the time of the reply it may be another's, from before our takeover
        reply: Any = await self._script(
            self._client, self._names, [_encode({**self._header, "calls": encoded})]
        )
        if reply == b"FENCED":
            raise _Fenced if owned else NotOwnerYet("The instance id is not taken over yet.")
        return await understood(self._client, reply, partial(_read_results, calls=len(calls)))

    def _fail(self) -> None:
        """Redis is away: registrations that wait have failed, and only removals are kept.

        A first registration that is sent after the outage could take the device from its present holder.
        """
        calls = self._queue.clear()
        failed = [call for call in calls if call.act in _REGISTERING]
        removals = {(call.imei, call.session_id): call for call in calls if call.act == _REMOVE}
        for call in list(removals.values())[-RETAINED:]:
            self._queue.put(call)
        if failed:
            self._on_failure(len(failed))
        self._report((call, _FAILED) for call in failed)

    def _fence(self) -> None:
        calls = self._queue.clear()
        self.stop()
        self._on_fenced()
        self._report((call, _FENCED) for call in calls)

    @staticmethod
    def _report(results: Iterable[tuple[_Call, RegisterResult]]) -> None:
        """Call all receivers; if one fails, its error is raised after the others were called."""
        errors: list[Exception] = []
        for call, result in results:
            try:
                if call.done:
                    call.done(result)
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    async def unregister_all(self, sessions: Iterable[tuple[str, str]], within: float) -> int:
        """Stop, and unregister these (imei, session_id) pairs; how many Redis has not carried out.

        Takes `within` seconds at most, and no longer than one failed call when Redis is away.
        """
        for imei, session_id in sessions:
            self._queue.put(_Call(_REMOVE, imei, session_id))
        await self._queue.finish(within)
        return sum(call.act == _REMOVE for call in self._queue)

    async def differing(self, values: Mapping[str, str]) -> list[str]:
        """The devices that the registry does not name for this instance and with this value (`value_of`).

        Raises:
            StoreError: Redis could not be asked.
        """
        return await differing(self._client, self._keys, self._instance_id, values)

    async def holders(self, imeis: Sequence[str]) -> dict[str, str]:
        """The instance that holds each device, for the devices that an instance holds.

        Raises:
            StoreError: Redis could not be asked.
        """
        return await holders(self._client, self._keys, imeis)
