"""What a producer may put on the outbound stream: every field, and every way it can be wrong."""

from __future__ import annotations

import pytest

from fsm.command import CommandRequest
from fsm.entries import entry_fields
from fsm.errors import InvalidCommand
from fsm.outbound import CancelRequest, Limits, parse_entry

ENTRY_MS = 1_900_000_000_000
DAY_MS = 86_400_000
GOOD = {b"command_id": b"c-1", b"imei": b"352093081452251", b"payload": b"getinfo"}
ABSENT = [b"", b"undefined", b"null"]


def parse(fields: dict[bytes, bytes], limits: Limits | None = None) -> CommandRequest | CancelRequest:
    return parse_entry(
        fields,
        instance_id="gw-1",
        outbound_id=f"{ENTRY_MS}-0",
        now_ms=ENTRY_MS + 5,
        limits=limits or Limits(),
    )


def command(limits: Limits | None = None, /, **fields: bytes) -> CommandRequest:
    request = parse(GOOD | {name.encode(): value for name, value in fields.items()}, limits)
    assert isinstance(request, CommandRequest)
    return request


def fault(**fields: bytes) -> InvalidCommand:
    with pytest.raises(InvalidCommand) as caught:
        parse(GOOD | {name.encode(): value for name, value in fields.items()})
    return caught.value


def test_the_least_a_producer_must_say_gets_the_defaults() -> None:
    assert command() == CommandRequest(
        command_id="c-1",
        imei="352093081452251",
        payload=b"getinfo",
        codec="",
        expires_at=ENTRY_MS + 300_000,
        accepted_at=ENTRY_MS + 5,
        response_timeout=30.0,
        expect_response=True,
        instance_id="gw-1",
        outbound_id=f"{ENTRY_MS}-0",
        hops=0,
        echo=(),
        verb="getinfo",
    )


def test_the_operators_limits_are_the_defaults() -> None:
    request = command(Limits(command_ttl=1.5, response_timeout=7.0, max_payload=512))
    assert (request.expires_at, request.response_timeout) == (ENTRY_MS + 1500, 7.0)


@pytest.mark.parametrize("missing", ABSENT)
@pytest.mark.parametrize(
    "field",
    [
        "codec",
        "type",
        "expires_at",
        "response_timeout",
        "expect_response",
        "requested_by",
        "confirmed_by",
    ],
)
def test_undefined_null_and_empty_mean_absent_in_optional_fields(field: str, missing: bytes) -> None:
    assert command(**{field: missing}) == command()


@pytest.mark.parametrize("missing", ABSENT)
@pytest.mark.parametrize("field", ["imei", "payload"])
def test_undefined_null_and_empty_mean_missing_in_required_fields(field: str, missing: bytes) -> None:
    error = fault(**{field: missing})
    assert (error.field, error.problem, error.command_id) == (field, "is missing", "c-1")


@pytest.mark.parametrize("field", ["command_id", "imei", "payload"])
def test_a_required_field_that_is_not_there_is_named(field: str) -> None:
    with pytest.raises(InvalidCommand) as caught:
        parse({name: value for name, value in GOOD.items() if name != field.encode()})
    assert caught.value.field == field


@pytest.mark.parametrize(
    "command_id", [b"a", b"x" * 64, b"0f6d2148-1111-4222-8333-444455556666", b"A.b_c:d-9"]
)
def test_a_good_command_id_is_taken_as_it_is(command_id: bytes) -> None:
    assert command(command_id=command_id).command_id == command_id.decode()


@pytest.mark.parametrize(
    "command_id",
    [*ABSENT, b"x" * 65, b"a b", b"a/b", b" a", b"a\n", b"\xff", "é".encode(), b"x" * 70_000],
)
def test_a_bad_command_id_is_no_readable_id(command_id: bytes) -> None:
    error = fault(command_id=command_id)
    assert (error.field, error.command_id) == ("command_id", None)


@pytest.mark.parametrize(
    "imei",
    [
        b"35209308145225",
        b"3520930814522510",
        b"35209308145225x",
        b" 352093081452251",
        b"352093081452251\n",
        "٣".encode() * 15,
        b"\xff" * 15,
    ],
)
def test_an_imei_is_fifteen_ascii_digits(imei: bytes) -> None:
    assert fault(imei=imei).field == "imei"


def test_an_imei_needs_no_luhn_digit() -> None:
    assert command(imei=b"000000000000000").imei == "000000000000000"


@pytest.mark.parametrize("payload", [b"  getinfo", b" setdigout 1", b"getinfo ", b" ", b"~" * 512, b'a"b\\c'])
def test_a_payload_is_kept_byte_for_byte(payload: bytes) -> None:
    request = command(payload=payload)
    assert request.payload == payload


@pytest.mark.parametrize(
    "payload",
    [
        b"a\r",
        b"a\nb",
        b"a\x00",
        b"a\tb",
        b"\x7f",
        "é".encode(),
        b"\xfe\xff",
        b"x" * 513,
        b"x" * 70_000,
        b"\xff" * 70_000,
    ],
)
def test_a_payload_is_printable_ascii_within_the_limit(payload: bytes) -> None:
    assert fault(payload=payload).field == "payload"


