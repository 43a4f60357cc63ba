"""Adoption of a dead instance's work: its registrations are removed, its commands moved, parked or ended.

Every script checks that the instance still has no heartbeat, and every move of a command is a
compare-and-set. So several adopters, or an instance that comes back meanwhile, do not harm each other.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, cast

from redis.asyncio import Redis

from fsm.cancel import Cancelled, decide_cancel
from fsm.command import Command, CommandRequest, decide
from fsm.dead_letters import give_up
from fsm.entries import entry_fields, letter_fields
from fsm.errors import GatewayFault, InvalidCommand
from fsm.events import CommandEvent, Note, SessionEvent
from fsm.moves import Discard, Entry, Move, MoveResult, Open, ParkMove, Remark, Status, Step, Transfer
from fsm.outbound import CancelRequest, Limits, SupersededHint, parse_entry
from fsm.policies import REMOVE, Fire, HandOver, Park, Policy
from fsm.reasons import CANCEL_REJECTED, INTERNAL_ERROR, INVALID_COMMAND, MOVED, PARKED
from fsm.redelivery import command_of, events_of_refused, policy_at
from store.client.errors import StoreRefused, is_transient
from store.client.replies import understood
from store.client.script import Script
from store.fleet.stale_registrations import held_by, lost_session
from store.keys import Keys
from store.ledger.ledger import Ledger
from store.streams.entry_ids import after

PAGE = 100


class Alive(GatewayFault):
    """The instance has a heartbeat again: its work must not be adopted."""


def _nothing(result: MoveResult) -> None:
    """Results are returned, not called back."""


def _read_removed(reply: Any) -> list[tuple[str, str]]:
    """The devices whose entries were removed, and the sessions that they had."""
    texts = [text.decode(errors="replace") for text in reply]
    return list(zip(texts[::2], texts[1::2], strict=True))


class Adoption:
    """Finishes the work of one dead instance.

    Args:
        ledger: made for the dead instance, so that its script refuses when that one is alive.
        now_ms: epoch ms by the clock of Redis.
        on_closed: called with every session that ended with its instance.
        on_adopted: called once for each command that was handed over or ended.
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
        self._remove_registrations = Script("remove_registrations.lua")
        self._name = uuid.uuid4().hex[:12]
        self._tokens = count(1)

    async def adopt(self) -> None:
        """Adopt everything that there is now; safe to repeat.

        Raises:
            Alive: the instance has come back.
            StoreError: a call failed. An error of a single entry is raised after the others.
        """
        async for imeis in held_by(self._client, self._keys, self._dead):
            await self._remove(imeis)
        failure: StoreRefused | None = None
        async for outbound_id, fields in self._entries():
            try:
                await self._finish(Entry(self._dead, outbound_id), fields)
            except StoreRefused as error:
                if is_transient(error):
                    raise
                failure = failure or error
        if failure:
            raise failure

    # Registry

    async def _remove(self, imeis: Sequence[bytes]) -> None:
        names = [self._keys.registry, self._keys.sessions, self._keys.heartbeat(self._dead)]
        removed = await self._remove_registrations(self._client, names, [self._dead, *imeis])
        if removed == b"ALIVE":
            raise Alive(f"Instance {self._dead!r} is alive again.")
        for imei, session_id in await understood(self._client, removed, _read_removed):
            self._on_closed(lost_session(session_id, imei, self._dead))

    # Commands

    async def _entries(self) -> AsyncIterator[tuple[str, dict[bytes, bytes]]]:
        """Pending and unread alike, in stream order."""
        stream = self._keys.outbound(self._dead)
        start: str | None = "-"
        while start and (page := await self._client.xrange(stream, min=start, count=PAGE)):
            for outbound_id, fields in page:
                yield outbound_id.decode(), fields
            start = after(page[-1][0])

    async def _finish(self, entry: Entry, fields: dict[bytes, bytes]) -> None:
        try:
            request = parse_entry(
                fields,
                instance_id=self._dead,
                outbound_id=entry.outbound_id,
                now_ms=self._now_ms(),
                limits=self._limits,
            )
        except InvalidCommand as error:
            await self._refuse(entry, fields, error)
            return
        if isinstance(request, SupersededHint):
            await self._move(Discard(entry, _nothing))
        elif isinstance(request, CancelRequest):
            await self._cancel(request, entry)
        else:
            await self._adopt(request, entry)

    def _token(self) -> str:
        """A new token, unlike those of this process, which may get the command handed over itself."""
        return f"{self._name}:{next(self._tokens)}"

    async def _move(self, move: Move) -> MoveResult:
        if not isinstance(move, Remark | Discard):
            move.token = self._token()
        (result,) = await self._ledger.execute(move)
        if result.status is Status.ALIVE:
            raise Alive(f"Instance {self._dead!r} is alive again.")
        if result.status is Status.ERROR:
            raise StoreRefused(result.detail)
        return result

    async def _refuse(self, entry: Entry, fields: dict[bytes, bytes], error: InvalidCommand) -> None:
        if error.command_id is None:
            await self._move(Discard(entry, _nothing, error=str(error), fields=letter_fields(fields)))
            return
        command = Command(error.command_id)
        event = decide(command, "refuse", reason=INVALID_COMMAND, detail=str(error), entry=entry)
        try:
            result = await self._move(Open(event, entry, _nothing))
        except StoreRefused as refusal:
            letter = Discard(
                entry, _nothing, error=INTERNAL_ERROR, fields=letter_fields(fields), events=(event,)
            )
            await self._give_up(letter, refusal)
            return
        if result.status is Status.OK:
            self._on_adopted()
        elif (known := command_of(event, result)) is not None:
            # The dead instance accepted a command that the limits of this one refuse.
            await self._end(policy_at("adoption", known.state, None, self._now_ms()), known, entry)

    async def _adopt(self, request: CommandRequest, entry: Entry) -> None:
        command = Command(request.command_id)
        opening = decide(command, "accept", request=request)
        try:
            result = await self._move(Open(opening, entry, _nothing, request))
        except StoreRefused as refusal:
            events = events_of_refused(command, request, opening)
            await self._give_up(give_up(request, entry, events, _nothing), refusal)
            return
        known = command_of(opening, result)
        if known is not None:
            await self._go_on(result.confirm(request), known, entry)

    async def _go_on(self, request: CommandRequest, command: Command, entry: Entry) -> None:
        """Do what `fsm.redelivery` says of a command whose ledger names this entry."""
        policy = policy_at("adoption", command.state, request, self._now_ms())
        if isinstance(policy, HandOver) and not await self._hand_over(request, command, entry):
            policy = policy_at("adoption", command.state, request, self._now_ms(), stranded=True)
        if isinstance(policy, Park):
            policy = policy if await self._park(request, command, entry) else policy.otherwise
        await self._end(policy, command, entry, request)

    async def _end(
        self, policy: Policy, command: Command, entry: Entry, request: CommandRequest | None = None
    ) -> None:
        """End the command or remove its entry, if that is the policy; `request` is None if unreadable."""
        if policy is REMOVE:
            await self._move(Discard(entry, _nothing))
        elif isinstance(policy, Fire):
            event = decide(command, policy.trigger, reason=policy.reason, request=request, entry=entry)
            if request is None:
                event = _located(event, await self._ledger.read(command.command_id))
            await self._step(event, entry)

    async def _give_up(self, letter: Discard, refusal: StoreRefused) -> None:
        """The ledger of this command cannot be written: its verdict is published with a dead letter."""
        if is_transient(refusal):
            raise refusal
        await self._move(letter)
        self._on_adopted()

    async def _hand_over(self, request: CommandRequest, command: Command, entry: Entry) -> bool:
        """Hand a command over to the holder of its device; False when no living instance holds it."""
        holder = (await self._client.hget(self._keys.registry, request.imei) or b"").decode(errors="replace")
        if holder in ("", self._dead):
            return False
        note = self._note(MOVED, request, command, holder)
        move = Transfer(note, entry, command.seq, holder, entry_fields(request), _nothing)
        return await self._moved(move) not in (None, Status.HELD_ELSEWHERE)

    async def _park(self, request: CommandRequest, command: Command, entry: Entry) -> bool:
        """Park a command; False if that cannot be. If its device is back, it stays for the next round."""
        move = ParkMove(self._note(PARKED, request, command), entry, command.seq, request, _nothing)
        return await self._moved(move) is not None

    async def _moved(self, move: Transfer | ParkMove) -> Status | None:
        """Make a move that changes the place of a command; None if Redis refuses it for good."""
        try:
            result = await self._move(move)
        except StoreRefused as refusal:
            if is_transient(refusal):
                raise
            return None
        if result.status is Status.OK:
            self._on_adopted()
        return result.status

    def _note(self, name: str, request: CommandRequest, command: Command, detail: str = "") -> Note:
        return Note(
            note=name,
            note_id=self._token(),
            command_id=request.command_id,
            detail=detail,
            imei=request.imei,
            codec=command.codec,
            instance_id=self._dead,
            outbound_id=request.outbound_id,
            state=command.state,
            echo=request.echo,
        )

    async def _step(self, event: CommandEvent, entry: Entry) -> None:
        if (await self._move(Step(event, entry, _nothing))).status is Status.OK:
            self._on_adopted()

    async def _cancel(self, request: CancelRequest, entry: Entry) -> None:
        verdict = decide_cancel(request, await self._ledger.read(request.command_id))
        if isinstance(verdict, Cancelled):
            await self._move(Step(verdict.event, verdict.held, _nothing, remove=(entry,)))
            return
        note = Note(
            note=CANCEL_REJECTED,
            note_id=self._token(),
            command_id=request.command_id,
            detail=verdict,
            instance_id=self._dead,
            outbound_id=entry.outbound_id,
        )
        await self._move(Remark(note, _nothing, remove=entry))


def _located(event: CommandEvent, ledger: Mapping[str, str]) -> CommandEvent:
    """`event` with what the ledger knows of the device."""
    return replace(event, imei=ledger.get("imei", ""), codec=ledger.get("codec", ""))
