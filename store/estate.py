"""What a dead instance left behind: registry entries are removed, commands moved or brought to an end.

Every script checks that the instance is still without a heartbeat, and every move of a command is a
compare-and-set, so two heirs, or an instance that wakes up meanwhile, do no harm to each other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, cast

from redis.asyncio import Redis

from fsm.command import QUEUED, Command, CommandRequest, decide, evolve
from fsm.entries import entry_fields, raw_fields
from fsm.errors import GatewayFault, IllegalTransition, InvalidCommand, WrongReason
from fsm.events import Note, SessionEvent
from fsm.moves import Discard, Entry, Move, MoveResult, Open, Remark, Status, Step, Transfer
from fsm.outbound import MAX_HOPS, CancelRequest, Limits, parse_entry
from fsm.reasons import (
    CANCEL_REJECTED,
    CANCELLED,
    EXPIRED,
    INSTANCE_LOST,
    INVALID_COMMAND,
    MOVED,
)
from fsm.session import CLOSED
from store.client import Script
from store.keys import Keys
from store.ledger import Ledger

PAGE = 100


class Alive(GatewayFault):
    """The instance has a heartbeat again: nothing of it is ours to touch."""


def _nothing(result: MoveResult) -> None:
    """Results are returned, not called back."""


class Estate:
    """Settles what one dead instance left.

    Args:
        ledger: made for the dead instance, so that its script refuses when that one is alive.
        now_ms: epoch ms by the clock of Redis.
        on_closed: told of every session that ended with its instance.
        on_adopted: told once for each command that was moved or ended.
    """

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        dead: str,
        ledger: Ledger,
        limits: Limits,
        *,
        now_ms: Callable[[], int],
        on_closed: Callable[[SessionEvent], None],
        on_adopted: Callable[[], None],
    ) -> None:
        self._client = cast(Any, client)
        self._keys = keys
        self._dead = dead
        self._ledger = ledger
        self._limits = limits
        self._now_ms = now_ms
        self._on_closed = on_closed
        self._on_adopted = on_adopted
        self._disown = Script("disown.lua")

    async def settle(self) -> None:
        """Do all there is to do now; safe to repeat.

        Raises:
            Alive: the instance has come back.
            RedisError: a call failed.
        """
        async for imeis in self._held():
            await self._remove(imeis)
        async for outbound_id, fields in self._entries():
            await self._finish(outbound_id, fields)

    # Registry

    async def _held(self) -> AsyncIterator[list[str]]:
        cursor = 0
        while True:
            cursor, found = await self._client.hscan(self._keys.registry, cursor, count=1000)
            imeis = [imei.decode() for imei, holder in found.items() if holder.decode() == self._dead]
            if imeis:
                yield imeis
            if not cursor:
                return

    async def _remove(self, imeis: Sequence[str]) -> None:
        names = [self._keys.registry, self._keys.sessions, self._keys.heartbeat(self._dead)]
        removed = await self._disown(self._client, names, [self._dead, *imeis])
        if removed == b"ALIVE":
            raise Alive(f"Instance {self._dead!r} is alive again.")
        for imei, session_id in zip(removed[::2], removed[1::2], strict=True):
            self._on_closed(
                SessionEvent(
                    session_id=session_id.decode(),
                    seq=0,
                    state=CLOSED,
                    prev="",
                    trigger="close",
                    reason=INSTANCE_LOST,
                    imei=imei.decode(),
                    instance_id=self._dead,
                    terminal=True,
                )
            )

    # Commands

    async def _entries(self) -> AsyncIterator[tuple[str, dict[bytes, bytes]]]:
        """Pending and unread alike, in stream order."""
        start, stream = "-", self._keys.outbound(self._dead)
        while page := await self._client.xrange(stream, min=start, count=PAGE):
            for outbound_id, fields in page:
                yield outbound_id.decode(), fields
            start = f"({page[-1][0].decode()}"

    async def _finish(self, outbound_id: str, fields: dict[bytes, bytes]) -> None:
        entry = Entry(self._dead, outbound_id)
        try:
            request = parse_entry(
                fields,
                instance_id=self._dead,
                outbound_id=outbound_id,
                now_ms=self._now_ms(),
                limits=self._limits,
            )
        except InvalidCommand as error:
            await self._refuse(entry, fields, error)
            return
        if isinstance(request, CancelRequest):
            await self._cancel(request, entry)
        else:
            await self._adopt(request, entry)

    async def _move(self, move: Move) -> MoveResult:
        (result,) = await self._ledger.execute(move)
        if result.status is Status.ALIVE:
            raise Alive(f"Instance {self._dead!r} is alive again.")
        return result

    async def _refuse(self, entry: Entry, fields: dict[bytes, bytes], error: InvalidCommand) -> None:
        if error.command_id is None:
            await self._move(Discard(entry, _nothing, error=str(error), fields=raw_fields(fields)))
            return
        command = Command(error.command_id)
        event = decide(command, "refuse", reason=INVALID_COMMAND, detail=str(error), entry=entry)
        result = await self._move(Open(event, entry, _nothing))
        if result.status is Status.REDELIVERED:
            await self._move(Discard(entry, _nothing))

    async def _adopt(self, request: CommandRequest, entry: Entry) -> None:
        command = Command(request.command_id)
        opening = decide(command, "accept", request=request)
        result = await self._move(Open(opening, entry, _nothing, request))
        if result.status is Status.OK:
            command = evolve(command, opening)
        elif result.status is Status.REDELIVERED:
            command = Command(request.command_id, result.state, result.seq, session_id=result.session_id)
        else:
            return
        self._on_adopted()
        if command.terminal:
            await self._move(Discard(entry, _nothing))
        elif command.state != QUEUED or not await self._hand_on(request, command, entry):
            await self._end(request, command, entry)

    async def _hand_on(self, request: CommandRequest, command: Command, entry: Entry) -> bool:
        """Move a queued command to whoever holds its device now; False when nobody alive does."""
        if self._now_ms() >= request.expires_at or request.hops >= MAX_HOPS:
            return False
        holder = await self._client.hget(self._keys.registry, request.imei)
        if holder is None or holder.decode() == self._dead:
            return False
        note = Note(
            note=MOVED,
            note_id=self._ledger.token(),
            command_id=request.command_id,
            detail=holder.decode(),
            imei=request.imei,
            codec=request.codec,
            instance_id=self._dead,
            outbound_id=entry.outbound_id,
            state=command.state,
            echo=request.echo,
        )
        fields = entry_fields(request)
        move = Transfer(note, entry, command.seq, holder.decode(), fields, _nothing)
        result = await self._move(move)
        return result.status is not Status.HELD_ELSEWHERE

    async def _end(self, request: CommandRequest, command: Command, entry: Entry) -> None:
        expired = command.state == QUEUED and self._now_ms() >= request.expires_at
        trigger, reason = ("expire", EXPIRED) if expired else ("fail", INSTANCE_LOST)
        event = decide(command, trigger, reason=reason, request=request)
        await self._move(Step(event, entry, _nothing))

    async def _cancel(self, request: CancelRequest, entry: Entry) -> None:
        ledger = await self._ledger.read(request.command_id)
        detail = "unknown"
        if ledger:
            command = Command(request.command_id, ledger["state"], int(ledger["seq"]))
            held = Entry(ledger["instance_id"], ledger["outbound_id"])
            try:
                event = decide(command, "fail", reason=CANCELLED, entry=held)
            except WrongReason:
                detail = "sent"
            except IllegalTransition:
                detail = "terminal"
            else:
                await self._move(Step(event, held, _nothing, remove=(entry,)))
                return
        note = Note(
            note=CANCEL_REJECTED,
            note_id=self._ledger.token(),
            command_id=request.command_id,
            detail=detail,
            instance_id=self._dead,
            outbound_id=entry.outbound_id,
        )
        await self._move(Remark(note, _nothing, remove=entry))
