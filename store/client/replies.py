"""What form the reply to a command has.

A reply of another form is not the reply to that command: something else than Redis answers, or the connection
is out of step and every later reply on it would be that of another call. Such a call counts as one whose
connection was lost, with an unknown outcome, and the connection is closed.

Whoever takes a reply apart does it here or within `understood`, so that no reply can make a task fail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import ConnectionError, RedisError

from store.client.errors import CallFailed

T = TypeVar("T")
Form = Callable[[Any], bool]

EARLIEST_MS = 1_000_000_000_000
"""No clock of Redis is behind this (September 2001): a number below it is no time in epoch ms."""


class StrangeReply(ConnectionError):
    """What came is not the reply to what was asked. For redis-py, which closes the connection then."""

    def __init__(self, command: str) -> None:
        super().__init__(f"What came is no reply to {command}; the connection is closed.")
        self.command = command


async def understood(client: Redis, reply: Any, read: Callable[[Any], T]) -> T:
    """What `read` makes of a reply.

    Raises:
        CallFailed: `read` raised; the connections of `client` are closed.
    """
    try:
        return read(reply)
    except Exception as error:
        await client.connection_pool.disconnect()
        strange = StrangeReply("what was asked")
        raise CallFailed(str(strange), kind=type(strange).__name__) from error


def read_time(reply: Any) -> int:
    """A time in epoch ms.

    Raises:
        ValueError: it is none.
    """
    if type(reply) is not int or reply < EARLIEST_MS:
        raise ValueError("not a time")
    return reply


def guard(client: Redis) -> None:
    """Let `client`, and its pipelines, take no reply of a wrong form."""
    callbacks: Any = client.response_callbacks
    for command, form in FORMS.items():
        callbacks[command] = _guarded(command, form, callbacks.get(command))


def _guarded(command: str, form: Form, read: Callable[..., Any] | None) -> Callable[..., Any]:
    def guarded(reply: Any, **options: Any) -> Any:
        try:
            if form(reply):
                return read(reply, **options) if read else reply
        except RedisError:
            raise
        except Exception as error:
            raise StrangeReply(command) from error
        raise StrangeReply(command)

    return guarded


# Forms


def _is_text(reply: Any) -> bool:
    return isinstance(reply, bytes)


def _is_text_or_nil(reply: Any) -> bool:
    return reply is None or isinstance(reply, bytes)


def _is_number(reply: Any) -> bool:
    return isinstance(reply, int)


def _is_list(reply: Any) -> bool:
    return isinstance(reply, list)


def _is_time(reply: Any) -> bool:
    return _is_list(reply) and len(reply) == 2 and all(_is_text(part) and part.isdigit() for part in reply)


def _is_flat_map(reply: Any) -> bool:
    return _is_list(reply) and not len(reply) % 2 and all(map(_is_text, reply))


def _is_page(reply: Any) -> bool:
    """A cursor and what was found."""
    return _is_list(reply) and len(reply) == 2 and _is_text(reply[0]) and _is_list(reply[1])


def _is_entries(reply: Any) -> bool:
    """Entries of a stream; those that were deleted may be nil, or have no fields."""
    return _is_list(reply) and all(
        entry is None or (_is_list(entry) and len(entry) == 2 and _is_fields(entry[1])) for entry in reply
    )


def _is_fields(fields: Any) -> bool:
    return fields is None or _is_flat_map(fields)


def _is_streams(reply: Any) -> bool:
    """Streams and entries of each; nil when there is nothing new."""
    return reply is None or (
        _is_list(reply)
        and all(_is_list(one) and len(one) == 2 and _is_text(one[0]) and _is_entries(one[1]) for one in reply)
    )


def _is_claimed(reply: Any) -> bool:
    """A cursor, entries, and since Redis 7 the ids of those that were deleted."""
    return _is_list(reply) and len(reply) in (2, 3) and _is_text(reply[0]) and _is_entries(reply[1])


def _is_groups(reply: Any) -> bool:
    """Of each group of a stream its facts, names and values in turn."""
    return _is_list(reply) and all(_is_list(group) and set(group[::2]) >= _GROUP_FACTS for group in reply)


_GROUP_FACTS = {b"name", b"pending", b"last-delivered-id"}

FORMS: dict[str, Form] = {
    **dict.fromkeys(("DEL", "EXISTS", "HDEL", "HSET", "HSETNX", "PEXPIRE", "SADD", "SISMEMBER"), _is_number),
    **dict.fromkeys(("XACK", "XDEL", "XLEN", "XTRIM"), _is_number),
    **dict.fromkeys(("GET", "HGET"), _is_text_or_nil),
    **dict.fromkeys(("INFO", "XADD", "XGROUP CREATE"), _is_text),
    **dict.fromkeys(("HMGET", "SMISMEMBER", "XPENDING", "CONFIG GET"), _is_list),
    **dict.fromkeys(("HSCAN", "SCAN", "SSCAN"), _is_page),
    **dict.fromkeys(("XRANGE", "XREVRANGE"), _is_entries),
    **dict.fromkeys(("XREAD", "XREADGROUP"), _is_streams),
    "HGETALL": _is_flat_map,
    "TIME": _is_time,
    "XAUTOCLAIM": _is_claimed,
    "XINFO GROUPS": _is_groups,
}
"""By the name under which redis-py looks up who reads the reply."""
