"""What a device has sent, as the frames that the telemetry store takes, and what the store refuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from fsm.reasons import STORE_UNAVAILABLE
from fsm.telemetry import FRAME, MESSAGE, RECORD, SERIAL, UNDECODABLE, PendingFrame
from transport.connection.context import ConnectionContext
from transport.teltonika.command import Message
from transport.teltonika.frame import AVL_CODEC_NAMES
from transport.teltonika.io_names import IoNames
from transport.teltonika.message_json import CODEC_NAMES, message_bodies
from transport.teltonika.record_json import records_json
from transport.teltonika.stream import RawFrame, RecordsFrame

log = structlog.get_logger("telgw.sessions")

Done = Callable[[], None]

_NAMES = {codec: name.encode() for codec, name in (AVL_CODEC_NAMES | CODEC_NAMES).items()}


class Sender(Protocol):
    """The connection that a frame came on."""

    imei: str
    session_id: str


def _pending(
    sender: Sender, codec: bytes, now_ms: int, bodies: list[bytes], done: Done, kind: str
) -> PendingFrame:
    imei, session_id = sender.imei.encode("ascii"), sender.session_id.encode("ascii")
    return PendingFrame(imei, codec, now_ms, bodies, done, kind, session_id=session_id)


def pending_records(
    frame: RecordsFrame, sender: Sender, now_ms: int, done: Done, names: IoNames | None = None
) -> PendingFrame:
    """Records, each as JSON; with `names`, IO values have their names, too."""
    if names is None:
        bodies = records_json(frame.records)
    else:
        bodies = [names.record_json(record, sender.imei) for record in frame.records]
    return _pending(sender, _NAMES[frame.codec], now_ms, bodies, done, RECORD)


def pending_messages(messages: Sequence[Message], sender: Sender, now_ms: int, done: Done) -> PendingFrame:
    """Messages of one frame; the device expects no acknowledgement."""
    kind = SERIAL if messages[0].serial else MESSAGE
    pending = _pending(sender, _NAMES[messages[0].codec], now_ms, message_bodies(messages), done, kind)
    pending.owed = False
    return pending


def pending_raw(frame: RawFrame, sender: Sender, now_ms: int, done: Done) -> PendingFrame:
    """A frame as it came."""
    codec = _NAMES.get(frame.body[0]) or b"%02X" % frame.body[0]
    pending = _pending(sender, codec, now_ms, [frame.body], done, UNDECODABLE if frame.reason else FRAME)
    pending.reason, pending.owed = frame.reason.encode(), frame.owed
    return pending


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
