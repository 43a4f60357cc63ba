"""What an entry may cost before it is validated, and what remains of its text afterwards."""

from __future__ import annotations

import pytest

from fsm.command import CommandRequest
from fsm.errors import InvalidCommand
from fsm.outbound import FIELD_LIMIT, Limits, parse_entry

ENTRY = {b"command_id": b"c-1", b"imei": b"352093081452251", b"payload": b"setparam 2004:secret"}


def read(**fields: bytes) -> CommandRequest:
    raw = ENTRY | {name.encode(): value for name, value in fields.items()}
    request = parse_entry(raw, instance_id="gw-1", outbound_id="1-0", now_ms=1, limits=Limits())
    assert isinstance(request, CommandRequest)
    return request


@pytest.mark.parametrize("field", ["imei", "payload", "codec", "expires_at", "response_timeout"])
def test_a_field_longer_than_the_limit_is_refused_for_its_length(field: str) -> None:
    with pytest.raises(InvalidCommand, match=f"^{field}: is longer than 64 KiB$"):
        read(**{field: b"\xff" * (FIELD_LIMIT + 1)})
    with pytest.raises(InvalidCommand, match=f"^{field}: is not UTF-8$"):
        read(**{field: b"\xff" * FIELD_LIMIT})
