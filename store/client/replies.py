"""What form the reply to a command has.

A reply of another form is not the reply to that command: something else than Redis answers, or the connection
is out of step and every later reply on it would be that of another call. Such a call counts as one whose
connection was lost, with an unknown outcome, and the connection is closed.

Whoever takes a reply apart does it here or within `understood`, so that no reply can make a task fail.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import ConnectionError, RedisError

from store.client.errors import CallFailed
from store.client.numbers import LONGEST

T = TypeVar("T")
Form = Callable[[Any], bool]

EARLIEST_MS, LATEST_MS = 1_000_000_000_000, 10_000_000_000_000
"""September 2001 and November 2286: no clock of Redis is outside of this, and no such number an epoch ms."""


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


def one_each(asked: Sequence[Any], reply: Sequence[T]) -> list[T]:
    """The parts of a reply that has one for each thing that was asked for, in that order.

    Raises:
        ValueError: it has more, or fewer.
    """
    if len(reply) != len(asked):
        raise ValueError("not a part for each")
    return list(reply)


def read_time(reply: Any) -> int:
    """A time in epoch ms.

    Raises:
        ValueError: it is none.
    """
    if type(reply) is not int or not EARLIEST_MS <= reply < LATEST_MS:
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


def _is_number(reply: Any) -> bool:
    return isinstance(reply, int)


def _is_digits(reply: Any) -> bool:
    return isinstance(reply, bytes) and len(reply) <= LONGEST and reply.isdigit()


def _is_id(reply: Any) -> bool:
    return isinstance(reply, bytes) and _ID.fullmatch(reply) is not None


def _or_nil(form: Form) -> Form:
    return lambda reply: reply is None or form(reply)


def _each(form: Form) -> Form:
    """A list of replies of that form."""
    return lambda reply: isinstance(reply, list) and all(map(form, reply))


def _row(*forms: Form) -> Form:
    """A list of as many replies, each of its own form."""
    return lambda reply: (
        isinstance(reply, list)
        and len(reply) == len(forms)
        and all(form(part) for form, part in zip(forms, reply, strict=True))
    )


def _either(*forms: Form) -> Form:
    return lambda reply: any(form(reply) for form in forms)


def _is_flat_map(reply: Any) -> bool:
    """Names and values in turn."""
    return isinstance(reply, list) and not len(reply) % 2 and set(map(type, reply)) <= _TEXT


def _is_entry(reply: Any) -> bool:
    """An entry of a stream; one that was deleted may have no fields."""
    if not isinstance(reply, list) or len(reply) != 2:
        return False
    entry_id, fields = reply
    return _is_id(entry_id) and (fields is None or _is_flat_map(fields))


def _facts(**known: Form) -> Form:
    """Names and values in turn, with these facts among them; ``_`` in a name stands for a hyphen."""
    forms = {name.replace("_", "-").encode(): form for name, form in known.items()}

    def form(reply: Any) -> bool:
        facts = dict(zip(reply[::2], reply[1::2], strict=True))
        return all(name in facts and form(facts[name]) for name, form in forms.items())

    return lambda reply: isinstance(reply, list) and form(reply)


_ID = re.compile(rb"\d{1,20}-\d{1,20}")
_TEXT = {bytes}
_is_claim = _either(
    _row(_is_id, _each(_or_nil(_is_entry))),
    _row(_is_id, _each(_or_nil(_is_entry)), _each(_is_id)),  # since Redis 7 the ids of those deleted
)
_is_summary = _row(
    *(_is_number, _or_nil(_is_id), _or_nil(_is_id)),
    _or_nil(_each(_row(_is_text, _is_digits))),
)
_is_pending = _either(_is_summary, _each(_row(_is_id, _is_text, _is_number, _is_number)))

FORMS: dict[str, Form] = {
    **dict.fromkeys(("DEL", "EXISTS", "HDEL", "HSET", "HSETNX", "PEXPIRE", "SADD", "SISMEMBER"), _is_number),
    **dict.fromkeys(("HLEN", "XACK", "XDEL", "XLEN", "XTRIM", "ZADD", "ZCARD", "ZREM"), _is_number),
    **dict.fromkeys(("GET", "HGET"), _or_nil(_is_text)),
    **dict.fromkeys(("INFO", "XGROUP CREATE"), _is_text),
    **dict.fromkeys(("SCAN", "SSCAN"), _row(_is_digits, _each(_is_text))),
    **dict.fromkeys(("HGETALL", "CONFIG GET"), _is_flat_map),
    **dict.fromkeys(("XRANGE", "XREVRANGE"), _each(_is_entry)),
    **dict.fromkeys(("XREAD", "XREADGROUP"), _or_nil(_each(_row(_is_text, _each(_is_entry))))),
    **dict.fromkeys(("HKEYS", "ZRANGEBYSCORE"), _each(_is_text)),
    "HMGET": _each(_or_nil(_is_text)),
    "HSCAN": _row(_is_digits, _is_flat_map),
    "SMISMEMBER": _each(_is_number),
    "TIME": _row(_is_digits, _is_digits),
    "XADD": _is_id,
    "XAUTOCLAIM": _is_claim,
    "XINFO GROUPS": _each(_facts(name=_is_text, pending=_is_number, last_delivered_id=_is_id)),
    "XINFO STREAM": _facts(last_generated_id=_is_id),
    "XPENDING": _is_pending,
}
"""By the name under which redis-py looks up who reads the reply. A form holds all that callers rely on."""
