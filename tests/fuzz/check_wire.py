"""The readers of the wire format, checked against `tests.fuzz.protocol`.

A check takes an input and returns what it met; what must not be is an assertion that fails, or whatever error
escapes. A check keeps nothing: an input means the same whatever came before it.
"""

from __future__ import annotations

import json
from decimal import Decimal
from random import Random
from typing import Any
from unittest.mock import patch
from zlib import crc32

from tests.fuzz import protocol
from tests.fuzz.protocol import ANSWER, Refused
from transport.commands.device_queue import ANSWER_LIMIT, answers, published
from transport.teltonika import avl, layout_cache
from transport.teltonika.avl import decode_avl, encode_ack, encode_avl
from transport.teltonika.command import (
    Message,
    decode_message,
    decode_messages,
    encode_answer,
    encode_command,
    encode_nack,
)
from transport.teltonika.errors import BadHandshake, Undecodable
from transport.teltonika.frame import BadFrame, FrameReader, encode_frame
from transport.teltonika.handshake import HANDSHAKE_SIZE, HandshakeReader, encode_handshake
from transport.teltonika.layout_cache import LayoutCache
from transport.teltonika.message_json import message_fields
from transport.teltonika.record_json import record_json

BYTEWISE = 2000
"""Bytes up to which an input is also fed byte by byte."""
TEXT = bytes(range(32, 127)) + b"\t\r\n"
HOLD = protocol.MESSAGE_LIMIT + 12

Met = set[str]


def pieces(data: bytes) -> list[bytes]:
    """`data` as a socket may deliver it: cut at places that depend on it alone."""
    random, cut, at = Random(crc32(data)), [], 0
    while at < len(data):
        size = random.choice((1, 1, 2, 3, 4, 5, 8, 9, 12, 13, 17, 60, 200, 1500))
        cut.append(data[at : at + size])
        at += size
    return cut


def frames(data: bytes) -> Met:
    """However a stream is split, it holds the frames that the protocol says, and little is kept of it."""
    expected = protocol.read_frames(data)
    ways = [[data], pieces(data)]
    if len(data) <= BYTEWISE:
        ways.append([bytes([byte]) for byte in data])
    for way in ways:
        _read_frames(way, expected)
    kinds = {item if isinstance(item, str) else "frame" for item in expected.items}
    kinds |= {f"lost: {expected.fault}"} if expected.fault else set()
    return kinds | ({"ping"} if expected.pings else set()) | ({"partial"} if expected.rest else set())


def _read_frames(way: list[bytes], expected: protocol.Frames) -> None:
    reader, found = FrameReader(), []
    for chunk in way:
        found += reader.feed(chunk)
        held = len(reader._tail or b"")
        assert held <= HOLD, "more is kept than a frame can be long"
        assert reader.partial == bool(held)
        assert not (held and reader.fault), "bytes are kept though nobody will read them"
    assert [item.reason if isinstance(item, BadFrame) else item for item in found] == expected.items
    for item, span in zip(found, expected.spans, strict=True):
        assert item == _described(span) if isinstance(item, BadFrame) else encode_frame(item) == span
    assert (reader.fault.reason if reader.fault else "") == expected.fault
    if reader.fault is None:
        # Of a stream that is lost, how many pings were seen before does not matter.
        assert (reader.pings, bytes(reader._tail or b"")) == (expected.pings, expected.rest)
    else:
        assert reader.feed(encode_frame(b"\x08\x00\x00")) == [], "frames come though the stream is lost"
        assert reader.fault.__traceback__ is None, "an error keeps the read that it comes from"


def _described(span: bytes) -> BadFrame:
    body, declared = span[8:-4], int.from_bytes(span[-4:], "big")
    return BadFrame("crc_padding" if declared > 0xFFFF else "crc", body[0], len(body), declared, _crc(body))


def _crc(body: bytes) -> int:
    return int.from_bytes(encode_frame(body)[-4:], "big")


