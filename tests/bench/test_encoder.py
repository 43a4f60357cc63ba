"""The frames of commands to a device, and its answers."""

from __future__ import annotations

from typing import Any

import pytest

from transport.teltonika.command import decode_message, encode_answer, encode_command
from transport.teltonika.frame import CODEC_12, CODEC_14

IMEI = "356307042441013"
TEXT = b"setparam 2004:10.0.0.1;2005:5027;2006:0"

codecs = pytest.mark.parametrize("codec", [CODEC_12, CODEC_14], ids=["12", "14"])


@codecs
@pytest.mark.benchmark(group="encode a command")
def test_encode_a_command(benchmark: Any, codec: int) -> None:
    frame = benchmark(encode_command, codec, IMEI, TEXT)
    assert decode_message(frame[8:-4]).payload == TEXT


@codecs
@pytest.mark.benchmark(group="decode an answer")
def test_decode_an_answer(benchmark: Any, codec: int) -> None:
    body = encode_answer(codec, IMEI, TEXT)[8:-4]
    assert benchmark(decode_message, body).payload == TEXT
