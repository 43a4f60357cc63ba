"""Lua as the server runs it: scripts call commands, and nothing of one call is left for the next."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from hashlib import sha1
from itertools import count
from typing import Any

from lupa import lua51

from tests.in_memory.keyspace import Refusal, Status

Call = Callable[[str, Sequence[bytes]], Any]

_PRELUDE = """
local call, decode, null = ...
redis = {
  pcall = call,
  call = function(...)
    local reply = call(...)
    if type(reply) == 'table' and reply.err then error(reply, 0) end
    return reply
  end,
}
cjson = {decode = decode, null = null}
return function(script, keys, argv)
  KEYS, ARGV = keys, argv
  local done, reply = pcall(script)
  if done or type(reply) == 'table' then return reply end
  return {err = 'ERR ' .. tostring(reply)}
end
"""


class Lua:
    """One interpreter for all runs: a script is compiled once.

    It has no state but the commands of whoever is being served.
    """

    def __init__(self) -> None:
        self._lua = lua51.LuaRuntime(encoding=None, unpack_returned_tuples=True)
        self._compiled: dict[bytes, Any] = {}
        self._call: Call | None = None
        prelude = self._lua.compile(_PRELUDE.encode())
        self._run = prelude(self._redis_call, self._decode, object())

    def run(self, source: bytes, keys: Sequence[bytes], arguments: Sequence[bytes], call: Call) -> Any:
        """Run a script whose commands are carried out by `call`.

        Raises:
            Refusal: a command of the script, or the script itself, ended with an error.
        """
        script = self._compiled.get(source)
        if script is None:
            script = self._compiled[source] = self._lua.compile(source)
        before, self._call = self._call, call
        try:
            reply = self._run(script, self._lua.table_from(keys), self._lua.table_from(arguments))
        finally:
            self._call = before
        return _to_client(reply)

    def _redis_call(self, name: bytes, *arguments: Any) -> Any:
        assert self._call is not None
        spelt = [arg if isinstance(arg, bytes) else f"{arg:.17g}".encode() for arg in arguments]
        try:
            return self._to_lua(self._call(name.decode(), spelt))
        except Refusal as failure:
            return self._lua.table_from({b"err": str(failure).encode()})

    def _to_lua(self, reply: Any) -> Any:
        if reply is None:
            return False
        if isinstance(reply, Status):
            return self._lua.table_from({b"ok": bytes(reply)})
        if isinstance(reply, list):
            return self._lua.table_from([self._to_lua(item) for item in reply])
        return reply

    def _decode(self, text: bytes) -> Any:
        return self._lua.table_from(_in_bytes(json.loads(text)), recursive=True)


LUA = Lua()


class Scripts:
    """The scripts that a server has seen since its start."""

    def __init__(self) -> None:
        self._sources: dict[bytes, bytes] = {}

    def flush(self) -> None:
        """Forget them all."""
        self._sources.clear()

    def evaluate(self, source: bytes, arguments: Sequence[bytes], call: Call) -> Any:
        """EVAL; `arguments` are the number of keys, the keys, and the rest."""
        self._sources[sha1(source, usedforsecurity=False).hexdigest().encode()] = source
        keys = int(arguments[0])
        return LUA.run(source, arguments[1 : 1 + keys], arguments[1 + keys :], call)

    def evaluate_known(self, digest: bytes, arguments: Sequence[bytes], call: Call) -> Any:
        """EVALSHA."""
        if digest not in self._sources:
            raise Refusal("NOSCRIPT No matching script. Please use EVAL.")
        return self.evaluate(self._sources[digest], arguments, call)


def _in_bytes(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, list):
        return [_in_bytes(item) for item in value]
    if isinstance(value, dict):
        return {key.encode(): _in_bytes(item) for key, item in value.items()}
    return value


def _to_client(reply: Any) -> Any:
    """A script's result as its caller gets it."""
    if isinstance(reply, bool):
        return 1 if reply else None
    if isinstance(reply, int | float):
        return int(reply)
    if lua51.lua_type(reply) != "table":
        return reply
    if reply[b"err"] is not None:
        raise Refusal(reply[b"err"].decode())
    if reply[b"ok"] is not None:
        return Status(reply[b"ok"])
    items = []
    for index in count(1):
        item = reply[index]
        if item is None:
            return items
        items.append(_to_client(item))
    return items
