"""Messages of codecs 12 to 15: round trips, tolerance, refusals."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport.teltonika.command import (
    TYPE_ANSWER,
    TYPE_COMMAND,
    TYPE_NACK,
    Message,
    decode_message,
    decode_messages,
    encode_answer,
    encode_command,
    encode_nack,
)
from transport.teltonika.errors import Undecodable

IMEI = "352093081452251"
C12 = bytes.fromhex("0c010600000003414243" + "01")
C13 = bytes.fromhex("0d01060000000764e83281414243" + "01")
C14 = bytes.fromhex("0e01060000000b0352093081452251414243" + "01")
C15 = bytes.fromhex("0f010b0000000f654b65a40352093081452251414243" + "01")
ALL = [pytest.param(body, id=f"codec {body[0]}") for body in (C12, C13, C14, C15)]


def body_of(frame: bytes) -> bytes:
    return frame[8:-4]


def flipped(body: bytes, at: int, value: int) -> bytes:
    changed = bytearray(body)
    changed[at] = value
    return bytes(changed)


@pytest.mark.parametrize("codec", [12, 14])
@given(text=st.binary(max_size=600), imei=st.from_regex(r"[0-9]{15}", fullmatch=True))
def test_commands_and_answers_decode_to_what_was_encoded(codec: int, text: bytes, imei: str) -> None:
    named = imei if codec == 14 else None
    asked = decode_message(body_of(encode_command(codec, imei, text)))
    answered = decode_message(body_of(encode_answer(codec, imei, text)))
    assert asked == Message(codec, TYPE_COMMAND, text, named)
    assert answered == Message(codec, TYPE_ANSWER, text, named)


def test_a_nack_carries_an_imei_and_no_text() -> None:
    frame = encode_nack(IMEI)
    assert frame.hex() == "00000000000000100e011100000008035209308145225101000032ac"
    assert decode_message(body_of(frame)) == Message(14, TYPE_NACK, b"", IMEI)


def test_the_fields_of_each_codec_are_read() -> None:
    assert decode_message(C12) == Message(12, 6, b"ABC")
    assert decode_message(C13) == Message(13, 6, b"ABC", timestamp=0x64E83281)
    assert decode_message(C14) == Message(14, 6, b"ABC", imei=IMEI)
    assert decode_message(C15) == Message(15, 11, b"ABC", imei=IMEI, timestamp=0x654B65A4)


def test_an_imei_that_begins_with_zero_keeps_its_zero() -> None:
    imei = "001234567890123"
    assert decode_message(body_of(encode_nack(imei))).imei == imei


def test_sixteen_digits_without_padding_are_kept() -> None:
    assert decode_message(flipped(C14, 7, 0x13)).imei == "1352093081452251"


def test_an_answer_without_text_is_a_message() -> None:
    assert decode_message(bytes.fromhex("0c01060000000001")) == Message(12, 6, b"")


@pytest.mark.parametrize("second", [0, 2, 255])
def test_the_second_quantity_of_codec_12_is_ignored(second: int) -> None:
    assert decode_message(flipped(C12, -1, second)) == decode_message(C12)


@pytest.mark.parametrize("body", ALL)
@pytest.mark.parametrize("quantity", [0, 2, 255])
def test_another_first_quantity_is_refused(body: bytes, quantity: int) -> None:
    refuse(flipped(body, 1, quantity), "quantity")


@pytest.mark.parametrize("body", [*ALL[1:], pytest.param(flipped(C12, 2, TYPE_COMMAND), id="command")])
def test_quantities_that_disagree_are_refused(body: bytes) -> None:
    refuse(flipped(body, -1, 2), "quantity")


@pytest.mark.parametrize("body", ALL)
def test_a_size_that_is_not_what_follows_is_refused(body: bytes) -> None:
    refuse(flipped(body, 6, body[6] + 1), "size")
    refuse(flipped(body, 6, body[6] - 1), "size")
    refuse(flipped(body, 3, 0x80), "size")
    refuse(flipped(body, 6, 0), "size")


@pytest.mark.parametrize(("codec", "least"), [(13, 4), (14, 8), (15, 12)])
def test_a_size_too_small_for_the_fixed_fields_is_refused(codec: int, least: int) -> None:
    head = bytes((codec, 1, 6, 0, 0, 0))
    refuse(head + bytes((least - 1,)) + bytes(least - 1) + b"\x01", "size")
    assert decode_message(head + bytes((least,)) + bytes(least) + b"\x01").payload == b""


@pytest.mark.parametrize("body", ALL)
def test_a_message_cut_short_is_refused(body: bytes) -> None:
    for length in range(len(body)):
        with pytest.raises(Undecodable) as caught:
            decode_message(body[:length])
        assert caught.value.reason in ("truncated", "size", "quantity")


def test_another_codec_is_refused() -> None:
    refuse(flipped(C12, 0, 0x08), "codec")
    refuse(flipped(C12, 0, 0x11), "codec")


def refuse(body: bytes, reason: str) -> None:
    with pytest.raises(Undecodable) as caught:
        decode_message(body)
    assert caught.value.reason == reason
    assert str(caught.value) == caught.value.detail


@given(
    st.one_of(st.binary(max_size=40), st.binary(max_size=30).map(lambda b: b"\x0e\x01\x06\x00\x00\x00" + b))
)
def test_garbage_raises_nothing_but_undecodable(body: bytes) -> None:
    with suppress(Undecodable):
        assert isinstance(decode_message(body), Message)


@pytest.mark.parametrize(
    "imei", ["", "35209308145225", "3520930814522510", "35209308145225a", "³52093081452251"]
)
def test_codec_14_is_not_encoded_for_what_is_no_imei(imei: str) -> None:
    with pytest.raises(ValueError, match="15 digits"):
        encode_command(14, imei, b"getver")


@pytest.mark.parametrize("codec", [8, 13, 15])
def test_commands_are_not_encoded_in_other_codecs(codec: int) -> None:
    with pytest.raises(ValueError, match="codec 12 or 14"):
        encode_command(codec, IMEI, b"getver")


# Several messages in one frame


def merged(codec: int, quantity: int, *messages: bytes) -> bytes:
    parts = (b"\x06" + len(message).to_bytes(4, "big") + message for message in messages)
    return bytes((codec, quantity)) + b"".join(parts) + bytes((quantity,))


def test_merged_messages_are_separated_in_order() -> None:
    first, second = decode_messages(merged(12, 2, b"AAA\r\n", b"\x00BBB"))
    assert (first.payload, second.payload) == (b"AAA\r\n", b"\x00BBB")
    assert (first.type, first.quantity, second.quantity) == (6, 2, 2)


def test_each_merged_codec_13_message_has_its_own_time() -> None:
    messages = decode_messages(merged(13, 2, b"\x65\x53\xf1\x00A", b"\x65\x53\xf1\x01"))
    assert [(m.timestamp, m.payload) for m in messages] == [(1_700_000_000, b"A"), (1_700_000_001, b"")]


@pytest.mark.parametrize("quantity", [0, 1, 3, 255])
def test_merged_messages_of_another_number_are_refused(quantity: int) -> None:
    body = bytearray(merged(12, 2, b"AAA", b"BBB"))
    body[1] = quantity
    with pytest.raises(Undecodable) as caught:
        decode_messages(bytes(body))
    assert caught.value.reason == ("size" if quantity else "quantity")


def test_no_cut_of_merged_messages_is_read_as_something_else() -> None:
    body = merged(13, 3, b"1111A", b"2222", b"3333CC")
    for length in range(len(body) - 1):
        with pytest.raises(Undecodable):
            decode_messages(body[:length] + b"\x03")
