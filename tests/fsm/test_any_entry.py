"""Whatever lies on the outbound stream is a request or an invalid command."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from fsm.command import CommandRequest
from fsm.errors import InvalidCommand
from fsm.outbound import CancelRequest, Limits, parse_entry

# A loaded machine draws slowly; that says nothing about the code.

ENTRY_MS = 1_900_000_000_000
DAY_MS = 86_400_000
GOOD = {b"command_id": b"c-1", b"imei": b"352093081452251", b"payload": b"getinfo"}
ABSENT = [b"", b"undefined", b"null"]

KNOWN = st.sampled_from(
    [
        b"command_id",
        b"imei",
        b"payload",
        b"codec",
        b"type",
        b"expires_at",
        b"response_timeout",
        b"expect_response",
        b"requested_by",
        b"confirmed_by",
        b"hops",
        b"accepted_at",
    ]
)
VALUES = st.one_of(
    st.binary(max_size=80),
    st.text(max_size=40).map(str.encode),
    st.from_regex(r"[0-9.:TZ+-]{1,40}", fullmatch=True).map(str.encode),
    st.sampled_from(
        [*GOOD.values(), *ABSENT, b"cancel", b"12", b"0", b"1900000000000", b"2030-03-17T17:46:40Z"]
    ),
)


def validate(fields: dict[bytes, bytes]) -> CommandRequest | CancelRequest | InvalidCommand:
    try:
        return parse_entry(
            fields, instance_id="gw-1", outbound_id=f"{ENTRY_MS}-0", now_ms=ENTRY_MS, limits=Limits()
        )
    except InvalidCommand as error:
        return error


@given(st.dictionaries(st.one_of(KNOWN, st.binary(max_size=10)), VALUES), st.booleans())
def test_any_mapping_is_a_request_or_an_invalid_command(
    fields: dict[bytes, bytes], mostly_good: bool
) -> None:
    found = validate(GOOD | fields if mostly_good else fields)
    assert isinstance(found, CommandRequest | CancelRequest | InvalidCommand)
    if isinstance(found, CommandRequest):
        assert 0.1 <= found.response_timeout <= 3600
        assert found.expires_at <= ENTRY_MS + DAY_MS
        assert found.hops >= 0


@given(st.text(alphabet="QXJ", min_size=4, max_size=20), VALUES, KNOWN)
def test_an_error_never_repeats_the_payload(secret: str, value: bytes, field: bytes) -> None:
    assume(secret.encode() not in value)
    fields = GOOD | {b"payload": secret.encode() + b"\n"} | ({} if field == b"payload" else {field: value})
    found = validate(fields)
    assert isinstance(found, InvalidCommand | CancelRequest)
    assert secret not in f"{found!r} {found}"
    assert isinstance(found, CancelRequest) or secret not in repr(vars(found))
