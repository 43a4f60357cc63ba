"""How a simulated tracker behaves, and counters of what it has done."""

from __future__ import annotations

from dataclasses import dataclass, field

from transport.teltonika.frame import CODEC_8, CODEC_12

ANSWERS = ("normal", "late", "never", "twice", "nack")


@dataclass(slots=True)
class Behaviour:
    """How a tracker behaves. Durations are in seconds. The values may be changed while the tracker runs.

    Attributes:
        codec: AVL codec of its records: 0x08, 0x8E or 0x10.
        interval: time between two frames.
        records_per_frame: records that are measured together and sent in one frame; in more frames if they
            do not fit into a packet of 1,280 bytes, as real devices do.
        records_limit: the tracker ends after this number of acknowledged records; None for never.
        answers: ``normal``; ``late`` (delayed by `late_by`); ``never``; ``twice``; ``nack`` (a codec 14
            command is refused as one for another device; a codec 12 command is answered).
        answer_delay: time from the read of a command to its answer.
        split: bytes in each write of a frame; 0 writes a frame at once.
        split_pause: time between two such writes.
        drop_after_frames: the connection is cut once, after this number of frames and before the last one
            is acknowledged.
        drop_after: time from the accept until the connection is cut.
        wake_every: time from one connection to the next; in between the tracker is away, as one that sleeps.
            It stays connected for `awake_for`.
        awake_for: how long it stays connected then.
        reconnect: whether the tracker connects again after it lost the connection.
        backoff: the first and the longest delay before it connects again; it doubles each time.
        ack_timeout: how long it waits for an acknowledgement before it closes the connection.
        ping_interval: time between two network pings (one byte FF); None for no pings.
        serial_interval: time between two frames with serial-port data; None for no data.
        serial_codec: codec of these frames: 0x0C or 0x0D.
        serial_merge: messages in each of these frames.
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
    wake_every: float | None = None
    awake_for: float = 3.0
    reconnect: bool = True
    backoff: tuple[float, float] = (0.5, 30.0)
    ack_timeout: float = 30.0
    ping_interval: float | None = None
    serial_interval: float | None = None
    serial_codec: int = CODEC_12
    serial_merge: int = 1

    @property
    def cut_after(self) -> float | None:
        """Seconds until the connection is cut."""
        return self.drop_after if self.wake_every is None else self.awake_for

    @property
    def asleep_for(self) -> float | None:
        """Seconds from one connection to the next, of a tracker that sleeps."""
        return None if self.wake_every is None else max(0.0, self.wake_every - self.awake_for)


@dataclass(slots=True, frozen=True)
class Received:
    """A command that the device has read: its text, and the whole frame in bytes."""

    codec: int
    imei: str | None
    text: bytes
    frame: bytes


@dataclass(slots=True)
class Counters:
    """What a tracker has done. ``records_sent`` and ``frames_sent`` count repetitions, too."""

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
