"""How large the streams of a fleet may become, in entries and in bytes.

A cap in bytes is set by the operator, or a share of ``maxmemory``, or, without that, a number of bytes for
each entry of the cap in entries. The shares add up to less than the whole, because ledgers, registry and
consumer groups take memory, too. What is set for a kind of stream is for all of its shards together. When
more than `HIGH` of ``maxmemory`` is used all the same, streams of telemetry give way by what is above that,
down to a part of their cap. Never more: another program may have filled Redis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from store.keys import Keys

HIGH = 0.8
"""The share of ``maxmemory`` above which streams of telemetry give way."""
KEPT = 0.25
"""The share of its cap that such a stream keeps whatever else fills the memory."""
LEAST = 8 * 2**20
"""Bytes that a stream may hold however small ``maxmemory`` is: it may have been set so by mistake."""
UNDECODABLE_MAXLEN = 10_000


@dataclass(slots=True, frozen=True)
class Memory:
    """The memory of a server, in bytes. `limit` is ``maxmemory``, 0 for none."""

    used: int = 0
    limit: int = 0


@dataclass(slots=True, frozen=True, kw_only=True)
class CapSettings:
    """The caps that an operator sets: entries, and bytes, where 0 means that they are chosen.

    `session_events` is a separate stream, or empty; `telemetry_shards` is how many shards share a cap.
    """

    responses_maxlen: int = 1_000_000
    telemetry_maxlen: int = 1_000_000
    messages_maxlen: int = 1_000_000
    responses_maxbytes: int = 0
    telemetry_maxbytes: int = 0
    messages_maxbytes: int = 0
    session_events: str = ""
    telemetry_shards: int = 1


@dataclass(slots=True, frozen=True, kw_only=True)
class StreamCaps:
    """How large a stream may become.

    Attributes:
        name: of the stream in logs and metrics.
        maxlen: entries.
        maxbytes: bytes; 0 to choose them.
        share: of ``maxmemory``, if `maxbytes` is 0 and there is a ``maxmemory``.
        each: bytes for each entry of `maxlen`, if there is none.
        yields: whether it gives way when memory runs short.
        expires: whether entries older than the retention are removed.
        parts: how many streams give way together, each by its part.
    """

    name: str
    key: str
    maxlen: int
    maxbytes: int
    share: float
    each: int
    yields: bool = False
    expires: bool = True
    parts: int = 1

    def bytes(self, limit: int) -> int:
        """The cap in bytes, on a server whose ``maxmemory`` is `limit`."""
        if self.maxbytes:
            return self.maxbytes
        return max(round(limit * self.share), LEAST) if limit else self.maxlen * self.each

    def allowed(self, held: int, memory: Memory) -> int:
        """How many bytes the stream may hold now, if it holds `held`."""
        cap = self.bytes(memory.limit)
        excess = memory.used - round(memory.limit * HIGH)
        if not self.yields or not memory.limit or excess <= 0:
            return cap
        return min(cap, max(round(cap * KEPT), held - excess // self.parts))


def stream_caps(keys: Keys, given: CapSettings) -> list[StreamCaps]:
    """The caps of every stream that all gateways append to, but those of several shards."""
    telemetry = [] if given.telemetry_shards > 1 else [_telemetry(keys, given)]
    messages = StreamCaps(
        name="messages",
        key=keys.messages,
        maxlen=given.messages_maxlen,
        maxbytes=given.messages_maxbytes,
        share=0.1,
        each=512,
        yields=True,
    )
    caps = [_log("responses", keys.responses, given), *telemetry, messages, _undecodable(keys)]
    return [*caps, _log("sessions", given.session_events, given)] if given.session_events else caps


def shard_caps(shard: Keys, given: CapSettings) -> list[StreamCaps]:
    """The caps of the streams of one of several shards: its part of what all of them may have."""
    count = given.telemetry_shards
    return [
        replace(
            caps,
            name=f"{caps.name}:{shard.shard}",
            maxlen=-(-caps.maxlen // count),
            maxbytes=-(-caps.maxbytes // count),
            share=caps.share / count,
            parts=count,
        )
        for caps in (_telemetry(shard, given), _undecodable(shard))
    ]


def _telemetry(keys: Keys, given: CapSettings) -> StreamCaps:
    return StreamCaps(
        name="telemetry",
        key=keys.telemetry,
        maxlen=given.telemetry_maxlen,
        maxbytes=given.telemetry_maxbytes,
        share=0.5,
        each=2048,
        yields=True,
    )


def _undecodable(keys: Keys) -> StreamCaps:
    return StreamCaps(
        name="undecodable",
        key=keys.undecodable,
        maxlen=UNDECODABLE_MAXLEN,
        maxbytes=0,
        share=0.02,
        each=6400,
        yields=True,
        expires=False,
    )


def _log(name: str, key: str, given: CapSettings) -> StreamCaps:
    """The caps of the log, or of a separate stream of session events."""
    return StreamCaps(
        name=name,
        key=key,
        maxlen=given.responses_maxlen,
        maxbytes=given.responses_maxbytes,
        share=0.2,
        each=1024,
    )
