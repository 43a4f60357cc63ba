"""Calls are packed as the client library packs them."""

from __future__ import annotations

import hiredis
from hypothesis import example, given
from hypothesis import strategies as st

from store.client.resp import KNOWN, Arguments, pack

VALUES = st.lists(st.one_of(st.binary(), st.text(), st.integers()))


@given(VALUES, st.lists(st.binary()))
@example(["EVALSHA", 2], [b"x" * (KNOWN - 1), b"x" * KNOWN, b"\r\n", b""])
def test_a_call_is_packed_as_by_hiredis(first: list[str | bytes | int], bodies: list[bytes]) -> None:
    arguments = Arguments(first)
    arguments.add(bodies)
    assert pack(arguments) == hiredis.pack_command((*first, *bodies))
    assert pack(Arguments(first), Arguments(bodies)) == pack(arguments)
