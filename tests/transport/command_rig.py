"""The command side of one instance, with a ledger in memory, fake connections and a frozen clock.

A test decides when a move is committed (`FakeLedger.commit`), what the ledger answers (`FakeLedger.refuse`),
and what time it is (`CommandRig.at`). `CommandRig.audit` checks what must be true of every history.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from freezegun.api import FrozenDateTimeFactory

from fsm.command_policy import read_policy
from fsm.events import CommandEvent, Origin
from fsm.moves import Entry
from fsm.outbound import Limits
from fsm.reasons import DEVICE_CLOSED, NOT_SENT
from fsm.replay import audit_command, replay_command
from tests.transport.fake_ledger import BOOT, US, FakeLedger, now_ms
from transport.clock import Clock
from transport.commands.dispatcher import Dispatcher
from transport.commands.policy_gate import PolicyGate
from transport.daemon.recurring import find_holders
from transport.metrics import Metrics
from transport.settings import Settings
from transport.teltonika.command import TYPE_ANSWER, TYPE_NACK, Message, decode_message
from transport.teltonika.frame import CODEC_12, CODEC_14, FrameReader

IMEI = "352093081452251"
OTHER_IMEI = "352093081452252"
START = datetime(2026, 1, 1, tzinfo=UTC)


class FakeLink:
    """A device's connection that keeps what is written to it.

    Attributes:
        between_frames: no AVL frame has begun to arrive that is not acknowledged.
        acked: bytes that the device's TCP has acknowledged.
        on_send: called within the next write, as the event loop calls back when too much is unread.
    """

    def __init__(self, dispatcher: Dispatcher, imei: str, session_id: str) -> None:
        self.imei = imei
        self.session_id = session_id
        self.speaks = self.disputed = False
        self.rechecks = 0
        self.ready = False
        self.between_frames = True
        self.closed = False
        self.close_reason = ""
        self.tainted = False
        self.taints = 0
        self.acked = 0
        self.sent = 0
        self.on_send: Callable[[], None] | None = None
        self.commands: list[Message] = []
        self._dispatcher = dispatcher

    @property
    def origin(self) -> Origin:
        return Origin("10.0.0.1:40000", "plain", 0)

    @property
    def writable(self) -> bool:
        return self.ready and self.between_frames and not self.closed and not self.tainted

    @property
    def texts(self) -> list[str]:
        """The texts of the commands that were written."""
        return [command.payload.decode() for command in self.commands]

    def send(self, frame: bytes) -> int:
        assert self.writable, "a command was written to a connection that was not ready for it"
        for body in FrameReader().feed(frame):
            assert isinstance(body, bytes)
            self.commands.append(decode_message(body))
        self.sent += len(frame)
        if self.on_send is not None:
            hook, self.on_send = self.on_send, None
            hook()
        return self.sent

    def acknowledged(self, offset: int) -> bool:
        return not self.closed and self.acked >= offset

    def taint(self) -> None:
        assert not self.closed
        self.tainted = True
        self.taints += 1

    def clear(self) -> None:
        self.tainted = False

    def recheck(self) -> None:
        self.rechecks += 1

    def close(self, reason: str) -> None:
        if not self.closed:
            self.closed, self.close_reason = True, reason
            self._dispatcher.left(self, reason)


class AskedRegistry:
    """`RegistryPort` over the registry of the in-memory server; it keeps what it was asked."""

    def __init__(self, ledger: FakeLedger) -> None:
        self._ledger = ledger
        self.asked: list[list[str]] = []

    async def holders(self, imeis: list[str]) -> dict[str, str]:
        self.asked.append(list(imeis))
        return {imei: holder for imei, holder in self._ledger.holders.items() if imei in imeis}


class CommandRig:
    """Dispatcher, command consumer and handover of one instance, on the frozen clock.

    Unless it is `starting`, the reader has delivered what was on the stream at the start.
    """

    def __init__(self, frozen: FrozenDateTimeFactory, ledger: FakeLedger | None = None, **given: Any) -> None:
        limits = Limits(**{name: given.pop(name) for name in Limits.__slots__ if name in given})
        starting = given.pop("starting", False)
        rules, families = given.pop("rules", None), given.pop("families", ())
        self.settings = Settings(instance_id=US, limits=limits, **given)
        self.ledger = ledger or FakeLedger()
        self.metrics = Metrics()
        self.clock = Clock()
        self.policy = PolicyGate(
            self.settings.allow_verbs,
            None if rules is None else read_policy(rules, "policy.toml"),
            lambda _: families,
            self.clock.monotonic,
        )
        self.dispatcher = Dispatcher(self.settings, BOOT, self.clock, self.ledger, self.metrics, self.policy)
        if not starting:
            self.dispatcher.caught_up()
        self.registry = AskedRegistry(self.ledger)
        self.links: list[FakeLink] = []
        self._frozen = frozen
        self._serial = count(1)

    # Time

    def at(self, seconds: float) -> None:
        """It is `seconds` after the start, and what is due gets its verdict."""
        self._frozen.move_to(START + timedelta(seconds=seconds))
        self.sweep()

    def sweep(self) -> None:
        """Look at what is due."""
        self.dispatcher.sweep(self.clock.monotonic())

    async def look(self) -> None:
        """The registry is asked where the devices are that commands wait for."""
        await find_holders(self.dispatcher, self.registry)

    # Devices

    def connect(self, imei: str = IMEI, *, ready: bool = True) -> FakeLink:
        """A device arrives; an older connection of it is superseded, as the sessions does it."""
        older = self.dispatcher.links.get(imei)
        link = FakeLink(self.dispatcher, imei, f"{BOOT}-{next(self._serial):x}")
        self.links.append(link)
        if older is not None:
            older.close("superseded")
        self.ledger.hold(imei, US)
        self.dispatcher.arrived(link)
        if ready:
            self.ready(link)
        return link

    def registered(self, link: FakeLink) -> None:
        """The registry has answered, and tells whether commands are parked for the device."""
        if link.imei in self.ledger.awaited:
            self.dispatcher.parked(link)

    async def settle(self) -> None:
        """Everything is committed that is proposed, what is looked up is answered, what is new is read."""
        for _ in range(6):
            self.ledger.commit()
            await asyncio.sleep(0)
            self.read(*(entry for entry in self.ledger.stream if entry.instance_id == US))

    def ready(self, link: FakeLink) -> None:
        """The connection's first frame was acknowledged."""
        link.ready = True
        self.dispatcher.quiet(link)

    def frame_begins(self, link: FakeLink) -> None:
        """Some bytes of an AVL frame have come."""
        link.between_frames = False

    def frame_acked(self, link: FakeLink) -> None:
        """The frame is whole, stored and acknowledged."""
        link.between_frames = True
        self.dispatcher.quiet(link)

    def disconnect(self, link: FakeLink) -> None:
        """The device closes its connection."""
        link.close(DEVICE_CLOSED)

    def answer(self, link: FakeLink, text: str | bytes = "OK", codec: int = CODEC_12) -> None:
        """The device answers."""
        payload = text.encode() if isinstance(text, str) else text
        imei = link.imei if codec == CODEC_14 else None
        self.dispatcher.answer(link, Message(codec, TYPE_ANSWER, payload, imei))

    def nack(self, link: FakeLink) -> None:
        """The device refuses a codec 14 command."""
        self.dispatcher.answer(link, Message(CODEC_14, TYPE_NACK, b"", "0" * 15))

    # Producers

    def add(self, command_id: str = "c-1", **fields: str) -> Entry:
        """An entry appears on our stream; nobody has read it."""
        entry = Entry(US, f"{now_ms()}-{next(self._serial)}")
        self.ledger.put(entry, {"command_id": command_id} | fields)
        return entry

    def read(self, *entries: Entry, fresh: bool = True) -> None:
        """The reader hands entries over: for the first time, or again."""
        raw = []
        for entry in entries:
            if fields := self.ledger.stream.get(entry):
                spelt = {name.encode(): value.encode("latin-1") for name, value in fields.items()}
                raw.append((entry.outbound_id, spelt))
        self.dispatcher.receive(raw, fresh)

    def redeliver(self) -> None:
        """Everything that lies on our stream is handed over again."""
        self.read(*(entry for entry in self.ledger.stream if entry.instance_id == US), fresh=False)

    def ask(self, command_id: str = "c-1", imei: str = IMEI, **fields: str) -> Entry:
        """A producer asks for a command, whose text is its id, and the reader hands it over."""
        entry = self.add(command_id, **{"imei": imei, "payload": command_id} | fields)
        self.read(entry)
        return entry

    def cancel(self, command_id: str = "c-1") -> Entry:
        """A producer calls a command off, and the reader hands that over."""
        entry = self.add(command_id, type="cancel")
        self.read(entry)
        return entry

    # What became of it

    def life(self, command_id: str = "c-1") -> list[str]:
        """The published history of a command: ``state [reason] delivery`` of each event."""
        events = self.ledger.events(command_id)
        return [" ".join(filter(None, (e.state, e.reason, e.delivery))) for e in events]

    def notes(self) -> list[tuple[str, str, str]]:
        """The published notes: name, command, detail or answer."""
        return [(n.note, n.command_id, n.detail or n.response or "") for n in self.ledger.notes()]

    def audit(self) -> None:
        """What is true of every history: order, one verdict, one write at most, honest deliveries."""
        written: dict[str, int] = {}
        for link in self.links:
            for text in link.texts:
                written[text] = written.get(text, 0) + 1
        for command_id in {e.command_id for e in self.ledger.log if isinstance(e, CommandEvent)}:
            events = self.ledger.events(command_id)
            if events[0].seq == 1 and not any(event.recovered for event in events):
                replay_command(command_id, events)
            assert audit_command(events) == []
            verdicts = [event for event in events if event.terminal]
            assert verdicts in ([], events[-1:])
            if verdicts and verdicts[0].delivery == NOT_SENT:
                assert command_id not in written
        for link in self.links:
            assert len(link.texts) == len(set(link.texts))
