"""The data of the in-memory server and the commands on it: those that gateways, scripts and tests use.

Replies are as RESP2 has them: bytes, int, None, lists, `Status`; errors are raised. `tests/contract`
holds them equal to those of real servers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from fnmatch import fnmatchcase
from typing import Any

from tests.in_memory.streams import FIRST, LAST, EntryId, Group, Stream, read_id, spell_id

GROWING = frozenset({"XADD", "HSET", "HSETNX", "SADD", "SET", "XGROUP CREATE", "ZADD"})
"""Commands that a server without memory refuses."""
OOM = "OOM command not allowed when used memory > 'maxmemory'."
WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"


class Status(bytes):
    """A reply that is a status, such as ``OK``."""


OK = Status(b"OK")


class SortedSet(dict[bytes, float]):
    """Members with their scores."""


class Refusal(Exception):
    """A reply that is an error, as it is on the wire."""


class Keyspace:
    """Keys with their values and their ends.

    Args:
        wall: seconds since 1970.
        full: whether the server takes no writes that need memory.
    """

    def __init__(self, wall: Callable[[], float], full: Callable[[], bool]) -> None:
        self._wall = wall
        self._full = full
        self._values: dict[bytes, Any] = {}
        self._ends: dict[bytes, int] = {}
        self._commands: dict[str, Callable[..., Any]] = {
            name[4:].replace("_", " ").upper(): getattr(self, name)
            for name in dir(self)
            if name[:4] == "cmd_"
        }

    def run(self, name: str, arguments: Sequence[bytes]) -> Any:
        """Carry out one command.

        Raises:
            Refusal: the server says no.
        """
        command = self._commands.get(name)
        if command is None:
            raise Refusal(f"ERR unknown command '{name}'")
        if name in GROWING and self._full():
            raise Refusal(OOM)
        return command(*arguments)

    @property
    def now_ms(self) -> int:
        """Epoch ms."""
        return int(self._wall() * 1000)

    # For those who look at it from outside

    def copy(self) -> Keyspace:
        """What would be on a disk now."""
        other = Keyspace(self._wall, self._full)
        other._values, other._ends = deepcopy(self._values), dict(self._ends)
        return other

    def names(self) -> list[bytes]:
        """Every key."""
        return [key for key in list(self._values) if self.cmd_exists(key)]

    def stream(self, key: str) -> Stream:
        """A stream; an empty one when there is none."""
        found = self._find(key.encode(), Stream)
        return Stream() if found is None else found

    # Within

    def _find(self, key: bytes, kind: type) -> Any:
        """The value of `key`, None when there is none."""
        self._expire(key)
        value = self._values.get(key)
        if value is not None and type(value) is not kind:
            raise Refusal(WRONG_TYPE)
        return value

    def _expire(self, key: bytes) -> None:
        end = self._ends.get(key)
        if end is not None and end <= self.now_ms:
            self.cmd_del(key)

    def _make(self, key: bytes, kind: type) -> Any:
        value = self._find(key, kind)
        if value is None:
            value = self._values[key] = kind()
        return value

    # Keys

    def cmd_get(self, key: bytes) -> Any:
        return self._find(key, bytes)

    def cmd_set(self, key: bytes, value: bytes, unit: bytes = b"", length: bytes = b"") -> Any:
        self._values[key] = value
        self._ends.pop(key, None)
        if unit:
            self._ends[key] = self.now_ms + int(length) * {b"EX": 1000, b"PX": 1}[unit]
        return OK

    def cmd_del(self, *keys: bytes) -> Any:
        found = 0
        for key in keys:
            self._ends.pop(key, None)
            found += self._values.pop(key, None) is not None
        return found

    def cmd_exists(self, *keys: bytes) -> Any:
        return sum(self.cmd_type(key) != b"none" for key in keys)

    def cmd_rename(self, key: bytes, name: bytes) -> Any:
        if not self.cmd_exists(key):
            raise Refusal("ERR no such key")
        value, end = self._values.pop(key), self._ends.pop(key, None)
        self.cmd_del(name)
        self._values[name] = value
        if end is not None:
            self._ends[name] = end
        return OK

    def cmd_type(self, key: bytes) -> Any:
        self._expire(key)
        kinds = {bytes: b"string", dict: b"hash", set: b"set", Stream: b"stream", type(None): b"none"}
        kinds[SortedSet] = b"zset"
        return Status(kinds[type(self._values.get(key))])

    def cmd_pexpire(self, key: bytes, length: bytes) -> Any:
        if not self.cmd_exists(key):
            return 0
        self._ends[key] = self.now_ms + int(length)
        return 1

    def cmd_pttl(self, key: bytes) -> Any:
        if not self.cmd_exists(key):
            return -2
        return self._ends[key] - self.now_ms if key in self._ends else -1

    def cmd_ttl(self, key: bytes) -> Any:
        left = self.cmd_pttl(key)
        return left if left < 0 else (left + 500) // 1000

    def cmd_keys(self, pattern: bytes) -> Any:
        return [key for key in self.names() if fnmatchcase(key.decode(), pattern.decode())]

    def cmd_time(self) -> Any:
        micros = int(self._wall() * 1_000_000)
        return [b"%d" % (micros // 1_000_000), b"%d" % (micros % 1_000_000)]

    # Sets

    def cmd_sadd(self, key: bytes, *members: bytes) -> Any:
        found = self._make(key, set)
        before = len(found)
        found.update(members)
        return len(found) - before

    def cmd_sismember(self, key: bytes, member: bytes) -> Any:
        return int(member in (self._find(key, set) or ()))

    # Sorted sets

    def cmd_zadd(self, key: bytes, score: bytes, member: bytes) -> Any:
        found = self._make(key, SortedSet)
        new = member not in found
        found[member] = float(score)
        return int(new)

    def cmd_zscore(self, key: bytes, member: bytes) -> Any:
        score = (self._find(key, SortedSet) or {}).get(member)
        return None if score is None else f"{score:.17g}".encode()

    def cmd_zcard(self, key: bytes) -> Any:
        return len(self._find(key, SortedSet) or ())

    def cmd_zrem(self, key: bytes, *members: bytes) -> Any:
        found = self._find(key, SortedSet) or {}
        removed = sum(found.pop(member, None) is not None for member in members)
        if removed and not found:
            self.cmd_del(key)
        return removed

    def cmd_zrangebyscore(self, key: bytes, least: bytes, most: bytes, *limit: bytes) -> Any:
        """ZRANGEBYSCORE key min max [LIMIT offset count]"""
        found = self._find(key, SortedSet) or {}
        bounds = float(least), float(most)
        members = sorted(found, key=lambda member: (found[member], member))
        wanted = [member for member in members if bounds[0] <= found[member] <= bounds[1]]
        return wanted[int(limit[1]) :][: int(limit[2])] if limit else wanted

    # Hashes

    def cmd_hget(self, key: bytes, name: bytes) -> Any:
        return (self._find(key, dict) or {}).get(name)

    def cmd_hmget(self, key: bytes, *names: bytes) -> Any:
        found = self._find(key, dict) or {}
        return [found.get(name) for name in names]

    def cmd_hlen(self, key: bytes) -> Any:
        return len(self._find(key, dict) or ())

    def cmd_hgetall(self, key: bytes) -> Any:
        return [text for pair in (self._find(key, dict) or {}).items() for text in pair]

    def cmd_hkeys(self, key: bytes) -> Any:
        return list(self._find(key, dict) or {})

    def cmd_hscan(self, key: bytes, cursor: bytes, *more: bytes) -> Any:
        return [b"0", self.cmd_hgetall(key)]

    def cmd_hset(self, key: bytes, *pairs: bytes) -> Any:
        if not pairs or len(pairs) % 2:
            raise Refusal("ERR wrong number of arguments for 'hset' command")
        found = self._make(key, dict)
        before = len(found)
        found.update(zip(pairs[::2], pairs[1::2], strict=True))
        return len(found) - before

    def cmd_hsetnx(self, key: bytes, name: bytes, value: bytes) -> Any:
        return 0 if self.cmd_hget(key, name) is not None else self.cmd_hset(key, name, value)

    def cmd_hdel(self, key: bytes, *names: bytes) -> Any:
        found = self._find(key, dict)
        if found is None:
            return 0
        removed = sum(found.pop(name, None) is not None for name in names)
        if not found:
            self.cmd_del(key)
        return removed

    # Streams

    def cmd_xadd(self, key: bytes, *rest: bytes) -> Any:
        """XADD key [MAXLEN [~] most] id field value ..."""
        most, about = None, False
        if rest[0] == b"MAXLEN":
            about = rest[1] == b"~"
            most, rest = int(rest[1 + about]), rest[2 + about :]
        if len(rest) < 3 or not len(rest) % 2:
            raise Refusal("ERR wrong number of arguments for 'xadd' command")
        stream = self.stream(key.decode())
        entry_id = stream.next_id(self.now_ms) if rest[0] == b"*" else read_id(rest[0])
        if entry_id <= stream.last:
            raise Refusal("ERR The ID specified in XADD is equal or smaller than the target stream top item")
        self._values[key] = stream
        stream.add(entry_id, list(rest[1:]))
        if most is not None:
            stream.trim(most, whole_nodes=about)
        return spell_id(entry_id)

    def cmd_xlen(self, key: bytes) -> Any:
        return self.stream(key.decode()).length

    def cmd_xdel(self, key: bytes, *ids: bytes) -> Any:
        stream = self.stream(key.decode())
        return sum(stream.remove(read_id(one)) for one in ids)

    def cmd_xrange(self, key: bytes, first: bytes, last: bytes, *count: bytes) -> Any:
        limit = int(count[1]) if count else None
        return self.stream(key.decode()).between(_bound(first, 0), _bound(last, LAST[0]), limit)

    def cmd_xrevrange(self, key: bytes, last: bytes, first: bytes, *count: bytes) -> Any:
        return self.cmd_xrange(key, first, last)[::-1][: int(count[1]) if count else None]

    def cmd_xread(self, *rest: bytes) -> Any:
        """XREAD [COUNT count] [BLOCK ms] STREAMS key id"""
        count = rest[rest.index(b"COUNT") :][:2] if b"COUNT" in rest else ()
        found = self.cmd_xrange(rest[-2], b"(" + rest[-1], b"+", *count)
        return [[rest[-2], found]] if found else None

    def cmd_xtrim(self, key: bytes, how: bytes, *rest: bytes) -> Any:
        """XTRIM key MAXLEN|MINID [~|=] bound [LIMIT count]"""
        stream = self.stream(key.decode())
        about, (bound, *more) = (rest[0], rest[1:]) if rest[0] in (b"~", b"=") else (b"", rest)
        keep = int(bound) if how == b"MAXLEN" else stream.younger(read_id(bound))
        return stream.trim(keep, whole_nodes=about == b"~", limit=int(more[1]) if more else 0)

    def cmd_xinfo_groups(self, key: bytes) -> Any:
        stream = self._find(key, Stream)
        if stream is None:
            raise Refusal("ERR no such key")
        return [
            [b"name", name, b"pending", len(group.pending), b"last-delivered-id", spell_id(group.delivered)]
            for name, group in sorted(stream.groups.items())
        ]

    # Groups

    def cmd_xgroup_create(self, key: bytes, name: bytes, start: bytes, *mkstream: bytes) -> Any:
        stream = self._make(key, Stream) if mkstream else self._find(key, Stream)
        if stream is None:
            raise Refusal("ERR The XGROUP subcommand requires the key to exist.")
        if name in stream.groups:
            raise Refusal("BUSYGROUP Consumer Group name already exists")
        stream.groups[name] = Group(stream.last if start == b"$" else read_id(start))
        return OK

    def cmd_xreadgroup(self, word: bytes, name: bytes, consumer: bytes, *rest: bytes) -> Any:
        """XREADGROUP GROUP name consumer [COUNT count] [BLOCK ms] STREAMS key id"""
        count = int(rest[rest.index(b"COUNT") + 1]) if b"COUNT" in rest else None
        key, start = rest[-2:]
        stream, group = self._group(key, name, "in XREADGROUP with GROUP option")
        if start != b">":
            return [[key, stream.redeliver(group, consumer, read_id(start), count)]]
        fresh = stream.deliver(group, consumer, count)
        return [[key, fresh]] if fresh else None

    def cmd_xautoclaim(self, key: bytes, name: bytes, consumer: bytes, *rest: bytes) -> Any:
        """XAUTOCLAIM key name consumer 0 start COUNT count"""
        stream, group = self._group(key, name, "")
        return stream.claim(group, consumer, read_id(rest[1]), int(rest[3]))

    def cmd_xpending(self, key: bytes, name: bytes, *span: bytes) -> Any:
        """XPENDING key name [first last count]; nobody asks for the idle time or the number of deliveries."""
        stream, group = self._group(key, name, "")
        if not span:
            return stream.summary(group)
        first, last = _bound(span[0], 0), _bound(span[1], LAST[0])
        found = [(one, owner) for one, owner in group.pending.items() if first <= one <= last]
        return [[spell_id(one), owner, 0, 1] for one, owner in found[: int(span[2])]]

    def cmd_xack(self, key: bytes, name: bytes, *ids: bytes) -> Any:
        groups = self.stream(key.decode()).groups
        pending = groups[name].pending if name in groups else {}
        return sum(pending.pop(read_id(one), None) is not None for one in ids)

    def _group(self, key: bytes, name: bytes, where: str) -> tuple[Stream, Group]:
        stream = self._find(key, Stream)
        if stream is None or name not in stream.groups:
            text = f"NOGROUP No such key '{key.decode()}' or consumer group '{name.decode()}' {where}"
            raise Refusal(text.strip())
        return stream, stream.groups[name]


def _bound(text: bytes, missing: int) -> EntryId:
    """One end of a range; ``(`` leaves the entry itself out."""
    if text in (b"-", b"+"):
        return FIRST if text == b"-" else LAST
    if text[:1] != b"(":
        return read_id(text, missing)
    milliseconds, serial = read_id(text[1:])
    if missing:  # the end of the range
        return (milliseconds, serial - 1) if serial else (milliseconds - 1, LAST[0])
    return milliseconds, serial + 1
