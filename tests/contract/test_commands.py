"""The in-memory server answers as a real one: the same commands get the same replies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from tests.in_memory.keyspace import Keyspace, Refusal
from tests.in_memory.scripting import Scripts
from tests.in_memory.server import understood

pytestmark = pytest.mark.redis

KEYS = ("a", "b", "c")
STREAMS = ("s", "t")
NAMES = ("x", "y", "z")
ROUNDS = 1500

Command = tuple[Any, ...]


class Generator:
    """Commands that gateways use, on so few keys that they meet."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._serial = 0

    def command(self) -> Command:
        """The next one."""
        pick = self._random.choice
        key, stream, name = pick(KEYS), pick(STREAMS), pick(NAMES)
        entry = pick([f"{max(1, self._serial - back)}-0" for back in range(6)])
        group, consumer, count = pick(("g", "h")), pick(("me", "you")), pick((1, 2, 5))
        return pick(
            [
                *[("GET", key), ("DEL", key), ("EXISTS", key), ("TYPE", key), ("PEXPIRE", key, 60_000)],
                *[
                    ("EXISTS", *KEYS),
                    ("RENAME", key, pick(KEYS)),
                    ("KEYS", "*"),
                    ("HLEN", key),
                    ("TTL", key),
                    ("PTTL", key),
                ],
                *[("SET", key, name, "EX", 60), ("SET", key, name, "PX", 60_000), ("GET", stream)],
                *[("HGET", key, name), ("HMGET", key, *NAMES), ("HGETALL", key), ("HSCAN", key, 0)],
                *[("HSET", key, name, entry)] * 3,
                *[("SADD", key, name), ("SADD", "set", name, entry), ("SISMEMBER", "set", name)],
                *[("SISMEMBER", key, name), ("TYPE", "set")],
                *[("HSETNX", key, name, "1"), ("HDEL", key, name), ("HDEL", key, *NAMES)],
                *[self._added(stream)] * 6,
                *[("XADD", stream, "1-0", "field", "late"), ("XLEN", stream), ("XLEN", key)],
                *[("XDEL", stream, entry), ("XRANGE", stream, entry, entry), ("XRANGE", stream, "-", "+")],
                *[("XRANGE", stream, f"({entry}", "+", "COUNT", count), ("XRANGE", stream, "-", f"({entry}")],
                *[("XREAD", "COUNT", count, "STREAMS", stream, entry), ("XREAD", "STREAMS", stream, "0-0")],
                *[("XREVRANGE", stream, "+", "-", "COUNT", count), ("XREVRANGE", stream, entry, "-")],
                *[("XTRIM", stream, "MAXLEN", "=", 9), ("XTRIM", stream, "MINID", "=", entry)],
                *[("XGROUP CREATE", stream, group, pick(("0", "$"))), ("XINFO GROUPS", stream)],
                *[("XGROUP CREATE", stream, group, "0", "MKSTREAM"), ("DEL", stream)] * (self._serial < 50),
                *[("XREADGROUP", "GROUP", group, consumer, "COUNT", count, "STREAMS", stream, ">")] * 4,
                *[("XREADGROUP", "GROUP", group, consumer, "COUNT", count, "STREAMS", stream, "0")],
                *[("XREADGROUP", "GROUP", group, consumer, "COUNT", count, "STREAMS", stream, entry)],
                *[("XREADGROUP", "GROUP", group, consumer, "STREAMS", stream, ">")],
                *[("XPENDING", stream, group, "-", "+", count), ("XPENDING", stream, group, entry, "+", 9)],
                *[("XAUTOCLAIM", stream, group, consumer, 0, pick(("0-0", entry)), "COUNT", count)],
                *[("XACK", stream, group, entry), ("XPENDING", stream, group), ("XPENDING", key, group)],
            ]
        )

    def _added(self, stream: str) -> Command:
        self._serial += 1
        return ("XADD", stream, f"{self._serial}-0", "field", str(self._serial))


def told(answer: Any, name: str) -> Any:
    """A reply, as far as it is to be the same."""
    if isinstance(answer, ResponseError):
        return str(answer).partition(" ")[0]
    if name in ("TTL", "PTTL") and isinstance(answer, int):
        return min(answer, 1)  # how much is left depends on how long the commands took
    if name == "KEYS":
        return sorted(answer)
    if name == "XPENDING" and isinstance(answer, list) and all(isinstance(row, list) for row in answer):
        return [row[:2] for row in answer]
    if name == "HGETALL" and isinstance(answer, list):
        return sorted(zip(answer[::2], answer[1::2], strict=True))
    if name == "HSCAN" and isinstance(answer, list):
        return told(answer[1], "HGETALL")
    if name == "XINFO GROUPS" and isinstance(answer, list):
        groups = [dict(zip(group[::2], group[1::2], strict=True)) for group in answer]
        return [[group[f] for f in (b"name", b"pending", b"last-delivered-id")] for group in groups]
    return answer


