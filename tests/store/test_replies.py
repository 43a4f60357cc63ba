"""A reply of a form that its command never has is no reply: nothing is concluded from it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from redis.asyncio import Redis

from fsm.telemetry import PendingFrame
from store.client.client import connect
from store.client.errors import CallFailed
from store.client.replies import EARLIEST_MS, FORMS, LATEST_MS, StrangeReply, read_time, understood
from store.ledger.move_codec import read_results
from store.streams.telemetry import _read

GARBAGE: tuple[Any, ...] = (
    *(None, 7, b"OK", b"", [], [None], [b"0", []], [7, 7], [[b"1-1", None]], [b"a", b"b", b"c"]),
    *([[b"stream", 7]], [b"0", 7], [[b"1-1", [b"odd"]]], [[[]]], object()),
)
ACCEPTED = {
    "TIME": [[b"1700000000", b"12"]],
    "HGETALL": [[], [b"name", b"value"]],
    "XREADGROUP": [None, [], [[b"stream", [[b"1-1", [b"name", b"value"]], [b"1-2", None]]]]],
    "XAUTOCLAIM": [[b"0-0", []], [b"0-0", [[b"1-1", [b"name", b"value"]], None], [b"1-2"]]],
    "XRANGE": [[], [[b"1-1", [b"name", b"value"]]]],
    "HSCAN": [[b"0", []], [b"7", [b"name", b"value"]]],
}


REFUSED = {
    "HMGET": [[7], [[b"a"]]],
    "SMISMEMBER": [[b"1"], [None]],
    "SSCAN": [[b"x", []], [b"0", [7]]],
    "HSCAN": [[b"0", [b"odd"]]],
    "XADD": [b"x", b"1-", b"1-1-1"],
    "XAUTOCLAIM": [[b"0", []], [b"0-0", [[None, None]]]],
    "XINFO GROUPS": [[[b"name", b"g", b"pending", b"0", b"last-delivered-id", b"0-0"]]],
    "XINFO STREAM": [[], [b"last-generated-id", b"x"]],
    "XPENDING": [[None, None, None, None], [1, b"x", b"1-1", None], [1, b"1-1", b"1-1", [[b"name", None]]]],
    "XRANGE": [[[b"\xff", [b"name", b"value"]]], [None]],
    "XREADGROUP": [[[b"stream", [None]]], [[b"stream", [[7, []]]]]],
}
"""Replies of which one part is wrong."""


@pytest.fixture
def guarded() -> Any:
    """What reads the replies of a client, by command."""
    return connect("redis://192.0.2.1", purpose="test").response_callbacks


@pytest.mark.parametrize("command", FORMS)
def test_whatever_comes_as_a_reply_is_read_or_is_none(guarded: Any, command: str) -> None:
    for reply in GARBAGE:
        with suppress(StrangeReply):
            guarded[command](reply)
    with pytest.raises(StrangeReply, match=command):
        guarded[command](object())


@pytest.mark.parametrize("command", ACCEPTED)
def test_what_a_server_replies_is_read(guarded: Any, command: str) -> None:
    for reply in ACCEPTED[command]:
        guarded[command](reply)


@pytest.mark.parametrize("command", REFUSED)
def test_a_reply_of_which_one_part_is_wrong_is_none(guarded: Any, command: str) -> None:
    for reply in REFUSED[command]:
        with pytest.raises(StrangeReply, match=command):
            guarded[command](reply)


@pytest.mark.parametrize("reply", [7, EARLIEST_MS - 1, LATEST_MS, b"1700000000000", None, 1.7e12, True])
def test_what_is_no_time_does_not_set_the_clock(reply: Any) -> None:
    with pytest.raises(ValueError, match="not a time"):
        read_time(reply)


@pytest.mark.parametrize("reply", GARBAGE)
def test_records_are_stored_only_when_the_reply_says_how_many(reply: Any) -> None:
    batch = PendingFrame(b"356307042441013", b"8", 0, [b"{}"] * 3, lambda: None)
    with pytest.raises((TypeError, ValueError, AttributeError)):
        _read([batch], reply)
    assert _read([batch], 3) == (1, None)


@pytest.mark.parametrize("reply", [*GARBAGE, [EARLIEST_MS, []], [EARLIEST_MS, [7, 7]], [EARLIEST_MS, b"?"]])
def test_moves_have_results_only_when_the_reply_has_one_for_each(reply: Any) -> None:
    with pytest.raises((TypeError, ValueError, AttributeError)):
        read_results(reply, moves=2)


async def test_a_reply_that_cannot_be_read_is_a_call_of_unknown_outcome(fake_redis: Redis) -> None:
    with pytest.raises(CallFailed) as caught:
        await understood(fake_redis, 7, len)
    assert (caught.value.kind, caught.value.outcome) == ("StrangeReply", "unknown")
