"""Checks that the Redis user of a gateway has all rights that a gateway needs.

A missing right would be noticed only when it is needed: records of a device are not stored, or a command does
not end. So all rights are tried when a gateway starts, in one script. The script makes each kind of call on
its own key, which no other client sees and which is deleted before the script ends. On each key of the
gateway it makes calls that change nothing: delete a field without a name, append an entry with an invalid id,
set a time to live that is not a number.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from fsm.errors import GatewayFault
from store.client.errors import NotLetIn, StoreError, StoreRefused
from store.client.locator import LocatedPool
from store.client.script import Script
from store.keys import Keys

SHOWN = 5
"""Refused calls that an error names, at most."""

KEY = "\0"
"""Placeholder for the key in a call."""

Call = tuple[str, ...]

OWN: tuple[Call, ...] = (
    ("hset", KEY, "f", "v"),
    ("hsetnx", KEY, "f", "v"),
    *((name, KEY, "f") for name in ("hget", "hmget")),
    *((name, KEY) for name in ("hgetall", "hlen", "exists")),
    ("hscan", KEY, "0"),
    ("pexpire", KEY, "60000"),
    ("hdel", KEY, "f"),
    ("set", KEY, "v"),
    ("get", KEY),
    ("del", KEY),
    ("sadd", KEY, "x"),
    *((name, KEY, "x") for name in ("sismember", "smismember")),
    ("sscan", KEY, "0"),
    ("del", KEY),
    ("zadd", KEY, "1", "x"),
    ("zscore", KEY, "x"),
    ("zcard", KEY),
    ("zrangebyscore", KEY, "0", "1"),
    ("zrem", KEY, "x"),
    *((name, KEY, KEY) for name in ("copy", "rename")),
    ("xadd", KEY, "1-1", "f", "v"),
    ("xlen", KEY),
    ("xrange", KEY, "-", "+", "COUNT", "1"),
    ("xgroup", "create", KEY, "g", "0"),
    ("xinfo", "groups", KEY),
    ("xinfo", "stream", KEY),
    ("xinfo", "stream", KEY),
    ("xreadgroup", "GROUP", "g", "c", "STREAMS", KEY, "0"),
    ("xpending", KEY, "g"),
    ("xautoclaim", KEY, "g", "c", "0", "0-0"),
    ("xack", KEY, "g", "1-1"),
    ("xdel", KEY, "1-1"),
    ("xtrim", KEY, "MAXLEN", "1"),
    ("del", KEY),
    ("time",),
    ("ping",),
    ("info", "server"),
)
"""Each Redis command of a gateway, in an order in which each has data to work on. The last delete all."""


class LoginRefused(GatewayFault):
    """Redis refuses the user or the password."""

    def __init__(self, said: object) -> None:
        super().__init__(f"Redis refuses the login ({said}): give --redis the right user and password.")


class ServerUnfit(GatewayFault):
    """Redis answers, but cannot do what a gateway needs with this URL."""

    def __init__(self, said: object, mend: str) -> None:
        super().__init__(f"Redis refuses what a gateway needs ({said}): {mend}.")


_TO_A_CLUSTER = "it is a cluster: write redis+cluster://, and a --key-prefix such as {fleet}:"
_UNFIT = {
    "DB index is out of range": "name a database that it has in --redis",
    "SELECT is not allowed": _TO_A_CLUSTER,
    "same slot": _TO_A_CLUSTER,
    "unknown command": "name a Redis 6.2 or later with --redis",
    "protected mode": "give it a password, or let it listen on this host alone",
}
"""Permanent errors of a server, and what to do about each."""
_ELSEWHERE = ("MOVED", "non local key")
"""What a node of a cluster says about keys of another node. A cluster client waits or asks that node."""


class RightsMissing(GatewayFault):
    """The Redis user lacks rights that a gateway needs."""

    def __init__(self, refused: Sequence[str]) -> None:
        more = f" and {len(refused) - SHOWN} more" if len(refused) > SHOWN else ""
        super().__init__(
            f"The Redis user lacks rights that a gateway needs: {', '.join(refused[:SHOWN])}{more}."
            " The ACL in docs/contract.md has all of them."
        )
        self.refused = tuple(refused)


async def check_rights(
    client: Redis,
    keys: Keys,
    instance_id: str,
    boot_id: str,
    *streams: str,
    allow_list: bool = False,
    families: bool = False,
) -> None:
    """Try every right that a gateway needs; nothing is changed. An unreachable Redis is not an error here.

    Args:
        streams: further streams that the gateway appends to.
        allow_list: whether it reads the list of allowed devices.
        families: whether it reads the families of devices.

    Raises:
        LoginRefused: the user or the password is wrong.
        ServerUnfit: the server cannot be used by a gateway.
        RightsMissing: the user may not make a call.
    """
    own = keys.ledger(f"rights.{boot_id}")
    calls = [(own, call) for call in OWN] + _shared(keys, instance_id, streams)
    if allow_list:
        calls += [(keys.allowed, ("sismember", KEY, "x")), (keys.terms, ("hget", KEY, "x"))]
    calls += [(keys.families, ("hget", KEY, "x"))] * families
    if await _try(client, own, calls, keys.ledger("*")) and allow_list:
        await _check_list(client, keys)


async def _try(client: Redis, own: str, calls: Sequence[tuple[str, Call]], shown: str) -> bool:
    """Make calls in a script; whether all of them could be tried. An error names the key `own` as `shown`."""
    words = [[key if word is KEY else word for word in call] for key, call in calls]
    try:
        # Only one key is declared, because a declared key needs all rights. All are in one slot.
        found = await Script("rights.lua")(client, [own], [json.dumps(words)])
    except NotLetIn as error:
        if error.code == "NOPERM":
            raise RightsMissing([f"the calls of every connection ({error})"]) from None
        if error.code in ("WRONGPASS", "NOAUTH"):
            raise LoginRefused(error) from None
        _raise_if_unfit(client, str(error))
        raise ServerUnfit(error, "name a server with --redis that takes this connection") from None
    except StoreRefused as error:
        if error.code == "NOPERM":
            raise RightsMissing([f"evalsha or eval on {shown} ({error})"]) from None
        _raise_if_unfit(client, str(error))
        return False
    except StoreError:
        return False
    refused = [calls[number - 1] for number in found]
    if refused:
        raise RightsMissing([_said(shown if key == own else key, call) for key, call in refused])
    return True


async def check_shard_rights(client: Redis, shard: Keys) -> None:
    """Try the rights to the streams of a shard of telemetry, which may be on a server of its own.

    Raises:
        LoginRefused, ServerUnfit, RightsMissing: as `check_rights` does.
    """
    streams = (shard.telemetry, shard.undecodable)
    names = (*streams, *map(shard.sizes, streams))
    calls: list[tuple[str, Call]] = [(name, ("xadd", KEY, "0-0", "f", "v")) for name in names]
    await _try(client, shard.telemetry, calls, shard.telemetry)


async def _check_list(client: Any, keys: Keys) -> None:
    """Raise ServerUnfit if the allow-list has a wrong type: no device could connect."""
    for key, kind, read in ((keys.allowed, "set", client.sismember), (keys.terms, "hash", client.hget)):
        try:
            await read(key, "x")
        except StoreRefused as error:
            if "WRONGTYPE" in str(error):
                raise ServerUnfit(error, f"{key} has to be a {kind}: rename it, or delete it") from None
        except StoreError:
            return


def _raise_if_unfit(client: Redis, said: str) -> None:
    """Raise ServerUnfit if the error `said` means that a gateway cannot use this server."""
    for words, mend in _UNFIT.items():
        if words in said:
            raise ServerUnfit(said, mend) from None
    if not isinstance(client.connection_pool, LocatedPool) and any(words in said for words in _ELSEWHERE):
        raise ServerUnfit(said, _TO_A_CLUSTER) from None


def _said(key: str, call: Call) -> str:
    """The right that a call needs: its command, with the subcommand if that is before the key."""
    words = call[: call.index(KEY)] if KEY in call else call[:1]
    return f"{' '.join(words[:2])} on {key}" if KEY in call else words[0]


def _shared(keys: Keys, instance_id: str, streams: Sequence[str]) -> list[tuple[str, Call]]:
    """Calls on the keys that a gateway shares with others, or with its earlier processes."""
    hashes = (keys.registry, keys.sessions, keys.instances, keys.auth, keys.status, keys.shard_counts)
    strings = (
        *(keys.heartbeat(instance_id), keys.boot(instance_id), keys.holder(instance_id)),
        *(keys.serial, keys.claims("0")),
    )
    logs = (
        *(keys.outbound(instance_id), keys.responses, keys.unasked, keys.deadletter, keys.kept),
        *(keys.telemetry, keys.messages, keys.undecodable, *streams),
        keys.parked("0"),
        keys.trace(""),
    )
    sizes = map(keys.sizes, (keys.responses, keys.telemetry, keys.messages, keys.undecodable, *streams))
    return [
        *((key, ("hdel", KEY, "")) for key in hashes),
        *((key, ("pexpire", KEY, "never")) for key in strings),
        *((key, ("xadd", KEY, "0-0", "f", "v")) for key in (*logs, *sizes)),
        (keys.serial, ("sismember", KEY, "x")),
        (keys.parked_devices, ("zrem", KEY, "")),
        (keys.traced, ("hgetall", KEY)),
    ]
