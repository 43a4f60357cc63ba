"""What a device sends, from the first byte of its connection to the last: bytes and time in, values out.

No socket, no clock and no log: time is an argument, in monotonic seconds. The stream owns what was read and
is not handled yet, and it knows what it waits for. Its owner takes three things from it: the items of each
`feed`, in their order; `deadline`, with its meaning in `awaited`; and `expected`, the size of a frame that is
still arriving.

    handshake ---Identity--> identified ---start--> started ---open--> open
                             (`admit`)              (01 is written)    (a frame is acknowledged)

* Frames are read from `start` on, because a device takes the first byte that it reads for the answer to its
  handshake. What comes before `start`, and what the owner does not want to handle yet, is kept in `early` and
  handled first later.
* There is one deadline at a time. A handshake has its whole time from the accept until `admit`. Then a frame
  that has begun must end in time; between frames there is a deadline only until `open`: the ready grace of a
  device that has nothing to report.
* A fault is the last item: nobody knows any more where the next frame begins. One wrong checksum is no fault,
  because the stream is still in step; `BAD_FRAMES_LIMIT` in a row are one.

A frame is decoded when it is complete. One that cannot be decoded is an item too, with its bytes. Between
frames there is no reader, and a frame that comes whole needs none: an idle connection takes little memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from msgspec import Struct

from .avl import Record, decode_avl
from .command import Message, decode_messages
from .errors import BadHandshake, FramingLost, Undecodable
from .frame import AVL_CODECS, AVL_LIMIT, MESSAGE_CODECS, BadFrame, FrameReader, whole_frame
from .handshake import HandshakeReader

BAD_FRAMES_LIMIT = 8
"""Wrong checksums in a row after which the position in the stream counts as lost."""
FRAME_DEADLINE = 30.0
"""Seconds from the first byte of a frame to its last."""


class Awaited(StrEnum):
    """What has to happen before the deadline."""

    HANDSHAKE = "handshake"
    FRAME_END = "frame_end"
    READY_GRACE = "ready_grace"
    """When it is over, a device that has sent no records counts as ready."""
    CLOSE = "close"
    """The stream ended in a fault. Nothing more is read, and there is no deadline."""


@dataclass(slots=True, frozen=True)
class StreamSettings:
    """What all streams of a process have in common; times in seconds.

    Attributes:
        max_frame: largest body of a frame of records, in bytes.
        decode: whether records are decoded; if not, their frames come as they are.
    """

    handshake_timeout: float = 10.0
    ready_grace: float = 10.0
    max_frame: int = AVL_LIMIT
    decode: bool = True


@dataclass(slots=True)
class Identity:
    """The handshake is complete. The stream waits for `admit` and `start`."""

    imei: str


class RecordsFrame(Struct):
    """A frame of records, which the device keeps until their number is acknowledged."""

    codec: int
    records: list[Record]


class RawFrame(Struct):
    """A frame that is not decoded: ``reason`` says why it cannot be, and is empty when it is not to be.

    ``owed`` says whether the device expects ``count`` as its acknowledgement.
    """

    body: bytes
    reason: str = ""
    owed: bool = True

    @property
    def count(self) -> int:
        """The number of records that the frame declares."""
        return self.body[1]


@dataclass(slots=True)
class MessagesFrame:
    """A frame of messages (codecs 12 to 15), which is never acknowledged."""

    codec: int
    messages: list[Message]


Frame = RecordsFrame | RawFrame | MessagesFrame | BadFrame
Item = Identity | Frame | BadHandshake | FramingLost
"""`BadHandshake` and `FramingLost` are values here, not raised; nothing follows one of them."""


class DeviceStream:
    """The bytes of one device, and the time that it has for them.

    Args:
        settings: are shared by all streams.
        now: when the connection was accepted.

    Attributes:
        awaited: the meaning of `deadline`.
        deadline: the monotonic second; None for no deadline.
        early: bytes that were read and are not handled yet.
        is_open: whether the device counts as ready.
        started: whether frames are read; not any more after a fault.
    """

    __slots__ = (
        "_bad_in_a_row",
        "_handshake",
        "_reader",
        "_settings",
        "awaited",
        "deadline",
        "early",
        "is_open",
        "started",
    )

    def __init__(self, settings: StreamSettings, now: float) -> None:
        self._settings = settings
        self._handshake: HandshakeReader | None = HandshakeReader()
        self._reader: FrameReader | None = None  # while a frame is arriving
        self._bad_in_a_row = 0
        self.is_open = False
        self.started = False
        self.early = b""
        self.awaited = Awaited.HANDSHAKE
        self.deadline: float | None = now + settings.handshake_timeout

    @classmethod
    def between_frames(cls, settings: StreamSettings, *, is_open: bool) -> DeviceStream:
        """The stream of a device of which no frame is arriving, without its deadline."""
        stream = cls(settings, 0.0)
        stream._handshake = stream.deadline = None
        stream.started, stream.is_open, stream.awaited = True, is_open, Awaited.READY_GRACE
        return stream

    @property
    def idle(self) -> bool:
        """Whether it is like `between_frames`: there is nothing to remember but its deadline."""
        return self.started and not (self._reader or self.early or self._bad_in_a_row)

    @property
    def partial(self) -> bool:
        """Whether a frame has begun to arrive and has not ended."""
        return self._reader is not None

    @property
    def expected(self) -> int:
        """Size in bytes of the frame that is arriving, as far as it is known; else 0."""
        return 0 if self._reader is None else self._reader.expected

    @property
    def held(self) -> bool:
        """Whether the device has named itself, and what it sends is kept until `start`."""
        named = self._handshake is None and self.awaited is not Awaited.CLOSE
        return named and not self.started

    # Bytes

    def feed(self, data: bytes, now: float) -> Sequence[Item]:
        """The items that `data` completes, in their order. Bytes that were kept are handled first."""
        if self.early:
            data, self.early = self.early + data, b""
        if not self.started:
            return self._feed_handshake(data)
        return self._feed_frames(data, now)

    def whole(self, data: bytes) -> Frame | None:
        """The frame that `data` is exactly, as most reads are; None if `data` has to be fed."""
        if not self.started or self._reader is not None or self.early:
            return None
        body = whole_frame(data, self._settings.max_frame)
        if type(body) is not bytes:
            return None
        self._bad_in_a_row = 0
        return self._decoded(body)

    def keep(self, data: bytes) -> None:
        """Keep `data` until the next `feed`."""
        self.early += data

    def take_early(self) -> bytes:
        """Take out the bytes that were kept, to feed them again."""
        early, self.early = self.early, b""
        return early

    def _feed_handshake(self, data: bytes) -> Sequence[Item]:
        if self.awaited is Awaited.CLOSE:
            return ()
        if self._handshake is None:
            self.early = data
            return ()
        try:
            imei = self._handshake.feed(data)
        except BadHandshake as error:
            self._lose()
            return (error.with_traceback(None),)  # the traceback would keep the whole read alive
        if imei is None:
            return ()
        self.early, self._handshake = self._handshake.rest, None
        return (Identity(imei),)

    def _feed_frames(self, data: bytes, now: float) -> Sequence[Item]:
        was_partial = self._reader is not None
        reader = self._reader or FrameReader(self._settings.max_frame)
        bodies = reader.feed(data)
        self._reader = reader if reader.partial else None
        if (was_partial or reader.partial) and (bodies or reader.partial != was_partial):
            self._time_frame(now)
        items: list[Item] = []
        for body in bodies:
            items.append(self._item(body))
            if self._bad_in_a_row >= BAD_FRAMES_LIMIT:
                self._lose()
                return (*items, _out_of_step())
        if reader.fault is None:
            return items
        self._lose()
        return (*items, reader.fault)

    def _item(self, body: bytes | BadFrame) -> Item:
        if isinstance(body, BadFrame):
            self._bad_in_a_row += 1
            return body
        self._bad_in_a_row = 0
        return self._decoded(body)

    def _lose(self) -> None:
        self.started = False
        self._reader = None
        self.awaited, self.deadline = Awaited.CLOSE, None

    def _decoded(self, body: bytes) -> Frame:
        codec = body[0]
        try:
            if codec in AVL_CODECS:
                return RecordsFrame(codec, decode_avl(body)) if self._settings.decode else RawFrame(body)
            if codec in MESSAGE_CODECS:
                return MessagesFrame(codec, decode_messages(body))
        except Undecodable as error:
            return RawFrame(body, error.reason, codec not in MESSAGE_CODECS)
        return RawFrame(body, "codec")

    # What the owner does

    def admit(self, now: float) -> None:
        """The device may stay: its ready grace runs."""
        self._await_grace(now)

    def start(self) -> None:
        """The answer to the handshake is written: the next `feed` reads frames."""
        self.started = True

    def open(self) -> None:
        """The device counts as ready: it has no grace any more."""
        self.is_open = True
        if self.awaited is Awaited.READY_GRACE:
            self.deadline = None

    def extend(self, now: float) -> None:
        """Give the frame that is arriving its whole time again: it was not read."""
        self.awaited, self.deadline = Awaited.FRAME_END, now + FRAME_DEADLINE

    def _time_frame(self, now: float) -> None:
        """A frame that has begun must end in time."""
        if self._reader is not None:
            self.extend(now)
        elif self.is_open:
            self.deadline = None
        else:
            self._await_grace(now)

    def _await_grace(self, now: float) -> None:
        self.awaited, self.deadline = Awaited.READY_GRACE, now + self._settings.ready_grace


def _out_of_step() -> FramingLost:
    return FramingLost("checksum", f"{BAD_FRAMES_LIMIT} wrong checksums came in a row.")
