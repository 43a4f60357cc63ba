"""A whole connection: whatever a device sends, at whatever moment the rest of the gateway does its part.

The first four bytes of an input are the weather: the seed of how the bytes are cut, when the store confirms,
when commands come. The rest is what the device sends.
"""

from __future__ import annotations

import asyncio
import json
from random import Random
from typing import Any
from unittest.mock import patch

from fsm.device_terms import Absence
from fsm.events import CommandEvent
from fsm.reasons import CLOSE_REASONS
from fsm.registration import Registered, RegisterResult
from fsm.replay import audit_session
from fsm.telemetry import PendingFrame
from tests.fuzz.check_wire import read_json
from tests.fuzz.expected import Expected, Stored, expect
from tests.fuzz.fakes import FakeAllowList, Socket, Store, listed
from tests.fuzz.frame_mutants import IMEI
from tests.fuzz.protocol import Message as Said
from tests.transport.connection_rig import ConnectionRig
from tests.wire_format import ANSWER, COMMAND, NACK, message, read_message
from transport.connection.protocol import DeviceConnection
from transport.teltonika.handshake import ACCEPT

MOST_PIECES = 60
TURNS = 400
"""Rounds in which a connection that is not read must be read again."""
UNACKED = 32
"""Frames that wait for the store beyond which a device is not read."""
LATER = 31.0
"""Seconds by which every deadline of a connection has passed."""

Met = set[str]


def connection(data: bytes) -> Met:
    """Each frame is stored as the protocol says, then acknowledged, in order, and nothing is left."""
    with asyncio.Runner() as runner, patch.object(runner.get_loop(), "time", return_value=0.0):
        # No timer of the event loop ends: what happens to a connection follows from the input alone.
        return runner.run(_Meeting(data).run())