def handshake(data: bytes) -> Met:
    """However it is split, a handshake names its device or is refused for one reason."""
    try:
        expected: Any = protocol.read_hello(data)
    except Refused as refused:
        expected = refused.reason
    for way in ([data], pieces(data), [bytes([byte]) for byte in data[:BYTEWISE]]):
        assert _handshake(way) == (expected if isinstance(expected, str) else expected[:2])
    if isinstance(expected, str):
        return {f"refused: {expected}"}
    imei, pings, rest = expected
    if imei:
        reader = HandshakeReader()
        assert reader.feed(data) == imei
        assert (reader.complete, reader.rest) == (True, rest)
        assert encode_handshake(imei) == data[pings : pings + HANDSHAKE_SIZE]
    return {"identified" if imei else "unfinished"} | ({"pings"} if pings else set())


def _handshake(way: list[bytes]) -> str | tuple[str | None, int]:
    reader = HandshakeReader()
    for chunk in way:
        try:
            imei = reader.feed(chunk)
        except BadHandshake as error:
            return error.reason
        if imei is not None:
            return imei, reader.pings
        assert len(reader._head) < HANDSHAKE_SIZE
        assert (reader.complete, reader.rest) == (False, b"")
    return None, reader.pings


def telemetry(body: bytes) -> Met:
    """A body is refused or read as the protocol says; the shapes of its like, read before, change nothing."""
    try:
        expected: Any = protocol.read_avl(body)
    except Refused as refused:
        expected = refused.reason
    for codec in protocol.AVL:
        avl._caches[codec] = LayoutCache(codec)
    cold = _decoded(body)
    with patch.object(layout_cache, "SIGHTINGS", 1):  # from here on every layout is drawn
        for sibling in (*_siblings(body), body):
            _decoded(sibling)
    warm = _decoded(body)
    assert cold == warm, "what was read before decides how a record is read"
    if isinstance(expected, str):
        assert cold == expected
        return {f"{protocol.AVL.get(body[0] if body else 0, 'other')} refused: {expected}"}
    assert not isinstance(cold, str), f"refused: {cold}"
    assert len(cold) == len(expected) == body[1]
    for record, wanted in zip(cold, expected, strict=True):
        _compare(record, wanted)
    assert encode_avl(body[0], cold) == encode_frame(body)
    assert encode_ack(len(cold)) == bytes((0, 0, 0, body[1]))
    name = protocol.AVL[body[0]]
    kinds = {f"{name} {'one record' if len(cold) == 1 else 'records'}"}
    kinds |= {f"{name} width {width}" for record in expected for _, width, _ in record.io}
    kinds |= {"beyond 2^53" for record in expected for _, _, value in record.io if value > protocol.SAFE}
    return kinds | {"variable" for record in expected if record.variable}


def _decoded(body: bytes) -> list[avl.Record] | str:
    try:
        return decode_avl(body)
    except Undecodable as error:
        return error.reason


def _siblings(body: bytes) -> list[bytes]:
    """Bodies that differ from `body` in a bit or two, or have the bytes that it may lack at its end."""
    random = Random(crc32(body))
    found = []
    for _ in range(3 if len(body) > 2 else 0):
        sibling = bytearray(body)
        for _ in range(random.choice((1, 1, 2))):
            sibling[random.randrange(2, len(body))] ^= 1 << random.randrange(8)
        found.append(bytes(sibling[:-1]) + body[1:2])
    return found + [body[:-1] + bytes(more) + body[1:2] for more in (1, random.randint(2, 9))]


def _compare(record: avl.Record, wanted: protocol.Record) -> None:
    numbers = wanted.numbers
    face = {name: getattr(record, name) for name in numbers}
    face |= {"longitude": record.longitude_raw, "latitude": record.latitude_raw}
    assert face == numbers
    assert record.generation_type == numbers.get("generation_type")
    assert record.io == {n: value for n, _, value in wanted.io} | dict(wanted.variable)
    assert record.io_width == {n: width for n, width, _ in wanted.io} | {
        n: len(v) for n, v in wanted.variable
    }
    text = record_json(record)
    assert text.isascii()
    assert b"\n" not in text
    assert read_json(text) == protocol.published(wanted)


