"""The ledger of commands: compare-and-set moves, each atomic with its event, many in one script call.

Moves are queued synchronously and carried out by one task, in order, one batch in flight. A batch whose
outcome is unknown is sent again as it was: every move carries a token, so the second time is harmless.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any, cast

import msgspec
from redis.asyncio import Redis

from fsm.moves import Discard, Move, MoveResult, Remark, Status, Step
from store.client.delays import Backoff
from store.client.errors import NotOwnerYet, StoreError, StoreRefused, is_transient
from store.client.replies import understood
from store.client.script import Script
from store.keys import GROUP, Keys
from store.ledger.move_codec import command_of, encode_move, read_results, weight

BATCH = 100
BATCH_BYTES = 256 * 1024
"""About how much one call carries: a server busy for a second is a server that is away for everybody."""
TRIES = 5
DEADLETTER_MAXLEN = 10_000
_RETRY_DELAYS = (0.1, 0.5, 2.0, 5.0)

_encode = msgspec.json.Encoder().encode


class Ledger:
    """Carries out moves for one instance, or, with `dead`, for an instance that has died.

    Args:
        on_error: told of every call that failed.
        on_fenced: told once another process owns our instance id; nothing is carried out any more.
        owns: whether this process has taken the instance id over. Before that, an owner found in its place is
            an earlier process and not a newer one: moves wait.
        retention: seconds that a ledger outlives its terminal event.
    """

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        instance_id: str,
        boot_id: str,
        *,
        retention: float,
        on_error: Callable[[Exception], None],
        on_fenced: Callable[[], None],
        owns: Callable[[], bool] = lambda: True,
        dead: str | None = None,
    ) -> None:
        self._client = client
        self._keys = keys
        self._boot_id = boot_id
        self._on_error = on_error
        self._on_fenced = on_fenced
        self._owns = owns
        self._fixed_keys = [keys.responses, keys.deadletter, keys.boot(instance_id), keys.registry]
        self._fixed_keys.append(keys.serial)
        self._header: dict[str, Any] = {
            "boot": boot_id,
            "prefix": keys.prefix,
            "group": GROUP,
            "retention": round(retention * 1000),
            "maxlen": DEADLETTER_MAXLEN,
        }
        if dead:
            self._header["dead"] = dead
        self._script = Script("moves.lua")
        self._queue: deque[Move] = deque()
        self._parked = 0
        self._tries: dict[int, int] = {}
        self._tokens = count(1)
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stop = asyncio.Event()
        self._backoff = Backoff(last=2.0)
        self.healthy = True

    @property
    def depth(self) -> int:
        """Moves not yet carried out."""
        return len(self._queue) + self._parked

    def token(self) -> str:
        """A new token; it begins with our boot id, which tells our own repeated calls from others'."""
        return f"{self._boot_id}:{next(self._tokens)}"

    def submit(self, *moves: Move) -> None:
        """Queue moves; moves of one call go out in one batch when they fit."""
        for move in moves:
            if not isinstance(move, Remark | Discard) and not move.token:
                move.token = self.token()
        self._queue.extend(moves)
        self._idle.clear()
        self._wake.set()

    async def run(self) -> None:
        """Carry out moves until `stop`."""
        while not self._stop.is_set():
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
            elif await self._attempt(self._next_batch()):
                self._backoff.reset()
            else:
                await self._backoff.wait(self._stop)

    def _next_batch(self) -> list[Move]:
        """The head of the queue: bounded in moves and in bytes, and never cut between a command's own moves.

        A step that builds on an opening of the same call is judged by it only within one call.
        """
        batch: list[Move] = []
        size = 0
        for move in self._queue:
            follows = batch and isinstance(move, Step) and command_of(move) == command_of(batch[-1])
            size += weight(move)
            if not follows and batch and (len(batch) >= BATCH or size > BATCH_BYTES):
                break
            batch.append(move)
        return batch

    def stop(self) -> None:
        """Let `run` end after the batch in flight."""
        self._stop.set()
        self._wake.set()

    async def flush(self, within: float) -> int:
        """Wait until every move is carried out, `within` seconds at most; how many are left."""
        try:
            async with asyncio.timeout(within):
                await self._idle.wait()
        except TimeoutError:
            pass
        return self.depth

    async def read(self, command_id: str) -> dict[str, str]:
        """The ledger of a command; empty when there is none.

        Raises:
            StoreError: the call failed.
        """
        found: Any = await cast(Any, self._client).hgetall(self._keys.ledger(command_id))
        return {
            name.decode(errors="replace"): value.decode(errors="replace") for name, value in found.items()
        }

    async def execute(self, *moves: Move) -> list[MoveResult]:
        """Carry out moves now and return their results, without the queue.

        Raises:
            StoreError: the call failed; its outcome may be unknown.
        """
        for move in moves:
            if not isinstance(move, Remark | Discard) and not move.token:
                move.token = self.token()
        return await self._call(moves)

    async def _attempt(self, batch: list[Move]) -> bool:
        """Send one batch and hand out its results; False when nothing could be learnt."""
        try:
            results = await self._call(batch)
        except StoreError as error:
            self.healthy = False
            self._on_error(error)
            return False
        for _ in batch:
            self._queue.popleft()
        again, parked = self._settle(batch, results)
        self._queue.extendleft(reversed(again))
        self.healthy = not again
        if parked:
            self._park(parked)
        if not self.depth:
            self._idle.set()
        return not again

    async def _call(self, batch: Sequence[Move]) -> list[MoveResult]:
        ledgers: dict[str, int] = {}
        moves = [encode_move(move, ledgers) for move in batch]
        argument = _encode({**self._header, "moves": moves})
        keys = self._fixed_keys + [self._keys.ledger(command_id) for command_id in ledgers]
        owned = self._owns()  # by the time of the reply it may be another's, from before our takeover
        reply = await self._script(self._client, keys, [argument])
        results = await understood(self._client, reply, partial(read_results, moves=len(moves)))
        if results and results[0].status is Status.FENCED:
            if not owned:
                raise NotOwnerYet("The instance id is not taken over yet.")
            self.stop()
            self._on_fenced()
        return results

    def _settle(self, batch: list[Move], results: list[MoveResult]) -> tuple[list[Move], list[Move]]:
        """Hand out results; the moves to repeat at once, and those to repeat later."""
        again: list[Move] = []
        parked: list[Move] = []
        for move, result in zip(batch, results, strict=True):
            if result.status is Status.ERROR:
                error = StoreRefused(result.detail)
                if is_transient(error):
                    if not again:
                        self._on_error(error)
                    again.append(move)
                    continue
                self._on_error(error)
                tries = self._tries.pop(id(move), 0) + 1
                if tries < TRIES:
                    self._tries[id(move)] = tries
                    parked.append(move)
                    continue
            else:
                self._tries.pop(id(move), None)
            self._tell(move, result)
        return again, parked

    def _tell(self, move: Move, result: MoveResult) -> None:
        """A receiver that fails must not cost the others of its batch their results."""
        try:
            move.done(result)
        except Exception as error:
            self._on_error(error)

    def _park(self, moves: list[Move]) -> None:
        self._parked += len(moves)
        delay = _RETRY_DELAYS[min(self._tries[id(moves[0])], len(_RETRY_DELAYS)) - 1]
        asyncio.get_running_loop().call_later(delay, self._unpark, moves)

    def _unpark(self, moves: list[Move]) -> None:
        self._parked -= len(moves)
        self.submit(*moves)
