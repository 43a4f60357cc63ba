"""Commands and their moves on one Redis, as the tests of the ledger write them."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import Redis

from fsm.command import Answer, Command, CommandRequest, decide, evolve
from fsm.events import CommandEvent, Note
from fsm.moves import Discard, Entry, Move, MoveResult, Open, Remark, Status, Step, Transfer
from fsm.replay import replay_command
from store.keys import GROUP, Keys
from store.ledger.ledger import Ledger
from store.streams.event_reader import read_entry

KEYS = Keys()
IMEI = "352093081452251"
US = "gw-1"
BOOT = "boot-1"
ANSWER = Answer("Ver:03.27.07 \r\nGPS:AXN", None, False, "12")


def ignore(*_: object) -> None:
    """A hook that nobody listens to."""


class Case:
    """One command: where it stands, and the moves that would follow."""

    def __init__(self, request: CommandRequest) -> None:
        self.request = request
        self.command = Command(request.command_id)
        self.entry = Entry(request.instance_id, request.outbound_id)
        self.results: list[MoveResult] = []

    def _next(self, trigger: str, **facts: Any) -> CommandEvent:
        event = decide(self.command, trigger, request=self.request, **facts)
        self.command = evolve(self.command, event)
        return event

    def open(self, trigger: str = "accept", **facts: Any) -> Open:
        """The first move."""
        return Open(self._next(trigger, **facts), self.entry, self.results.append, self.request)

    def step(
        self,
        trigger: str,
        *,
        remove: tuple[Entry, ...] = (),
        allow_missing: bool = False,
        held_imei: str = "",
        by_default: bool = False,
        **facts: Any,
    ) -> Step:
        """The next move."""
        event = self._next(trigger, recovered=allow_missing, **facts)
        return Step(
            event,
            self.entry,
            self.results.append,
            remove=remove,
            allow_missing=allow_missing,
            held_imei=held_imei,
            by_default=by_default,
            accepted_at=self.request.accepted_at,
        )

    def transfer(self, to: str, fields: tuple[tuple[str, str], ...] = (("command_id", "c-1"),)) -> Transfer:
        """The move to another instance."""
        note = Note("moved", "n-1", self.request.command_id, detail=to, state=self.command.state)
        return Transfer(note, self.entry, self.command.seq, to, fields, self.results.append)

    def discard(self, error: str = "", **given: Any) -> Discard:
        """The end of its entry."""
        return Discard(self.entry, self.results.append, error=error, **given)

    def remark(self, note_id: str, *, remove: Entry | None = None, command_id: str | None = None) -> Remark:
        """A note about it."""
        subject = self.request.command_id if command_id is None else command_id
        return Remark(Note("late_response", note_id, subject), self.results.append, remove=remove)


class Book:
    """The ledger of one instance, and what the server holds afterwards."""

    def __init__(self, client: Redis) -> None:
        self.client: Any = client
        self.errors: list[Exception] = []
        self.failed = asyncio.Event()
        self.fenced = 0
        self.ledger = self.of()

    def of(self, instance: str = US, boot: str = BOOT, dead: str | None = None) -> Ledger:
        """The ledger of an instance."""
        return Ledger(
            self.client,
            KEYS,
            instance,
            boot,
            retention=7 * 86400.0,
            on_error=self._on_error,
            on_fenced=self._on_fenced,
            dead=dead,
        )

    def _on_error(self, error: Exception) -> None:
        self.errors.append(error)
        self.failed.set()

    def _on_fenced(self) -> None:
        self.fenced += 1

    async def entry(self, command_id: str, instance: str = US) -> Entry:
        """An entry that its instance has read and not finished."""
        stream = KEYS.outbound(instance)
        if not await self.client.exists(stream):
            await self.client.xgroup_create(stream, GROUP, "0", mkstream=True)
        outbound_id = await self.client.xadd(stream, {"command_id": command_id})
        await self.client.xreadgroup(GROUP, instance, {stream: ">"})
        return Entry(instance, outbound_id.decode())

    async def case(self, command_id: str = "c-1", **given: Any) -> Case:
        """A command whose entry was just read."""
        entry = await self.entry(command_id)
        values: dict[str, Any] = {
            "command_id": command_id,
            "imei": IMEI,
            "payload": b"getver",
            "codec": "12",
            "expires_at": 4_000_000_000_000,
            "accepted_at": 1_767_225_600_000,
            "response_timeout": 30.0,
            "expect_response": True,
            "instance_id": entry.instance_id,
            "outbound_id": entry.outbound_id,
            "echo": (("requested_by", "me"),),
        }
        return Case(CommandRequest(**(values | given)))

    async def sent(self, command_id: str = "c-1") -> Case:
        """A command that is out."""
        case = await self.case(command_id)
        await self.statuses(case.open(), case.step("send", session_id="s-1"))
        return case

    async def statuses(self, *moves: Move, ledger: Ledger | None = None) -> list[Status]:
        """Carry out moves in one call."""
        return [result.status for result in await (ledger or self.ledger).execute(*moves)]

    async def log(self) -> list[dict[str, str]]:
        """The entries of the log."""
        entries = await self.client.xrange(KEYS.responses)
        return [{name.decode(): value.decode() for name, value in fields.items()} for _, fields in entries]

    async def states(self, command_id: str = "c-1") -> list[str]:
        """The published states of a command."""
        return [
            e["state"] for e in await self.log() if e["kind"] == "command" and e["command_id"] == command_id
        ]

    async def row(self, command_id: str = "c-1") -> dict[str, str]:
        """The ledger of a command."""
        return await self.ledger.read(command_id)

    async def pending(self, instance: str = US) -> list[str]:
        """The entries that are read and not finished, which must lie on the stream, all of them."""
        found = await self.client.xpending_range(KEYS.outbound(instance), GROUP, "-", "+", 10_000)
        pending = [entry["message_id"].decode() for entry in found]
        listed = [
            outbound_id.decode() for outbound_id, _ in await self.client.xrange(KEYS.outbound(instance))
        ]
        assert pending == listed
        return pending

    async def audit(self) -> None:
        """The log, folded, is what the ledgers say."""
        events: dict[str, list[CommandEvent]] = {}
        for fields in await self.log():
            event = read_entry(fields)
            if isinstance(event, CommandEvent):
                events.setdefault(event.command_id, []).append(event)
        for command_id, history in events.items():
            folded, row = replay_command(command_id, history), await self.row(command_id)
            if row:
                assert (folded.state, folded.seq) == (row["state"], int(row["seq"]))
                assert folded.session_id == row["session_id"]
