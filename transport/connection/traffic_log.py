"""What devices send and what is written to them, a line of the log for each frame, at the level debug.

Neither the text of a command nor that of an answer is logged: both may hold a password. `telgw trace` shows
the bytes of one device.
"""

from __future__ import annotations

from typing import Any, Protocol

import structlog

from transport.teltonika.command import Message
from transport.teltonika.frame import AVL_CODEC_NAMES, BadFrame
from transport.teltonika.handshake import ACCEPT, REJECT
from transport.teltonika.message_json import CODEC_NAMES
from transport.teltonika.stream import Identity, Item, MessagesFrame, RawFrame, RecordsFrame

log = structlog.get_logger("telgw.traffic")

_ACK = 4
"""Bytes of an acknowledgement."""


class Peer(Protocol):
    """A connection, as its lines name it."""

    imei: str

    @property
    def peer(self) -> str:
        """Its address."""


class TrafficLog:
    """Logs what comes and goes."""

    def received(self, peer: Peer, item: Item) -> None:
        """The device has sent `item`."""
        what, facts = _read(item)
        if what:
            log.debug(what, imei=peer.imei, **facts)

    def sent(self, peer: Peer, data: bytes) -> None:
        """`data` is written to the device. A command has a line of its own, with its id."""
        if data in (ACCEPT, REJECT):
            log.debug("handshake_answered", imei=peer.imei, peer=peer.peer, accepted=data == ACCEPT)
        elif len(data) == _ACK:
            log.debug("frame_acknowledged", imei=peer.imei, records=int.from_bytes(data))


def _read(item: Item) -> tuple[str, dict[str, Any]]:
    """The event and the fields of what was read; no event for what is logged elsewhere."""
    if isinstance(item, RecordsFrame):
        return "frame_received", {"codec": AVL_CODEC_NAMES[item.codec], "records": len(item.records)}
    if isinstance(item, MessagesFrame):
        return "messages_received", {"messages": [_described(message) for message in item.messages]}
    if isinstance(item, RawFrame):
        return "frame_received", {"bytes": len(item.body)}
    if isinstance(item, Identity):
        return "handshake_received", {"claims": item.imei}
    if isinstance(item, BadFrame):
        return "bad_frame", {"reason": item.reason, "bytes": item.length}
    return "", {}


def _described(message: Message) -> str:
    return f"codec {CODEC_NAMES[message.codec]}, type {message.type:02x}, {len(message.payload)} bytes"
