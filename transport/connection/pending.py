"""What a device has sent, as the frames that the telemetry store takes, and what the store refuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from fsm.reasons import STORE_UNAVAILABLE
from fsm.telemetry import FRAME, MESSAGE, RECORD, SERIAL, UNDECODABLE, PendingFrame
from transport.connection.context import ConnectionContext
from transport.teltonika.command import Message
from transport.teltonika.frame import CODEC_8, CODEC_8E, CODEC_16
from transport.teltonika.message_json import CODEC_NAMES, message_bodies
from transport.teltonika.record_json import record_json
from transport.teltonika.stream import RawFrame, RecordsFrame

log = structlog.get_logger("telgw.sessions")

Done = Callable[[], None]

_NAMES = {
    **{CODEC_8: b"8", CODEC_8E: b"8E", CODEC_16: b"16"},
    **{codec: name.encode() for codec, name in CODEC_NAMES.items()},
}


def pending_records(frame: RecordsFrame, imei: str, now_ms: int, done: Done) -> PendingFrame:
    """Records, each as JSON."""
    bodies = [record_json(record) for record in frame.records]
    return PendingFrame(imei.encode("ascii"), _NAMES[frame.codec], now_ms, bodies, done, RECORD)


def pending_messages(messages: Sequence[Message], imei: str, now_ms: int, done: Done) -> PendingFrame:
    """Messages of one frame; the device expects no acknowledgement."""
    kind = SERIAL if messages[0].serial else MESSAGE
    bodies, codec = message_bodies(messages), _NAMES[messages[0].codec]
    return PendingFrame(imei.encode("ascii"), codec, now_ms, bodies, done, kind, owed=False)


def pending_raw(frame: RawFrame, imei: str, now_ms: int, done: Done) -> PendingFrame:
    """A frame as it came."""
    codec = _NAMES.get(frame.body[0]) or b"%02X" % frame.body[0]
    kind, reason = UNDECODABLE if frame.reason else FRAME, frame.reason.encode()
    return PendingFrame(imei.encode("ascii"), codec, now_ms, [frame.body], done, kind, reason, frame.owed)


def refuse(context: ConnectionContext, frame: PendingFrame) -> None:
    """Redis refuses this frame for good.

    If a device waits for its acknowledgement its connection is closed: the device keeps the frame. What no
    device sends again is lost.
    """
    if not frame.owed:
        context.peer_log.messages_refused(frame, context.now)
        frame.done()
        return
    log.error("frame_refused", imei=frame.imei.decode("ascii"))
    connection = context.sessions.awaiting(frame)
    if connection is not None:
        connection.close(STORE_UNAVAILABLE)