def test_the_operator_sets_the_longest_payload() -> None:
    assert command(Limits(max_payload=1000), payload=b"x" * 1000).payload == b"x" * 1000


@pytest.mark.parametrize("codec", [b"12", b"14"])
def test_a_codec_is_twelve_or_fourteen(codec: bytes) -> None:
    assert command(codec=codec).codec == codec.decode()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("codec", value) for value in (b"13", b"012", b"12.0", b" 12", b"0C", b"\xff")),
        *(("type", value) for value in (b"Command", b"stop", b" command", b"\xff")),
        *(("expect_response", value) for value in (b"True", b"yes", b"01", b"2", b"-1")),
        *(
            ("response_timeout", value)
            for value in (
                b"0",
                b"0.09",
                b"3600.1",
                b"3601",
                b"-1",
                b"1e3",
                b"inf",
                b"nan",
                b" 5",
                b"5s",
                b"1,5",
            )
        ),
        ("response_timeout", "٣".encode()),
        ("response_timeout", b"9" * 400),
    ],
)
def test_a_wrong_known_field_is_an_error_and_no_default(field: str, value: bytes) -> None:
    error = fault(**{field: value})
    assert (error.field, error.command_id) == (field, "c-1")


@pytest.mark.parametrize(
    ("text", "seconds"), [(b"0.1", 0.1), (b"3600", 3600.0), (b"12.345678", 12.345678), (b"0030", 30.0)]
)
def test_a_response_timeout_is_decimal_seconds(text: bytes, seconds: float) -> None:
    assert command(response_timeout=text).response_timeout == seconds


def test_a_command_may_expect_no_response() -> None:
    for no in (b"0", b"false"):
        assert not command(expect_response=no).expect_response
    for yes in (b"1", b"true", b"", b"null"):
        assert command(expect_response=yes).expect_response


def test_echoed_fields_are_cut_and_cannot_be_wrong() -> None:
    request = command(
        requested_by=b"x" * 300, correlation_id=b"a\xffb", traceparent=b"00-abc-def-01", retry_of=b"null"
    )
    assert dict(request.echo) == {
        "requested_by": "x" * 256,
        "correlation_id": "ab",
        "traceparent": "00-abc-def-01",
    }


def test_an_echoed_field_is_cut_between_characters() -> None:
    (pair,) = command(requested_by="é".encode() * 200 + b"x").echo
    assert pair == ("requested_by", "é" * 128)
    (pair,) = command(requested_by=b"x" + "é".encode() * 200).echo
    assert pair == ("requested_by", "x" + "é" * 127)


@pytest.mark.parametrize(
    ("requested_by", "confirmed_by", "two"),
    [
        ("ann", "bob", True),
        ("ann", "ann", False),
        ("ann", " Ann ", False),
        ("Zo\u00eb", "zoe\u0308", False),
        ("", "bob", False),
        ("  ", "bob", False),
        ("ann", "", False),
        ("ann", "  ", False),
        ("ann", "null", False),
        ("undefined", "bob", False),
    ],
)
def test_two_persons_are_two_names(requested_by: str, confirmed_by: str, two: bool) -> None:
    request = command(requested_by=requested_by.encode(), confirmed_by=confirmed_by.encode())
    assert request.two_persons is two
    assert command(**{name: value.encode() for name, value in entry_fields(request)}).two_persons is two


@pytest.mark.parametrize("name", [b"x" * 257, b"a\nb", "a\u200bnn".encode()])
def test_a_second_person_has_a_name_that_can_be_read(name: bytes) -> None:
    error = fault(requested_by=b"ann", confirmed_by=name)
    assert (error.field, error.problem) == (
        "confirmed_by",
        "is not a name of at most 256 printable bytes",
    )


@pytest.mark.parametrize("value", [b"3", b"1000", b"-1", b"x", b"9" * 400])
@pytest.mark.parametrize("field", ["accepted_at", "hops", "instance_id", "outbound_id", "seq", "state"])
def test_what_only_gateways_know_is_not_read_from_an_entry(field: str, value: bytes) -> None:
    assert command(**{field: value}) == command()


def test_a_cancel_needs_only_the_id() -> None:
    fields = {b"command_id": b"c-1", b"type": b"cancel", b"requested_by": b"ada", b"codec": b"99"}
    assert parse(fields) == CancelRequest("c-1", "gw-1", f"{ENTRY_MS}-0", (("requested_by", "ada"),))


def test_a_cancel_without_an_id_is_nothing() -> None:
    with pytest.raises(InvalidCommand) as caught:
        parse({b"type": b"cancel"})
    assert caught.value.command_id is None


def test_unknown_fields_are_ignored() -> None:
    assert command(colour=b"\xff\xfe", created_at=b"yesterday") == command()


@pytest.mark.parametrize("field", ["codec", "expires_at", "response_timeout", "imei", "payload", "type"])
def test_the_error_names_the_field_and_never_its_value(field: str) -> None:
    secret = b"hunter2\x01"
    error = fault(**{field: secret})
    assert error.field == field
    assert "hunter2" not in f"{error} {error.args} {error.problem}"
