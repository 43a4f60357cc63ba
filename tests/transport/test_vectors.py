"""Every public and constructed example of the protocol, read as ``tests/data/vectors.json`` says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fsm.errors import DeviceFault
from transport.teltonika import avl, command, frame, handshake
from transport.teltonika.errors import BadHandshake, Undecodable
from transport.teltonika.frame import BadFrame, FrameReader
from transport.teltonika.record_json import record_json

Vector = dict[str, Any]
Items = list[bytes | BadFrame | str]

VECTORS: list[Vector] = json.loads((Path(__file__).parent.parent / "data" / "vectors.json").read_text())
MESSAGES = ("codec12", "codec13", "codec14", "codec15")


def chosen(test: Callable[[Vector], bool]) -> list[Any]:
    found = [pytest.param(vector, id=vector["id"]) for vector in VECTORS if test(vector)]
    assert found
    return found


def wire(vector: Vector) -> bytes:
    return bytes.fromhex(vector["hex"])


def one_body(data: bytes) -> bytes:
    reader = FrameReader()
    (body,) = reader.feed(data)
    assert isinstance(body, bytes)
    assert not reader.partial
    assert reader.fault is None
    return body


def test_every_kind_of_vector_has_a_test() -> None:
    kinds = {vector["kind"] for vector in VECTORS}
    assert kinds == {
        "avl",
        *MESSAGES,
        "udp",
        "stream",
        "noise",
        "ack",
        "ping",
        "handshake",
        "handshake-reply",
    }
    assert len(VECTORS) == 120


@pytest.mark.parametrize("vector", chosen(lambda v: v["kind"] == "avl" and v["valid"]))
def test_an_avl_frame_decodes_to_what_is_expected(vector: Vector) -> None:
    expect = vector["expect"]
    body = one_body(wire(vector))
    records = avl.decode_avl(body)
    assert (body[0], body[1], len(body)) == (expect["codec_id"], expect["n1"], expect["data_length"])
    assert len(records) == expect["records"]
    assert [record.timestamp for record in records] == expect["timestamps_ms"]
    assert avl.encode_ack(len(records)).hex() == expect["ack_hex"]
    assert_record(records[0], expect["first_record"])
    assert avl.encode_avl(body[0], records) == wire(vector)


def assert_record(record: avl.Record, first: Vector) -> None:
    assert (record.timestamp, record.priority) == (first["timestamp_ms"], first["priority"])
    assert (record.longitude_raw, record.latitude_raw) == (first["lon_raw"], first["lat_raw"])
    assert (record.longitude, record.latitude) == (first["lon"], first["lat"])
    assert (record.altitude, record.angle) == (first["altitude"], first["angle"])
    assert (record.satellites, record.speed) == (first["satellites"], first["speed"])
    assert record.event_id == first["event_id"]
    assert record.generation_type == first.get("generation_type")
    io = record.io
    as_text = {str(key): value.hex() if isinstance(value, bytes) else value for key, value in io.items()}
    assert as_text == first["io"]
    widths = {str(key): f"x{w}" if isinstance(io[key], bytes) else w for key, w in record.io_width.items()}
    assert widths == first["io_width"]
    assert len(record.layout.ids) + len(record.variable) == first["io_total"]
    assert record.layout.size + sum(4 + len(value) for _, value in record.variable) == first["record_bytes"]


@pytest.mark.parametrize("vector", chosen(lambda v: v["kind"] == "avl" and v["valid"]))
def test_the_json_of_a_record_has_signed_values_and_hex_text(vector: Vector) -> None:
    first = vector["expect"]["first_record"]
    data = json.loads(record_json(avl.decode_avl(one_body(wire(vector)))[0]))
    widths = {number: width for number, width in first["io_width"].items() if isinstance(width, int)}
    values = {number: first["io"][number].to_bytes(width, "big") for number, width in widths.items()}
    signed = {number: int.from_bytes(value, "big", signed=True) for number, value in values.items()}
    read = {number: int(value) for number, value in data.get("signed", {}).items()}
    assert read == {number: value for number, value in signed.items() if value < 0}
    assert set(data.get("hex", [])) == first["io"].keys() - widths.keys()


@pytest.mark.parametrize("vector", chosen(lambda v: v["kind"] in MESSAGES and v["valid"]))
def test_a_message_frame_decodes_to_what_is_expected(vector: Vector) -> None:
    expect = vector["expect"]
    (wanted,) = expect["messages"]
    body = one_body(wire(vector))
    message = command.decode_message(body)
    assert (message.codec, message.quantity, len(body)) == (
        expect["codec_id"],
        expect["n1"],
        expect["data_length"],
    )
    assert (message.type, message.payload.hex()) == (wanted["type"], wanted["payload_hex"])
    assert (message.imei, message.timestamp) == (wanted.get("imei"), wanted.get("timestamp_s"))


@pytest.mark.parametrize("vector", chosen(lambda v: v["kind"] in ("codec12", "codec14") and v["valid"]))
def test_an_encoded_message_is_the_frame_it_was_decoded_from(vector: Vector) -> None:
    message = command.decode_message(one_body(wire(vector)))
    imei = message.imei or ""
    if message.type == command.TYPE_NACK:
        assert command.encode_nack(imei) == wire(vector)
    elif message.type in (command.TYPE_COMMAND, command.TYPE_ANSWER):
        encode = command.encode_command if message.type == command.TYPE_COMMAND else command.encode_answer
        assert encode(message.codec, imei, message.payload) == wire(vector)
    else:
        assert message.type == 0x0D  # a camera chunk, which nobody here sends


def framed(vector: Vector) -> bool:
    return vector["kind"] == "avl" or vector["kind"] in MESSAGES


def whole(vector: Vector) -> bool:
    return bool(vector["expect"].get("length_ok", False))


@pytest.mark.parametrize(
    "vector",
    chosen(lambda v: framed(v) and not v["valid"] and whole(v) and not v["expect"]["crc_ok"]),
)
def test_a_frame_of_wrong_crc_is_consumed_and_named(vector: Vector) -> None:
    expect = vector["expect"]
    (bad,) = FrameReader().feed(wire(vector))
    assert isinstance(bad, BadFrame)
    assert (bad.reason, bad.codec, bad.length) == ("crc", expect["codec_id"], expect["data_length"])
    assert (bad.declared, bad.computed) == (int(expect["crc_declared"], 16), int(expect["crc_computed"], 16))


@pytest.mark.parametrize(
    "vector",
    chosen(lambda v: framed(v) and not v["valid"] and whole(v) and v["expect"]["crc_ok"]),
)
def test_a_sound_frame_of_an_unknown_shape_is_undecodable(vector: Vector) -> None:
    body = one_body(wire(vector))
    with pytest.raises(Undecodable) as caught:
        avl.decode_avl(body)
    unsupported = vector["why"].startswith("unsupported codec")
    assert caught.value.reason in (("codec",) if unsupported else ("truncated", "io_total", "trailing"))


@pytest.mark.parametrize(
    "vector",
    chosen(lambda v: framed(v) and not v["valid"] and "present_bytes" in v["expect"]),
)
def test_a_frame_cut_short_is_waited_for(vector: Vector) -> None:
    reader = FrameReader()
    assert reader.feed(wire(vector)) == []
    assert reader.partial
    assert reader.fault is None


@pytest.mark.parametrize(
    "vector",
    chosen(lambda v: framed(v) and not v["valid"] and not whole(v) and "present_bytes" not in v["expect"]),
)
def test_a_frame_longer_than_declared_loses_the_framing(vector: Vector) -> None:
    reader = FrameReader()
    (bad,) = reader.feed(wire(vector))
    assert isinstance(bad, BadFrame)
    assert bad.declared != bad.computed
    # What is left over is no preamble. If that is not clear yet, the next frame makes it so.
    reader.feed(command.encode_answer(12, "", b"next"))
    assert reader.fault is not None
    assert reader.fault.reason == "preamble"


@pytest.mark.parametrize("vector", chosen(lambda v: v["kind"] == "udp"))
def test_a_udp_datagram_is_no_tcp_frame(vector: Vector) -> None:
    # UDP is out of scope; its datagrams have no preamble and no CRC.
    reader = FrameReader()
    assert reader.feed(wire(vector)) == []
    assert reader.fault is not None
    assert reader.fault.reason == "preamble"


@pytest.mark.parametrize("vector", chosen(lambda v: v["kind"] == "handshake" and v["valid"]))
def test_a_handshake_gives_its_imei(vector: Vector) -> None:
    reader = handshake.HandshakeReader()
    assert reader.feed(wire(vector)) == vector["expect"]["imei"]
    assert reader.pings == vector["expect"].get("ping_bytes", 0)
    assert reader.rest == b""
    assert handshake.encode_handshake(vector["expect"]["imei"]) == wire(vector)[reader.pings :]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("hs-neg-digit", "imei_digits"),
        ("hs-neg-len14", "imei_length"),
        ("noise-http", "garbage"),
        ("noise-tls", "tls"),
        ("noise-scanner", "garbage"),
    ],
)
def test_what_is_no_handshake_is_refused_by_name(name: str, reason: str) -> None:
    vector = next(vector for vector in VECTORS if vector["id"] == name)
    assert not vector["valid"]
    with pytest.raises(BadHandshake) as caught:
        handshake.HandshakeReader().feed(wire(vector))
    assert caught.value.reason == reason


@pytest.mark.parametrize("vector", chosen(lambda v: v["kind"] == "noise"))
def test_noise_after_the_handshake_loses_the_framing(vector: Vector) -> None:
    reader = FrameReader()
    assert reader.feed(wire(vector)) == []
    assert reader.fault is not None
    assert not reader.partial


def test_the_replies_of_the_server_are_the_documented_bytes() -> None:
    known = {vector["id"]: vector for vector in VECTORS}
    assert wire(known["reply-accept"]) == handshake.ACCEPT
    assert wire(known["reply-reject"]) == handshake.REJECT
    for name in ("ack-0", "ack-1", "ack-2"):
        assert wire(known[name]) == avl.encode_ack(known[name]["expect"]["records"])
    assert (
        int.from_bytes(wire(known["ack-glued-bug"])[:4], "big")
        != known["ack-glued-bug"]["expect"]["expected"]
    )


def test_a_ping_is_counted_and_gives_no_frame() -> None:
    vector = next(vector for vector in VECTORS if vector["kind"] == "ping")
    reader = FrameReader()
    assert reader.feed(wire(vector)) == []
    assert (reader.pings, reader.partial, reader.fault) == (1, False, None)


def read_stream(chunks: list[bytes]) -> tuple[Items, int]:
    """Read a connection from its first byte: a handshake if one is there, then frames."""
    items: Items = []
    opening = handshake.HandshakeReader() if b"".join(chunks).startswith(b"\x00\x0f") else None
    reader = FrameReader()
    for chunk in chunks:
        data = chunk
        if opening is not None:
            imei = opening.feed(data)
            if imei is None:
                continue
            items.append(imei)
            data, opening = opening.rest, None
        items += reader.feed(data)
    assert reader.fault is None
    assert not reader.partial
    return items, reader.pings


def expected_items(vector: Vector) -> tuple[Items, int]:
    known = {known["id"]: known for known in VECTORS}
    items: Items = []
    pings = 0
    for name in vector["expect"]["sequence"]:
        if name == "ping":
            pings += 1
        elif name.startswith("hs-"):
            items.append(known[name]["expect"]["imei"])
        elif "reject" in name:
            items.append(BadFrame("crc", frame.CODEC_8, 54, 0xC7C1, 0xC7CF))
        else:
            items.append(wire(known[name])[8:-4])
    return items, pings


@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 17, 18, 4096])
@pytest.mark.parametrize("vector", chosen(lambda v: v["kind"] == "stream"))
def test_a_stream_gives_the_same_items_however_it_is_cut(vector: Vector, size: int) -> None:
    data = wire(vector)
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    assert read_stream(chunks) == expected_items(vector)


def test_every_sound_frame_survives_being_glued_to_its_neighbours() -> None:
    frames = [wire(v) for v in VECTORS if framed(v) and whole(v)]
    reader = FrameReader()
    glued = reader.feed(b"".join(frames))
    alone = [item for data in frames for item in FrameReader().feed(data)]
    assert glued == alone
    assert len(glued) == len(frames)
    assert reader.fault is None


def test_every_refusal_is_a_fault_of_the_device() -> None:
    assert issubclass(BadHandshake, DeviceFault)
    assert issubclass(Undecodable, DeviceFault)
