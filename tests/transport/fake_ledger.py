"""A ledger in memory: what is committed, and when, and with what answer, a test decides."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from fsm.command import SENT
from fsm.events import CommandEvent, Note
from fsm.moves import SPEAKS, Discard, Entry, Move, MoveResult, Open, Remark, Status, Step, Transfer
from store.client.errors import CallFailed

US = "gw-1"
BOOT = "boot-b"


def now_ms() -> int:
    """Epoch ms by the frozen clock."""
    return round(time.time() * 1000)


@dataclass
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


@dataclass
class _Refusal:
    status: Status
    times: int
    wanted: Callable[[Move], bool]
    result: dict[str, Any]


class FakeLedger:
    """`LedgerPort` in memory, with the compare-and-set of ``moves.lua``; nothing happens before `settle`.

    Attributes:
        log: what was published, in order.
        rows: the ledgers.
        stream: entries that lie on outbound streams, pending or not.
        holders: imei -> instance_id, as the registry has it.
        serial: devices that are known to speak by themselves.
        alive: instances that have a heartbeat.
        ahead: ms by which its clock is ahead of ours.
    """

    def __init__(self) -> None:
        self.healthy = True
        self.reachable = True
        self.log: list[CommandEvent | Note] = []
        self.rows: dict[str, Row] = {}
        self.stream: dict[Entry, dict[str, str]] = {}
        self.deadletters: list[Discard] = []
        self.holders: dict[str, str] = {}
        self.alive: set[str] = set()
        self.serial: set[str] = set()
        self.ahead = 0
        self._queue: deque[Move] = deque()
        self._refusals: list[_Refusal] = []
        self._serial = count(1)

    # The port

    @property
    def depth(self) -> int:
        return len(self._queue)

    def submit(self, *moves: Move) -> None:
        for move in moves:
            if not isinstance(move, Remark | Discard) and not move.token:
                move.token = f"{BOOT}:{next(self._serial)}"
        self._queue.extend(moves)

    async def read(self, command_id: str) -> dict[str, str]:
        if not self.reachable:
            raise CallFailed("refused")
        row = self.rows.get(command_id)
        if row is None:
            return {}
        return {
            "state": row.state,
            "seq": str(row.seq),
            "instance_id": row.entry.instance_id,
            "outbound_id": row.entry.outbound_id,
            "imei": row.imei,
            "codec": row.codec,
        }

    # What a test does with it

    def refuse(
        self, status: Status, what: str = "", *, times: int = 1, wanted: type | None = None, **result: Any
    ) -> None:
        """The next `times` moves to the state or trigger `what`, or of the class `wanted`, get `status`."""

        def fits(move: Move) -> bool:
            if wanted is not None:
                return isinstance(move, wanted)
            return isinstance(move, Open | Step) and what in ("", move.event.state, move.event.trigger)

        self._refusals.append(_Refusal(status, times, fits, result))

    def settle(self, moves: int | None = None) -> None:
        """Commit `moves` moves, or all there are and all that follow from them."""
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
        """The next move takes effect, its reply is lost, and it is sent again: ALREADY, or REDELIVERED."""
        move = self._queue[0]
        self._carry_out(move)

    def forget(self) -> None:
        """The server comes back empty."""
        self.rows.clear()
        self.stream.clear()
        self.holders.clear()

    def events(self, command_id: str) -> list[CommandEvent]:
        """The published events of a command."""
        return [e for e in self.log if isinstance(e, CommandEvent) and e.command_id == command_id]

    def notes(self, name: str = "") -> list[Note]:
        """The published notes."""
        return [e for e in self.log if isinstance(e, Note) and name in ("", e.note)]

    # The script

    def _carry_out(self, move: Move) -> MoveResult:
        for refusal in self._refusals:
            if refusal.times and refusal.wanted(move):
                refusal.times -= 1
                return MoveResult(refusal.status, now_ms() + self.ahead, **refusal.result)
        match move:
            case Open():
                return self._open(move)
            case Step():
                return self._step(move)
            case Transfer():
                return self._transfer(move)
            case Remark():
                return self._remark(move)
            case Discard():
                return self._discard(move)

    def _report(self, status: Status, row: Row | None = None, detail: str = "") -> MoveResult:
        now = now_ms() + self.ahead
        if row is None:
            return MoveResult(status, now, detail=detail)
        found = (row.state, row.seq, row.session_id, row.accepted_at, row.token)
        return MoveResult(status, now, *found, detail, row.codec)

    def _open(self, move: Open) -> MoveResult:
        row = self.rows.get(move.event.command_id)
        if row is not None:
            if row.entry == move.entry:
                return self._report(Status.REDELIVERED, row)
            if self.stream.pop(move.entry, None) is not None:
                self.log.append(Note("duplicate_ignored", move.token, move.event.command_id))
            return self._report(Status.DUPLICATE, row)
        request = move.request
        accepted = request.accepted_at if request and request.hops else now_ms()
        event = move.event
        self.rows[event.command_id] = Row(
            event.state, event.seq, move.token, move.entry, event.imei, "", accepted, event.codec
        )
        self._append(event, move.entry)
        return self._report(Status.OK, self.rows[event.command_id])

    def _step(self, move: Step) -> MoveResult:
        event = move.event
        row = self.rows.get(event.command_id)
        if row is None and not move.allow_missing:
            return self._report(Status.MISSING)
        known = SPEAKS if move.held_imei in self.serial else ""
        if row is not None and row.token == move.token:
            return self._report(Status.ALREADY, row, known)
        stands = row is None or (row.seq, row.state, row.entry) == (event.seq - 1, event.prev, move.entry)
        if not stands:
            return self._report(Status.CONFLICT, row)
        holder = self.holders.get(move.held_imei)
        if holder and holder != US and holder in self.alive:
            return self._report(Status.HELD_ELSEWHERE, row, holder)
        if known and move.by_default:
            return self._report(Status.SERIAL, row, known)
        accepted = row.accepted_at if row else move.accepted_at
        codec = event.codec if event.state == SENT or row is None else row.codec
        self.rows[event.command_id] = Row(
            event.state, event.seq, move.token, move.entry, event.imei, event.session_id, accepted, codec
        )
        self._append(event, move.entry)
        for entry in move.remove:
            self.stream.pop(entry, None)
        return self._report(Status.OK, self.rows[event.command_id], known)

    def _append(self, event: CommandEvent, entry: Entry) -> None:
        self.log.append(event)
        if event.terminal:
            self.stream.pop(entry, None)

    def _transfer(self, move: Transfer) -> MoveResult:
        row = self.rows.get(move.note.command_id)
        if row is None:
            return self._report(Status.MISSING)
        if row.seq != move.seq or row.entry != move.entry:
            return self._report(Status.CONFLICT, row)
        if move.to_instance not in self.alive:
            return self._report(Status.HELD_ELSEWHERE, row)
        row.entry = Entry(move.to_instance, f"{now_ms()}-{next(self._serial)}")
        row.token = move.token
        self.stream[row.entry] = dict(move.fields)
        self.stream.pop(move.entry, None)
        self.log.append(move.note)
        return self._report(Status.OK, row)

    def _remark(self, move: Remark) -> MoveResult:
        if move.remove and self.stream.pop(move.remove, None) is None:
            return self._report(Status.ALREADY)
        self.log.append(move.note)
        return self._report(Status.OK)

    def _discard(self, move: Discard) -> MoveResult:
        if self.stream.pop(move.entry, None) is None:
            return self._report(Status.ALREADY)
        if move.error:
            self.deadletters.append(move)
        self.log.extend(move.events)
        if move.events and (row := self.rows.get(move.events[-1].command_id)):
            row.state, row.seq, row.token = move.events[-1].state, move.events[-1].seq, ""
        return self._report(Status.OK)