def read_json(text: bytes) -> dict[str, Any]:
    """JSON as a strict reader takes it, coordinates in units of 1e-7 degree, exact."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), "a name stands twice in an object"
        return dict(pairs)

    data: dict[str, Any] = json.loads(text, parse_float=Decimal, object_pairs_hook=once)
    for name in ("longitude", "latitude"):
        assert isinstance(data[name], Decimal)
        data[name] = data[name].scaleb(7)
    return data


def message(body: bytes) -> Met:
    """A frame of messages is refused or read as the protocol says, and each can be published."""
    expected = _expected_messages(body)
    if isinstance(expected, str):
        assert _message_refusal(body) == expected
        return {f"refused: {expected}"}
    found = decode_messages(body)
    assert len(found) == len(expected) == body[1]
    if len(found) == 1:
        assert found == [decode_message(body)]
        _encode_again(body, expected[0])
    met = {"alone" if len(found) == 1 else "merged"}
    return met.union(*map(_message, found, expected))


def _message(found: Message, expected: protocol.Message) -> Met:
    assert (found.codec, found.type, found.payload) == (expected.codec, expected.type, expected.text)
    assert (found.imei, found.timestamp) == (expected.imei, expected.timestamp)
    for codec in ("12", "14"):
        fits = answers(found, codec, expected.imei or "")
        assert not fits or (found.codec == int(codec) and found.type in (ANSWER, 0x11))
        assert not fits or found.quantity == 1, "one of several is taken for an answer"
    told = _row(message_fields(found))
    assert told.get("at") == (None if expected.timestamp is None else str(expected.timestamp * 1000))
    assert (int(told["type"], 16), ("text" in told) + ("hex" in told)) == (expected.type, 1)
    assert (bytes.fromhex(told["hex"]) if "hex" in told else told["text"].encode()) == expected.text
    answer = published(found.payload, "12")
    kept = expected.text[:ANSWER_LIMIT]
    assert (answer.text is None) != (answer.hex is None)
    assert (answer.text is None) == bool(kept.translate(None, TEXT)), "what is no text is published as text"
    assert (
        answer.text.encode("ascii") if answer.text is not None else bytes.fromhex(answer.hex or "")
    ) == kept
    assert answer.truncated == (kept != expected.text)
    kinds = {
        f"codec {expected.codec}",
        f"type {expected.type}" if expected.type in (5, 6, 17) else "other type",
    }
    return kinds | {"text" if answer.text is not None else "hex", "filled" if kept else "empty"}


def _row(fields: list[str]) -> dict[str, str]:
    return dict(zip(fields[::2], fields[1::2], strict=True))


def _expected_messages(body: bytes) -> list[protocol.Message] | str:
    try:
        return protocol.read_messages(body)
    except Refused as refused:
        return refused.reason


def _message_refusal(body: bytes) -> str:
    try:
        decode_messages(body)
    except Undecodable as error:
        return error.reason
    raise AssertionError("messages are read that the protocol does not know")


def _encode_again(body: bytes, expected: protocol.Message) -> None:
    imei = expected.imei or ""
    if body[-1] != 1 or expected.codec not in (12, 14) or (expected.codec == 14 and not _digits(imei)):
        return
    if expected.type in (5, ANSWER):
        encode = encode_command if expected.type == 5 else encode_answer
        assert encode(expected.codec, imei, expected.text) == encode_frame(body)
    elif expected.codec == 14 and expected.type == 0x11 and not expected.text:
        assert encode_nack(imei) == encode_frame(body)


def _digits(imei: str) -> bool:
    return len(imei) == 15 and imei.isascii() and imei.isdigit()
