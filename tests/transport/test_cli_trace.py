"""The bytes of a device in words."""

from __future__ import annotations

import pytest

from tests.serial_port import SENSOR
from tests.transport.command_line import Telgw
from tests.transport.command_rig import IMEI
from tests.transport.connection_rig import FRAME
from transport.cli.traffic import Traffic
from transport.connection.tap import mask
from transport.teltonika.command import encode_answer, encode_command
from transport.teltonika.frame import CODEC_12, CODEC_14
from transport.teltonika.handshake import ACCEPT, REJECT, encode_handshake

RECORDS = "codec 8, 1 record; the last: 2026-01-01 00:00:00Z, 54.687200 25.279700, 0 km/h, 9 satellites"


def explained(*chunks: bytes, direction: str = "in") -> list[str]:
    traffic = Traffic()
    return [sentence for chunk in chunks for sentence in traffic.explain(direction, chunk)]


def test_what_a_device_sends_is_explained() -> None:
    assert explained(encode_handshake(IMEI), FRAME) == [f"handshake, IMEI {IMEI}", RECORDS]
    assert explained(encode_handshake(IMEI) + FRAME + FRAME) == [f"handshake, IMEI {IMEI}", RECORDS, RECORDS]
    assert explained(b"\xff", b"\xff\xff") == ["1 network ping", "2 network pings"]
    assert explained(encode_answer(CODEC_12, IMEI, b"OK")) == ['codec 12 message of type 06: "OK"']
    assert explained(SENSOR)[0].startswith("codec 12 message of type 06")


def test_a_frame_may_come_in_parts_and_the_first_may_be_missing() -> None:
    assert explained(FRAME[:20], FRAME[20:]) == ["part of a frame", RECORDS]
    assert explained(FRAME[20:], FRAME)[-1] == RECORDS
    damaged = FRAME[:-1] + bytes([FRAME[-1] ^ 1])
    [wrong, right] = explained(damaged, FRAME)
    assert "wrong checksum" in wrong
    assert right == RECORDS


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (ACCEPT, "handshake accepted"),
        (REJECT, "handshake rejected"),
        (b"\0\0\0\2", "acknowledgement of 2 records"),
        (mask(encode_command(CODEC_12, IMEI, b"getinfo")), "codec 12 command, text of 7 bytes not shown"),
        (mask(encode_command(CODEC_14, IMEI, b"getinfo")), "codec 14 command, text of 7 bytes not shown"),
        (b"xyz", "3 bytes"),
    ],
)
def test_what_is_written_to_a_device_is_explained(data: bytes, said: str) -> None:
    assert explained(data, direction="out") == [said]


@pytest.mark.parametrize(
    "data", [b"\x00", b"\x00\x0f123", b"\x00" * 40, b"GET / HTTP/1.1\r\n\r\n", bytes(range(256))]
)
def test_any_bytes_are_explained(data: bytes) -> None:
    for direction in ("in", "out"):
        assert all(isinstance(sentence, str) for sentence in explained(data, data, direction=direction))


def test_a_mistyped_imei_is_wrong_use(telgw: Telgw) -> None:
    assert telgw("trace", "123").exit_code == 2