class _Meeting:
    """One connection, its weather, and what is known of it."""

    def __init__(self, data: bytes) -> None:
        self.weather = Random(data[:4])
        self.sent, self.rest = b"", data[4:]
        self.raw = self.weather.random() < 0.2
        self.connections = ConnectionRig(None, payload="raw" if self.raw else "json")  # type: ignore[arg-type]
        self.allow_list = FakeAllowList(self.weather.choice((True,) * 9 + (None,) * 3 + (False,)))
        self.connections.context.access._list = self.allow_list
        self.store = self.connections.context.telemetry = self.connections.telemetry = Store()
        self.connections.context.messages = self.store
        self.store.on_stored = self.connections.context.acknowledge
        self.socket = Socket(self._written)
        self.device = DeviceConnection(self.connections.context)
        self.acks: list[int] = []
        self.due_acks: list[int] = []
        self.asked: dict[str, bytes] = {}
        self.commands: list[bytes] = []
        refused = self.allow_list.look_up("") is Absence.NOT_LISTED
        self.closable: set[str] = {"rejected"} if refused else set()
        self.met: Met = set()

    async def run(self) -> Met:
        trouble: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))
        self.socket.protocol = self.device
        self.device.connection_made(self.socket)
        for piece in self._pieces():
            if not self.allow_list.asked or self.weather.random() < 0.7:  # a piece may have been on its way
                await self._until_read()
            if self.device.closed:
                self.device.received(piece)  # what was on its way means nothing any more
                break
            self._receive(piece)
            await self._something_happens()
        for _ in range(self.weather.choice((0, 2, 8))):
            await self._until_read()
            await self._something_happens()
        self._end()
        assert not trouble, trouble
        return self.met

    def _pieces(self) -> list[bytes]:
        cut, at = [], 0
        largest = self.weather.choice((8, 60, 1500, 65_536))
        while at < len(self.rest):
            size = self.weather.randint(1, largest) if len(cut) < MOST_PIECES else len(self.rest)
            cut.append(self.rest[at : at + size])
            at += size
        return cut

    def _receive(self, piece: bytes) -> None:
        self.sent += piece
        self.device.received(piece)
        self._compare()

    # What others do

    async def _something_happens(self) -> None:
        commit = self.connections.commands.ledger.commit
        often = (self._confirm, self._confirm, commit, commit, self._ask, self._answer)
        while self.weather.random() < 0.6 and not self.device.closed:
            self.weather.choice((*often, *often, self._register, self._seldom))()
            await asyncio.sleep(0)
            self._compare()

    def _confirm(self) -> None:
        """The store has the oldest frame."""
        if self.store.batches:
            if self.store.batches[0].owed and (self.device.half_closed or not self.device.closed):
                done = len(self._owed()) - sum(batch.owed for batch in self.store.batches)
                self.due_acks.append(expect(self.sent, raw=self.raw).stored[done].count)
            self.store.confirm()

    def _owed(self) -> list[PendingFrame]:
        """What was handed to the store that the device waits for."""
        return [batch for batch in self.store.given if batch.owed]

    def _ask(self) -> None:
        """A producer asks for a command."""
        name = f"c-{len(self.asked)}"
        self.asked[name] = text = b"getinfo %d" % len(self.asked)
        codec, answer = self.weather.choice(("12", "12", "14")), self.weather.choice(("1", "1", "1", "0"))
        self.connections.commands.ask(
            name, self.device.imei or IMEI, payload=text.decode(), codec=codec, expect_response=answer
        )

    def _answer(self) -> None:
        """Between two frames the device answers a command, or says that it is another's."""
        if self.commands and not self.socket.paused and not self._now().partial:
            codec, kind = self.weather.choice(("12", "12", "14")), self.weather.choice((ANSWER, ANSWER, NACK))
            self._receive(message(codec, self.device.imei, kind, b"OK"))

    def _register(self) -> None:
        """The registry answers."""
        if self.device.imei:
            status = self.weather.choice(
                (*[Registered.REGISTERED] * 9, Registered.FAILED, Registered.SUPERSEDED)
            )
            self.closable |= {"superseded"} if status is Registered.SUPERSEDED else set()
            self.device.registered(RegisterResult(status))

    def _seldom(self) -> None:
        self.weather.choice((self._time_passes, self._stops_reading, self._comes_again, lambda: None))()

    def _time_passes(self) -> None:
        """All deadlines pass; that of a frame passes only while its connection is read."""
        self.closable.add("protocol_error" if self.device.imei else "handshake_timeout")
        waits = self.connections.context.backpressure.holds(self.device)
        overdue = self._now().partial and not waits
        self.connections.timeouts.sweep(self.connections.commands.clock.monotonic() + LATER)
        assert self.device.closed == (not self.device.imei or overdue)

    def _stops_reading(self) -> None:
        """The device reads no more, which the next write shows."""
        if self.acks:
            self.closable.add("write_overflow")
            self.socket.unread = 100_000

    def _comes_again(self) -> None:
        """The device opens another connection."""
        if self.device.imei:
            self.closable.add("superseded")
            self.connections.context.access._list = None
            other, socket = self.connections.identify(self.device.imei)
            assert self.device.closed
            assert not other.closed
            socket.close()
            other.connection_lost(None)

    async def _until_read(self) -> None:
        """The kernel hands nothing over while the connection is not read; it must not stay so."""
        for _ in range(TURNS):
            if not self.socket.paused or self.device.closed:
                return
            self.met.add("paused")
            await asyncio.sleep(0)
            if self.allow_list.asked:
                self._list_answers(self.weather.random() < 0.8)
            if self.device.imei:
                self.device.registered(RegisterResult(Registered.REGISTERED))
                await asyncio.sleep(0)
            self._confirm()
            self.connections.context.backpressure.progress()
            self._compare()
        raise AssertionError("the connection is never read again")

    def _list_answers(self, welcome: bool) -> None:
        """The allow-list has been asked."""
        assert self.allow_list.asked is not None
        asked, self.allow_list.asked = self.allow_list.asked, None
        self.closable |= set() if welcome else {"rejected"}
        asked(listed(welcome))

    # What must be

    def _now(self) -> Expected:
        """What the bytes so far amount to; what follows a handshake waits for the allow-list."""
        expected = expect(self.sent, raw=self.raw)
        accepted = self.socket.written[:1] == [ACCEPT]
        return expected if accepted else Expected(lost=expected.lost and not expected.imei)

    def _written(self, data: bytes) -> None:
        """One write is one thing: the accept byte, an acknowledgement, or a command."""
        if not self.socket.written:
            assert data == (b"\x01" if self.device.imei else b"\x00"), (
                "the first byte does not answer the handshake"
            )
        elif len(data) == 4:
            self.acks.append(int.from_bytes(data, "big"))
        else:
            self._command(data)

    def _command(self, data: bytes) -> None:
        assert len(self.acks) == len(self._owed()), "a command is written before an acknowledgement"
        assert not self._now().partial, "a command is written into a frame"
        told = read_message(data[8:-4])
        assert told is not None
        assert told.kind == COMMAND
        assert told.text in self.asked.values()
        assert told.text not in self.commands, "a command is written twice"
        assert told.codec == "12" or told.imei == self.device.imei
        self.commands.append(told.text)

    def _compare(self) -> None:
        expected, closed = self._now(), self.device.closed
        given = self._owed()
        assert len(given) <= len(expected.stored)
        assert closed or len(given) == len(expected.stored), "a frame is not stored"
        for batch, wanted in zip(given, expected.stored, strict=False):
            _check_batch(batch, wanted, expected.imei)
        said = [batch for batch in self.store.given if not batch.owed]
        _check_messages(said, expected.messages, expected.imei)
        assert self.acks == self.due_acks[: len(self.acks)], "the wrong thing is acknowledged"
        assert closed or len(self.acks) == len(self.due_acks), "what is stored is not acknowledged"
        assert closed or not expected.lost, "it goes on though nobody knows where"
        assert self.socket.closing == closed
        assert closed or self.socket.paused or len(self.store.batches) < UNACKED, "it is read without end"
        if closed:
            ours = {"protocol_error"} if expected.lost else set()
            assert self.device.close_reason in ours | self.closable

    def _end(self) -> None:
        """The socket is gone; what is still stored then is acknowledged to nobody."""
        self._compare()
        error = self.weather.choice((None, None, ConnectionResetError(), TimeoutError()))
        if error is None and not self.socket.paused and self.device.eof_received():
            self._serve_half_closed()
        self.device.connection_lost(error)
        while self.store.batches:
            self._confirm()
        self.connections.commands.ledger.commit()
        sessions, states = self.connections.sessions, self.connections.session_log
        assert (
            sessions.connected,
            len(sessions.unidentified),
            len(sessions.by_imei),
            len(sessions.closing),
        ) == (0, 0, 0, 0)
        own = [event for event in states if event.session_id == self.device.session_id]
        assert audit_session(own) == []
        assert bool(own) == bool(self.device.imei)
        assert not own or (own[-1].state, own[-1].reason) == ("closed", self.device.close_reason)
        assert self.device.close_reason in CLOSE_REASONS
        self.connections.commands.audit()
        self._tell()

    def _serve_half_closed(self) -> None:
        """The device has closed its side: it gets accept byte and acknowledgements, and no command."""
        assert not self.socket.closing
        commands = len(self.commands)
        self.device.registered(RegisterResult(Registered.REGISTERED))
        while any(batch.owed for batch in self.store.batches):
            assert not self.socket.closing, "it is closed before it has its acknowledgements"
            self._confirm()
            self.connections.commands.ledger.commit()
        assert (self.acks, len(self.commands)) == (self.due_acks, commands)
        assert self.socket.closing, "it stays open for nothing"
        self.met.add("half-closed")

    def _tell(self) -> None:
        self.met.add(f"closed: {self.device.close_reason}")
        self.met |= {batch.kind for batch in self.store.given}
        self.met |= {"acknowledged"} if self.acks else set()
        self.met |= {"command"} if self.commands else set()
        events = [event for event in self.connections.commands.ledger.log if isinstance(event, CommandEvent)]
        self.met |= {f"{event.state} {event.reason}".strip() for event in events if event.terminal}
        written = {f"c-{int(text.split()[1])}" for text in self.commands}
        for event in events:
            assert event.delivery == "not_sent" or not event.terminal or event.command_id in written


