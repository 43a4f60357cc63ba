"""The ledger of commands: compare-and-set moves, each atomic with its event, many in one script call.

Moves wait in a `store.client.batch_queue` and are carried out in order. A batch whose outcome is unknown is
sent again as it was: every move carries a token, so the second time is harmless. A move that Redis refuses
for a reason of its own is tried again later, so that others go on meanwhile.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from itertools import count
from typing import Any, cast

import msgspec
from redis.asyncio import Redis

from fsm.moves import Discard, Move, MoveResult, Open, Remark, Status, Step
from fsm.outbound import echo_of
from store.client.batch_queue import BatchQueue
from store.client.delays import Backoff
from store.client.errors import NotOwnerYet, StoreRefused, is_transient
from store.client.fifo import Fifo
from store.client.replies import understood
from store.client.resp import Arguments
from store.client.script import KeptConnection, Script
from store.keys import GROUP, Keys
from store.ledger.move_codec import (
    appended_bytes,
    command_of,
    duplicate_of,
    encode_move,
    read_results,
    weight,
)
from store.streams.events import COMMAND_NAMES

BATCH = 100
BATCH_BYTES = 256 * 1024
"""About how much one call carries: a server busy for a second is a server that is away for everybody."""
TRIES = 5
DEADLETTER_MAXLEN = 10_000
KEPT_MAXLEN = 1_000
"""Entries of commands given up that are kept with their texts, so that they can be put back."""
KEPT_FOR = 86_400.0
"""Seconds for which they are kept, or the retention if that is shorter."""
_RETRY_DELAYS = (0.1, 0.5, 2.0, 5.0)
_ENTRY_ID = re.compile(r"\d{1,19}-\d{1,19}", re.ASCII)
_WITHOUT_TOKEN = (Remark, Discard)

_encode = msgspec.json.Encoder().encode

Read = Callable[[Any], list[MoveResult]]
Ask = Callable[[list[str], bytes, Read], Awaitable[list[MoveResult]]]
"""Makes one call of the script, and reads its reply."""


def _builds_on(before: Move, move: Move) -> bool:
    """Whether `move` may build on the move before it.

    A step that builds on an opening of the same call is judged by it only within one call.
    """
    return isinstance(move, Step) and command_of(move) == command_of(before)


def _answer_to(move: Move, result: MoveResult) -> Remark | None:
    """The move by which the entry of a duplicate is answered, if `move` was to open one."""
    return duplicate_of(move) if isinstance(move, Open) and result.status is Status.DUPLICATE else None


class Ledger:
    """Carries out moves for one instance, or, with `dead`, for an instance that has died.

    Args:
        on_error: called with the error of every failed call.
        on_fenced: called once, when another process owns our instance id; no move is applied any more.
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
        on_appended: Callable[[int, int], None] | None = None,
    ) -> None:
        self._client = client
        self._keys = keys
        self._boot_id = boot_id
        self._on_error = on_error
        self._on_fenced = on_fenced
        self._owns = owns
        self._on_appended = on_appended
        self._fixed_keys = [keys.responses, keys.deadletter, keys.boot(instance_id), keys.registry]
        self._fixed_keys += [keys.serial, keys.parked_devices]
        self._header: dict[str, Any] = {
            "boot": boot_id,
            "outbound": keys.outbound(""),
            "parked": keys.parked(""),
            "heartbeat": keys.heartbeat(""),
            "unasked": keys.unasked,
            "group": GROUP,
            "retention": round(retention * 1000),
            "maxlen": DEADLETTER_MAXLEN,
            "kept": keys.kept,
            "kept_maxlen": KEPT_MAXLEN,
            "kept_for": round(min(retention, KEPT_FOR) * 1000),
            "names": COMMAND_NAMES,
        }
        if dead:
            self._header["dead"] = dead
        self._header_size = len(_encode(self._header))
        self._script = Script("moves.lua")
        self._kept = KeptConnection(client)
        self._tries: dict[int, int] = {}
        self._tokens = count(1)
        self._queue: BatchQueue[Move] = BatchQueue(
            Fifo(BATCH, size=BATCH_BYTES, weigh=weight, joins=_builds_on),
            self._carry_out,
            on_error=on_error,
            backoff=Backoff(last=2.0),
        )

    @property
    def healthy(self) -> bool:
        """False from a call that failed until one succeeds."""
        return self._queue.healthy

    @property
    def depth(self) -> int:
        """Moves not yet carried out."""
        return self._queue.depth

    def token(self) -> str:
        """A new token; it begins with our boot id, which tells our own repeated calls from others'."""
        return f"{self._boot_id}:{next(self._tokens)}"

    def submit(self, *moves: Move) -> None:
        """Queue moves; moves of one call go out in one batch when they fit."""
        for move in moves:
            self._name(move)
            self._queue.put(move)

    def _name(self, move: Move) -> None:
        if not isinstance(move, _WITHOUT_TOKEN) and not move.token:
            move.token = self.token()

    async def run(self) -> None:
        """Carry out moves until `stop`."""
        try:
            await self._queue.run()
        finally:
            await self._kept.release()

    def stop(self) -> None:
        """Let `run` end after the batch in flight."""
        self._queue.stop()

    async def flush(self, within: float) -> int:
        """Wait until every move is carried out, `within` seconds at most; how many are left."""
        return await self._queue.flush(within)

    async def read(self, command_id: str) -> dict[str, str]:
        """The ledger of a command, and what its producer wants repeated; empty when there is none.

        Raises:
            StoreError: a call failed.
        """
        found: Any = await cast(Any, self._client).hgetall(self._keys.ledger(command_id))
        ledger = {
            name.decode(errors="replace"): value.decode(errors="replace") for name, value in found.items()
        }
        return ledger | await self._said(ledger)

    async def _said(self, ledger: dict[str, str]) -> dict[str, str]:
        """What the entry that a ledger names wants repeated in every event; empty if it is not there."""
        instance_id, outbound_id = ledger.get("instance_id", ""), ledger.get("outbound_id", "")
        if not _ENTRY_ID.fullmatch(outbound_id):
            return {}
        keys = self._keys
        stream = keys.outbound(instance_id) if instance_id else keys.parked(ledger.get("imei", ""))
        found: Any = await cast(Any, self._client).xrange(stream, outbound_id, outbound_id)
        return dict(echo_of(found[0][1])) if found else {}

    async def parked(self, imei: str) -> list[tuple[str, dict[bytes, bytes]]]:
        """The entries that are parked for a device, in their order.

        Raises:
            StoreError: the call failed.
        """
        found: Any = await cast(Any, self._client).xrange(self._keys.parked(imei))
        return [(entry_id.decode(), fields) for entry_id, fields in found]

    async def execute(self, *moves: Move) -> list[MoveResult]:
        """Carry out moves now and return their results, without the queue.

        Raises:
            StoreError: the call failed; its outcome may be unknown.
        """
        for move in moves:
            self._name(move)
        results = await self._call(moves, self._ask)
        if duplicates := [one for one in map(_answer_to, moves, results) if one]:
            await self._call(duplicates, self._ask)
        return results

    async def _ask(self, keys: list[str], argument: bytes, read: Read) -> list[MoveResult]:
        """One call, on any connection: several may be made at a time."""
        reply = await self._script(self._client, keys, [argument])
        return await understood(self._client, reply, read)

    async def _exchange(self, keys: list[str], argument: bytes, read: Read) -> list[MoveResult]:
        """One call of the queue, which makes one at a time."""
        results: list[MoveResult] = await self._kept.call(self._script, keys, Arguments((argument,)), read)
        return results

    async def _carry_out(self, batch: deque[Move]) -> Exception | None:
        """Send one batch and hand out its results; what keeps the moves that are left from being made."""
        results = await self._call(batch, self._exchange)
        delayed: list[Move] = []
        transient: Exception | None = None
        for result in results:
            move = batch.popleft()
            error = StoreRefused(result.detail) if result.status is Status.ERROR else None
            if error is None:
                self._tries.pop(id(move), None)
                if duplicate := _answer_to(move, result):
                    self._queue.put(duplicate)
                self._tell(move, result)
            elif is_transient(error):
                transient = transient or error
                batch.append(move)
            elif self._try_again(move, error):
                delayed.append(move)
            else:
                self._tell(move, result)
        if delayed:
            self._delay(delayed)
        return transient

    async def _call(self, batch: Collection[Move], ask: Ask) -> list[MoveResult]:
        ledgers: dict[str, int] = {}
        moves = [encode_move(move, ledgers) for move in batch]
        argument = _encode({**self._header, "moves": moves})
        keys = self._fixed_keys + [self._keys.ledger(command_id) for command_id in ledgers]
        owned = self._owns()  # by the time of the reply it may be another's, from before our takeover
        results = await ask(keys, argument, partial(read_results, moves=len(moves)))
        if self._on_appended:
            self._on_appended(len(moves), appended_bytes(len(argument) - self._header_size, len(moves)))
        if results and results[0].status is Status.FENCED:
            if not owned:
                raise NotOwnerYet("The instance id is not taken over yet.")
            self.stop()
            self._on_fenced()
        return results

    def _try_again(self, move: Move, error: StoreRefused) -> bool:
        """Whether a move that was refused is tried again; not after `TRIES`."""
        self._on_error(error)
        tries = self._tries.pop(id(move), 0) + 1
        if tries < TRIES:
            self._tries[id(move)] = tries
        return tries < TRIES

    def _tell(self, move: Move, result: MoveResult) -> None:
        """A receiver that fails must not cost the others of its batch their results."""
        try:
            move.done(result)
        except Exception as error:
            self._on_error(error)

    def _delay(self, moves: list[Move]) -> None:
        delay = _RETRY_DELAYS[min(self._tries[id(moves[0])], len(_RETRY_DELAYS)) - 1]
        self._queue.put_later(moves, delay)
