"""How a simulated tracker behaves, and what it has done so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from transport.teltonika.frame import CODEC_8, CODEC_12

ANSWERS = ("normal", "late", "never", "twice", "nack")


@dataclass(slots=True)
class Behaviour:
    """How a tracker behaves; durations in seconds. It may be changed while the tracker runs.

    Attributes:
        codec: AVL codec of its records: 0x08, 0x8E or 0x10.
        interval: time between two frames.
        records_per_frame: records measured together and sent in one frame, or in more frames where they are
            too long for a packet of 1,280 bytes, as devices do.
        records_limit: the tracker ends when so many records are acknowledged; None for never.
        answers: ``normal``; ``late`` (`late_by` after it was due); ``never``; ``twice``; ``nack`` (a codec 14
            command is refused as meant for another device, a codec 12 command is answered).
        answer_delay: time from reading a command to its answer.
        split: frames are written in pieces of so many bytes, 0 in one piece.
        split_pause: time between two pieces.
        drop_after_frames: the connection is cut once, right after so many frames, before the last of
            them is acknowledged.
        drop_after: the connection is cut so long after it was accepted.
        reconnect: whether the tracker comes back after a lost connection.
        backoff: the first and the longest wait before it comes back; doubled each time in between.
        ack_timeout: how long it waits for an acknowledgement before it gives the connection up.
        ping_interval: time between two network pings (one byte FF); None for no pings.
        serial_interval: time between two frames with data of the serial port; None for a silent port.
        serial_codec: codec of these frames: 0x0C or 0x0D.
        serial_merge: messages in each of them.
    """

    codec: int = CODEC_8
    interval: float = 5.0
    records_per_frame: int = 1
    records_limit: int | None = None
    answers: str = "normal"
    answer_delay: float = 0.2
    late_by: float = 5.0
    split: int = 0
    split_pause: float = 0.02
    drop_after_frames: int | None = None
    drop_after: float | None = None
    reconnect: bool = True
    backoff: tuple[float, float] = (0.5, 30.0)
    ack_timeout: float = 30.0
    ping_interval: float | None = None
    serial_interval: float | None = None
    serial_codec: int = CODEC_12
    serial_merge: int = 1


@dataclass(slots=True, frozen=True)
class Received:
    """A command as the device read it: its text, and the whole frame as it came over the wire."""

    codec: int
    imei: str | None
    text: bytes
    frame: bytes


@dataclass(slots=True)
class Counters:
    """What a tracker has done. What is sent again counts again in ``records_sent`` and ``frames_sent``."""

    connections: int = 0
    rejected: int = 0
    lost: int = 0
    records_made: int = 0
    records_sent: int = 0
    records_acked: int = 0
    frames_sent: int = 0
    wrong_acks: int = 0
    answers_sent: int = 0
    nacks_sent: int = 0
    pings_sent: int = 0
    serial_sent: int = 0
    commands: list[Received] = field(default_factory=list)