def of_server(url: str, commands: list[Command]) -> list[Any]:
    """What a real server replies."""
    with Redis.from_url(url, protocol=2) as client:
        connection = client.connection_pool.get_connection()
        answers = []
        for command in commands:
            connection.send_command(*command)
            try:
                answers.append(connection.read_response())
            except ResponseError as error:
                answers.append(error)
        client.connection_pool.release(connection)
        return answers


def of_memory(commands: list[Command], full: bool) -> list[Any]:
    """What the in-memory server replies."""
    keys, scripts = Keyspace(time.time, lambda: full), Scripts()
    answers: list[Any] = []
    for name, *arguments in commands:
        spelt = [str(argument).encode() for argument in arguments]
        try:
            evaluated = name == "EVAL"
            answers.append(
                scripts.evaluate(spelt[0], spelt[1:], keys.run) if evaluated else keys.run(name, spelt)
            )
        except Refusal as refusal:
            answers.append(understood(str(refusal)))
    return answers


def compare(url: str, commands: list[Command], *, full: bool = False) -> None:
    """Both say the same, one command after the other."""
    answers = zip(commands, of_server(url, commands), of_memory(commands, full), strict=True)
    for number, (command, real, imitated) in enumerate(answers):
        assert told(imitated, command[0]) == told(real, command[0]), f"{number}: {command}"


@pytest.mark.parametrize("seed", range(4))
def test_commands_are_answered_as_a_server_answers_them(redis_url: str, seed: int) -> None:
    generator = Generator(seed)
    compare(redis_url, [generator.command() for _ in range(ROUNDS)])


SCRIPTS = (
    "return {1, 'two', 3.9, false, 'never'}",
    "return {redis.call('HGET', KEYS[1], 'nothing'), redis.call('HMGET', KEYS[1], 'x', 'nothing')}",
    "return redis.call('TYPE', KEYS[1]).ok .. redis.call('SET', KEYS[2], ARGV[1]).ok",
    "return redis.pcall('HGET', KEYS[2], 'x').err:match('^%u+')",
    "return redis.call('HGET', KEYS[2], 'x')",
    "return {err = 'MISCONF no'}",
    "return {ok = 'FINE'}",
    "error('broken', 0)",
    "return cjson.decode(ARGV[2]).list[2] .. tostring(cjson.decode(ARGV[2]).yes)",
    "return redis.call('XADD', KEYS[3], '7-1', unpack(cjson.decode(ARGV[2]).list))",
    "return {#redis.call('XRANGE', KEYS[3], '7-1', '7-1'), redis.call('XRANGE', KEYS[3], '-', '+')}",
    "return {redis.call('EXISTS', KEYS[3]) == 1, redis.call('EXISTS', 'nothing') == 1}",
    "return redis.call('HSET', KEYS[1], 'number', 12)",
    "return redis.call('HGET', KEYS[1], 'number') + 1",
)


def test_scripts_see_and_give_what_they_do_on_a_server(redis_url: str) -> None:
    given = ("hash", "text", "stream", "value", '{"list": ["f", "g", "h", "i"], "yes": true}')
    compare(redis_url, [("HSET", "hash", "x", "1"), *(("EVAL", source, 3, *given) for source in SCRIPTS)])


@pytest.fixture
def full_url(redis_url: str) -> Iterator[str]:
    """A server that has less memory than it uses."""
    with Redis.from_url(redis_url, protocol=2) as client:
        client.config_set("maxmemory", 1)
        yield redis_url
        client.config_set("maxmemory", 0)


def test_a_server_without_memory_refuses_what_would_need_more(full_url: str) -> None:
    commands: list[Command] = [
        *[("XADD", "s", "1-0", "f", "v"), ("HSET", "h", "f", "v"), ("HSETNX", "h", "f", "v")],
        *[("SET", "k", "v"), ("XGROUP CREATE", "s", "g", "0", "MKSTREAM"), ("HDEL", "h", "f"), ("DEL", "k")],
        *[
            ("XDEL", "s", "1-0"),
            ("XACK", "s", "g", "1-0"),
            ("PEXPIRE", "k", 9),
            ("XTRIM", "s", "MAXLEN", "=", 0),
        ],
        ("EVAL", "return redis.pcall('HSET', KEYS[1], 'f', 'v').err:match('^%u+')", 1, "h"),
    ]
    compare(full_url, commands, full=True)