def _check_batch(batch: PendingFrame, wanted: Stored, imei: str) -> None:
    told = batch.kind, batch.codec.decode(), batch.reason.decode()
    assert told == (wanted.kind, wanted.codec, wanted.reason)
    assert batch.imei.decode() == imei
    if wanted.kind == "record":
        assert [read_json(body) for body in batch.bodies] == wanted.records
    else:
        assert batch.bodies == [wanted.body]


def _check_messages(given: list[PendingFrame], frames: list[Stored | list[Said]], imei: str) -> None:
    """In their order: frames that cannot be read, and of the others all that is no answer and no ping."""
    left = list(given)
    for frame in frames:
        if isinstance(frame, Stored):
            if left:
                _check_batch(left.pop(0), frame, imei)
        elif left and left[0].kind != "undecodable" and _is_of(left[0], frame, imei):
            left.pop(0)
        elif left:
            assert all(_may_be_answer(said, frame, imei) for said in frame), "what was said is not stored"
    assert not left, "something is stored that nobody said"


def _is_of(batch: PendingFrame, frame: list[Said], imei: str) -> bool:
    """Whether a batch holds the messages of a frame, in their order, less those that may be answers."""
    rows = [json.loads(body) for body in batch.bodies]
    found = [dict(zip(row[::2], row[1::2], strict=True)) for row in rows]
    for said in frame:
        if found and _tells(found[0], said):
            found.pop(0)
        elif not _may_be_answer(said, frame, imei):
            return False
    kind = "message" if frame[0].codec == 14 else "serial"
    return not found and (batch.kind, batch.codec.decode()) == (kind, str(frame[0].codec))


def _tells(fields: dict[str, str], said: Said) -> bool:
    text = bytes.fromhex(fields["hex"]) if "hex" in fields else fields["text"].encode()
    at = None if said.timestamp is None else str(said.timestamp * 1000)
    return (text, fields["type"], fields.get("at")) == (said.text, f"{said.type:02X}", at)


def _may_be_answer(said: Said, frame: list[Said], imei: str) -> bool:
    if len(frame) > 1:
        return False
    if said.codec == 12:
        return said.type == ANSWER
    return said.codec == 14 and (said.type == NACK or (said.type == ANSWER and said.imei == imei))
