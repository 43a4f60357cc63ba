"""A connection's bytes replayed: which commands were written on it, and whether that was the moment."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from tests import wire_format
from tests.history import Bytes

SERIAL = b"serial "
"""How what serial ports say in a run begins; a count follows that never goes back."""


@dataclass(frozen=True)
class Written:
    """A command frame on a connection."""

    at: float
    connection: str
    codec: str
    text: str


class Wiretap:
    """Listens to one connection from its first byte to its last."""

    def __init__(self, connection: str, imei: str, ready_grace: float = 0.0) -> None:
        self._connection = connection
        self._imei = imei
        self._grace_ms = ready_grace * 1000
        self._hello_at: float | None = None
        self._acks = 0
        self._up, self._down = wire_format.from_device(), wire_format.from_gateway()
        self._unacked: deque[tuple[int, int]] = deque()
        self._owed: Written | None = None
        self.written: list[Written] = []
        self.said: list[str] = []
        """What its serial port said, in `SERIAL` messages."""
        self.answered: set[str] = set()
        """What of that looks like the answer to the command that was out."""
        self.kept = 0
        """How many of these came before a frame that was acknowledged."""
        self.spoke_first = False
        """Whether the port spoke before any command could be under way."""
        self.faults: list[tuple[str, str]] = []

    @property
    def imei(self) -> str:
        """Whose connection it is."""
        return self._imei

    @property
    def connection(self) -> str:
        """Its name."""
        return self._connection

    def hear(self, data: Bytes) -> None:
        """Take the next bytes."""
        if not data.up and not self._down.opening and data.data[:1] != self._handshake_reply:
            self._fault("wire", f"the device was not accepted before {data.data!r}")
        items = (self._up if data.up else self._down).feed(data.data)
        if self._hello_at is None and len(self._up.opening) == wire_format.HELLO:
            self._hello_at = data.at
        for item in items:
            if data.up:
                self._sent_by_device(item)
            elif isinstance(item, int):
                self._acked(item)
            else:
                self._command(data.at, item)

    @property
    def _handshake_reply(self) -> bytes:
        """The first byte for this device: yes, or no where it has not said who it is."""
        return b"\x01" if self._up.opening == wire_format.hello(self._imei) else b"\0"

    def _sent_by_device(self, item: bytes | int | None) -> None:
        if not isinstance(item, bytes):
            return
        if item[0] in wire_format.AVL_CODECS.values():
            self._unacked.append((item[1], len(self.said)))
            return
        self._listen(item)
        if self._owed and self._answers(item, self._owed):
            self._owed = None
            self.answered.update(text.decode(errors="replace") for text in wire_format.read_serial(item))

    def _listen(self, body: bytes) -> None:
        texts = [text.decode() for text in wire_format.read_serial(body) if text.startswith(SERIAL)]
        self.said += texts
        self.spoke_first |= bool(texts) and not self._acks and not self.written

    def _answers(self, body: bytes, owed: Written) -> bool:
        found = wire_format.read_message(body)
        if found is None or found.codec != owed.codec or body[1] != 1:
            return False
        if found.codec == "12":
            return found.kind == wire_format.ANSWER and bool(found.text)
        return found.kind == wire_format.NACK or (
            found.kind == wire_format.ANSWER and found.imei == self._imei
        )

    def _acked(self, count: int) -> None:
        self._acks += 1
        expected, said = self._unacked.popleft() if self._unacked else (0, 0)
        self.kept = max(self.kept, said)
        if expected != count:
            self._fault("acks", f"an ack of {count} records belongs to no frame that waits for it")

    def _command(self, at: float, body: bytes | None) -> None:
        found = wire_format.read_message(body or b"")
        if found is None or found.kind != wire_format.COMMAND:
            self._fault("wire", f"the gateway wrote what is no command: {body!r}")
            return
        command = Written(at, self._connection, found.codec, found.text.decode())
        if self._owed:
            self._fault("I7", f"{command.text!r} was written while {self._owed.text!r} was unanswered")
        if self._unacked or self._up.partial:
            self._fault("quiet", f"{command.text!r} was written between a frame and its ack")
        if not self._acks and self._hello_at is not None and at - self._hello_at < self._grace_ms:
            self._fault("ready", f"{command.text!r} was written before the first ack")
        self._owed = command
        self.written.append(command)

    def _fault(self, rule: str, text: str) -> None:
        self.faults.append((rule, f"on {self._connection}: {text}"))
