"""A fleet on one Redis: an instance that has died with commands in hand, others, and adopters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import Redis

from fsm.command import Command, CommandRequest, Entry, decide, evolve
from fsm.events import CommandEvent, Note, SessionEvent
from fsm.moves import Move, MoveResult, Open, Step
from fsm.outbound import Limits, parse_entry
from fsm.replay import audit_command, replay_command
from store.fleet.adoption import Adoption
from store.keys import GROUP, Keys
from store.ledger.ledger import Ledger
from store.streams.event_reader import read_entry

KEYS = Keys()
IMEI = "356307042441013"


def ignore(*_: object) -> None:
    """A hook that nobody listens to."""


class Meddling(Ledger):
    """A ledger with somebody at its elbow, who acts before every move and may answer it himself."""

    before: Callable[[Move], Awaitable[MoveResult | None]] | None = None

    async def execute(self, *moves: Move) -> list[MoveResult]:
        answer = await self.before(moves[0]) if self.before else None
        return [answer] if answer else await super().execute(*moves)


class Fleet:
    """The instance `dead`, who had commands; others, who may hold the device; and adopters."""

    def __init__(self, client: Redis, now_ms: int) -> None:
        self.client: Any = client
        self.now_ms = now_ms
        self.closed: list[SessionEvent] = []
        self.adopted = 0

    def ledger(self, instance: str = "dead", dead: str | None = None) -> Meddling:
        options: Any = {"retention": 60.0, "on_error": ignore, "on_fenced": ignore, "dead": dead}
        return Meddling(self.client, KEYS, instance, f"boot of {instance}", **options)

    def adoption(
        self, dead: str = "dead", ledger: Ledger | None = None, limits: Limits | None = None
    ) -> Adoption:
        return Adoption(
            self.client,
            KEYS,
            dead,
            ledger or self.ledger("adopter", dead),
            limits or Limits(),
            now_ms=lambda: self.now_ms,
            on_closed=self.closed.append,
            on_adopted=self._count,
        )

    def _count(self) -> None:
        self.adopted += 1

    async def renew_heartbeat(self, instance: str) -> None:
        await self.client.set(KEYS.heartbeat(instance), "1", ex=60)

    async def hold(self, instance: str, imei: str = IMEI, session: str = "session") -> None:
        await self.client.hset(KEYS.registry, imei, instance)
        await self.client.hset(KEYS.sessions, imei, session)

    async def publish(self, instance: str = "dead", **fields: str) -> Entry:
        """An entry as a producer writes it; by default a command that is good."""
        fields = {"command_id": "c1", "imei": IMEI, "payload": "getinfo"} | fields
        return Entry(instance, (await self.client.xadd(KEYS.outbound(instance), fields)).decode())

    async def accept(self, state: str = "queued", instance: str = "dead", **fields: str) -> Entry:
        """An entry that its instance has read, and has brought to `state`."""
        entry = await self.publish(instance, **fields)
        if not await self.client.exists(KEYS.outbound(instance)) or not await self.groups(instance):
            await self.client.xgroup_create(KEYS.outbound(instance), GROUP, "0")
        await self.client.xreadgroup(GROUP, instance, {KEYS.outbound(instance): ">"})
        [(_, raw)] = await self.client.xrange(KEYS.outbound(instance), entry.outbound_id, entry.outbound_id)
        at: Any = {"instance_id": instance, "outbound_id": entry.outbound_id, "now_ms": self.now_ms}
        request = parse_entry(raw, **at, limits=Limits(max_payload=4096))
        assert isinstance(request, CommandRequest)
        command, ledger = Command(request.command_id), self.ledger(instance)
        event = decide(command, "accept", request=request)
        await ledger.execute(Open(event, entry, ignore, request))
        if state != "queued":
            command = evolve(command, event)
            event = decide(command, "send", request=request, session_id="s1")
            await ledger.execute(Step(event, entry, ignore))
        return entry

    async def groups(self, instance: str = "dead") -> Any:
        return await self.client.xinfo_groups(KEYS.outbound(instance))

    async def log(self) -> list[CommandEvent | Note | SessionEvent | None]:
        entries = await self.client.xrange(KEYS.responses)
        return [read_entry({n.decode(): v.decode() for n, v in fields.items()}) for _, fields in entries]

    async def notes(self) -> list[tuple[str, str, str]]:
        return [(i.note, i.command_id, i.detail) for i in await self.log() if isinstance(i, Note)]

    async def history(self, command_id: str = "c1") -> list[CommandEvent]:
        """The events of a command, which fold, and make only moves that the table has."""
        events = [i for i in await self.log() if isinstance(i, CommandEvent) and i.command_id == command_id]
        replay_command(command_id, events)
        assert audit_command(events) == []
        return events

    async def verdict(self, command_id: str = "c1") -> tuple[int, str, str, str]:
        """The one terminal event of a command, which its ledger agrees with."""
        *earlier, last = await self.history(command_id)
        assert [event.terminal for event in (*earlier, last)] == [False] * len(earlier) + [True]
        ledger = await self.ledger().read(command_id)
        assert (ledger["state"], ledger["seq"]) == (last.state, str(last.seq))
        return last.seq, last.state, last.reason, last.delivery

    async def left(self, instance: str = "dead") -> int:
        """Entries on the stream of an instance, pending or not."""
        stream = KEYS.outbound(instance)
        pending = (
            sum(group["pending"] for group in await self.groups(instance))
            if (await self.client.exists(stream))
            else 0
        )
        return int(await self.client.xlen(stream)) + pending
