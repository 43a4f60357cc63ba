"""A ledger in memory: what is committed, and when, and with what answer, a test decides.

It is the ledger of the store on an in-memory server: moves are encoded, carried out by ``moves.lua`` and read
back as in the gateway. Only the queue is the test's own.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from fsm.events import CommandEvent, Note
from fsm.moves import Discard, Entry, Move, MoveResult, Open, Remark, Status, Step
from store.client.errors import CallFailed
from store.keys import Keys
from store.ledger.ledger import Ledger
from store.streams.event_reader import read_entry
from tests.in_memory.client import Client, DirectWire, at_once
from tests.in_memory.keyspace import Keyspace
from tests.in_memory.server import HostClock, Server

US = "gw-1"
BOOT = "boot-b"
KEYS = Keys()
RETENTION = 7 * 86400.0


def now_ms() -> int:
    """Epoch ms by the frozen clock."""
    return round(time.time() * 1000)


@dataclass(frozen=True)
class Row:
    """The ledger of one command."""

    state: str
    seq: int
    token: str
    entry: Entry
    imei: str = ""
    session_id: str = ""
    accepted_at: int = 0
    codec: str = ""
    hops: int = 0

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> Row:
        """The ledger as it is stored."""
        entry = Entry(fields["instance_id"], fields["outbound_id"])
        texts = {name: fields.get(name, "") for name in ("imei", "session_id", "codec")}
        numbers = {name: int(fields.get(name, 0)) for name in ("accepted_at", "hops")}
        return cls(fields["state"], int(fields["seq"]), fields["token"], entry, **numbers, **texts)

    def fields(self) -> dict[str, str]:
        """The ledger as it is to be stored."""
        numbers = {name: str(getattr(self, name)) for name in ("seq", "accepted_at", "hops")}
        place = {"instance_id": self.entry.instance_id, "outbound_id": self.entry.outbound_id}
        texts = {name: getattr(self, name) for name in ("state", "token", "imei", "session_id", "codec")}
        return numbers | place | texts


@dataclass
class _Refusal:
    status: Status
    times: int
    wanted: Callable[[Move], bool]
    result: dict[str, Any]


class FakeLedger:
    """`LedgerPort` in memory; nothing happens before `commit`."""

    def __init__(self) -> None:
        self.healthy = True
        self.reachable = True
        self._clock = HostClock()
        self._server = Server(self._clock)
        client: Any = Client(DirectWire(self._server, yields=False))
        self._ledger = Ledger(
            client, KEYS, US, BOOT, retention=RETENTION, on_error=_unexpected, on_fenced=lambda: None
        )
        self._queue: deque[Move] = deque()
        self._refusals: list[_Refusal] = []
        self._tokens = count(1)
        self._refused: list[Move] = []

    # The port

    @property
    def depth(self) -> int:
        return len(self._queue)

    def submit(self, *moves: Move) -> None:
        for move in moves:
            if not isinstance(move, Remark | Discard) and not move.token:
                move.token = f"{BOOT}:{next(self._tokens)}"
        self._queue.extend(moves)

    async def read(self, command_id: str) -> dict[str, str]:
        if not self.reachable:
            raise CallFailed("refused")
        return await self._ledger.read(command_id)

    async def parked(self, imei: str) -> list[tuple[str, dict[bytes, bytes]]]:
        if not self.reachable:
            raise CallFailed("refused")
        return await self._ledger.parked(imei)

    # When moves are committed, and what is answered

    def refuse(
        self, status: Status, what: str = "", *, times: int = 1, wanted: type | None = None, **result: Any
    ) -> None:
        """The next `times` moves to the state or trigger `what`, or of the class `wanted`, get `status`."""

        def fits(move: Move) -> bool:
            if wanted is not None:
                return isinstance(move, wanted)
            return isinstance(move, Open | Step) and what in ("", move.event.state, move.event.trigger)

        self._refusals.append(_Refusal(status, times, fits, result))

    def commit(self, moves: int | None = None) -> None:
        """Commit `moves` moves, or all there are and all that follow from them, one after the other."""
        while self._queue and moves != 0:
            move = self._queue.popleft()
            move.done(self._carry_out(move))
            moves = None if moves is None else moves - 1

    def call(self) -> None:
        """Commit all there is now, as one call does: its results are handed out when all of it is done."""
        moves = list(self._queue)
        self._queue.clear()
        for move, result in [(move, self._carry_out(move)) for move in moves]:
            move.done(result)

    def lose_reply(self) -> None:
        """The next move takes effect, its reply is lost, and it is sent again."""
        self._carry_out(self._queue[0])

    def arrive(self) -> None:
        """The first calls of the moves that were refused when they were repeated reach Redis after all."""
        for move in self._refused:
            at_once(self._ledger.execute(move))
        self._refused.clear()

    def _carry_out(self, move: Move) -> MoveResult:
        for refusal in self._refusals:
            if refusal.times and refusal.wanted(move):
                refusal.times -= 1
                self._refused.append(move)
                return MoveResult(refusal.status, now_ms() + self._clock.ahead, **refusal.result)
        [result] = at_once(self._ledger.execute(move))
        return result

    # What the server holds

    @property
    def log(self) -> list[CommandEvent | Note]:
        """The published events and notes, in order."""
        found = [read_entry(fields) for _, fields in self._entries(KEYS.responses)]
        return [message for message in found if isinstance(message, CommandEvent | Note)]

    @property
    def rows(self) -> dict[str, Row]:
        """The ledgers, by command."""
        prefix = KEYS.ledger("")
        names = [name.removeprefix(prefix) for name in self._names() if name.startswith(prefix)]
        return {name: Row.of(at_once(self._ledger.read(name))) for name in names}

    @property
    def stream(self) -> dict[Entry, dict[str, str]]:
        """The entries of the outbound streams, pending or not."""
        prefix = KEYS.outbound("")
        instances = [name.removeprefix(prefix) for name in self._names() if name.startswith(prefix)]
        return {
            Entry(instance, entry_id): fields
            for instance in instances
            for entry_id, fields in self._entries(KEYS.outbound(instance))
        }

    @property
    def parked_entries(self) -> dict[Entry, dict[str, str]]:
        """The entries of the parked streams."""
        prefix = KEYS.parked("")
        imeis = [name.removeprefix(prefix) for name in self._names() if name.startswith(prefix)]
        return {
            Entry("", entry_id, imei): fields
            for imei in imeis
            for entry_id, fields in self._entries(KEYS.parked(imei))
        }

    @property
    def awaited(self) -> dict[str, int]:
        """The devices for which commands are parked, and when the first of those expires at the earliest."""
        found = self._do("ZRANGEBYSCORE", KEYS.parked_devices, "-inf", "inf")
        return {imei.decode(): int(self._do("ZSCORE", KEYS.parked_devices, imei)) for imei in found}

    @property
    def holders(self) -> dict[str, str]:
        """The instance that holds each device, by the registry."""
        found = self._do("HGETALL", KEYS.registry)
        return {imei.decode(): holder.decode() for imei, holder in found.items()}

    @property
    def deadletters(self) -> list[dict[str, str]]:
        """The entries of the dead-letter stream."""
        return [fields for _, fields in self._entries(KEYS.deadletter)]

    def events(self, command_id: str) -> list[CommandEvent]:
        """The published events of a command."""
        return [e for e in self.log if isinstance(e, CommandEvent) and e.command_id == command_id]

    def notes(self, name: str = "") -> list[Note]:
        """The published notes."""
        return [e for e in self.log if isinstance(e, Note) and name in ("", e.note)]

    # What others do to it

    def set_clock_ahead(self, milliseconds: int) -> None:
        """The server's clock is ahead of ours."""
        self._clock.ahead = milliseconds

    def put(self, entry: Entry, fields: Mapping[str, str]) -> None:
        """An entry appears on its stream."""
        pairs = [text for pair in fields.items() for text in pair]
        self._do("XADD", KEYS.outbound(entry.instance_id), entry.outbound_id, *pairs)

    def remove(self, entry: Entry) -> None:
        """An entry leaves its stream."""
        self._do("XDEL", KEYS.outbound(entry.instance_id), entry.outbound_id)

    def set_row(self, command_id: str, row: Row) -> None:
        """The ledger of a command is as another process left it."""
        self._do("HSET", KEYS.ledger(command_id), *(text for pair in row.fields().items() for text in pair))

    def hold(self, imei: str, instance_id: str) -> None:
        """The registry names an instance as the holder of a device."""
        self._do("HSET", KEYS.registry, imei, instance_id)

    def release(self, imei: str) -> None:
        """The registry names nobody as the holder of a device."""
        self._do("HDEL", KEYS.registry, imei)

    def set_alive(self, instance_id: str) -> None:
        """An instance has a heartbeat."""
        self._do("SET", KEYS.heartbeat(instance_id), "1")

    def set_dead(self, instance_id: str) -> None:
        """An instance has no heartbeat."""
        self._do("DEL", KEYS.heartbeat(instance_id))

    def set_serial(self, imei: str) -> None:
        """A device is known to send serial data."""
        self._do("SADD", KEYS.serial, imei)

    def save(self) -> Keyspace:
        """All that the server holds now."""
        return self._server.keys.copy()

    def restore(self, saved: Keyspace) -> None:
        """The server holds what it held when that was saved."""
        self._server.keys = saved.copy()

    def lose(self, *prefixes: str) -> None:
        """The server loses the keys with one of these prefixes."""
        for name in self._names():
            if name.startswith(prefixes):
                self._do("DEL", name)

    def lose_rows(self) -> None:
        """The server loses the ledgers."""
        self.lose(KEYS.ledger(""))

    def lose_log(self, first: int | None = None) -> None:
        """The server loses its log, or the `first` entries of it."""
        for entry_id, _ in self._entries(KEYS.responses)[:first]:
            self._do("XDEL", KEYS.responses, entry_id)

    def forget(self) -> None:
        """The server loses ledgers, entries and holders, and keeps the log."""
        self.lose(KEYS.ledger(""), KEYS.outbound(""), KEYS.registry)

    def _do(self, *command: str) -> Any:
        return self._server.execute(*command)

    def _names(self) -> list[str]:
        return [name.decode() for name in self._server.keys.names()]

    def _entries(self, stream: str) -> list[tuple[str, dict[str, str]]]:
        found = self._do("XRANGE", stream, "-", "+")
        return [(one.decode(), {k.decode(): v.decode() for k, v in pairs.items()}) for one, pairs in found]


def _unexpected(error: Exception) -> None:
    raise error
