"""What is fuzzed: each reader of bytes and texts that somebody else wrote."""

from __future__ import annotations

from zlib import crc32

from tests.fuzz import (
    check_connection,
    check_entries,
    check_files,
    check_log,
    check_proxy,
    check_wire,
    corpus,
    frame_mutants,
    text_mutants,
)
from tests.fuzz.contract import spell_fields
from tests.fuzz.rounds import Target
from tests.wire_format import hello
from transport.cli.config import template

_REFUSED = ("truncated", "count", "io_total", "trailing")
_GOOD = {b"command_id": b"c-1", b"imei": frame_mutants.IMEI.encode(), b"payload": b"getinfo"}


def _connections() -> list[bytes]:
    streams = [hello(frame_mutants.IMEI) + data for data in corpus.streams() if data[:4] == bytes(4)]
    return [crc32(data).to_bytes(4, "big") + data for data in streams]


def _template() -> list[bytes]:
    """The configuration file that the gateway prints, with every key."""
    lines = template().splitlines()
    return ["\n".join(line[1:] for line in lines if line[1:2].isalpha()).encode()]


def _of(codec: int) -> list[bytes]:
    bodies = corpus.bodies(codec)
    assert bodies
    return bodies


def _telemetry(name: str, codec: int, runs: int) -> Target:
    told = {f"{name} refused: {reason}" for reason in _REFUSED}
    told |= {
        f"{name} one record",
        f"{name} records",
        *(f"{name} width {width}" for width in frame_mutants.WIDTHS),
    }
    return Target(
        f"codec{name.lower()}",
        check_wire.telemetry,
        frame_mutants.avl,
        lambda: _of(codec),
        frozenset(told | {"beyond 2^53"} | ({"variable"} if name == "8E" else set())),
        runs,
    )


TARGETS = (
    Target(
        "frames",
        check_wire.frames,
        frame_mutants.stream,
        corpus.streams,
        frozenset({"frame", "ping", "partial", "crc", "crc_padding"})
        | {f"lost: {reason}" for reason in ("length", "tls", "handshake", "preamble")},
        1500,
    ),
    Target(
        "handshake",
        check_wire.handshake,
        frame_mutants.handshake,
        corpus.streams,
        frozenset({"identified", "unfinished", "pings"})
        | {
            f"refused: {reason}"
            for reason in ("garbage", "tls", "frame", "imei_length", "imei_digits", "pings")
        },
        4000,
    ),
    Target(
        "proxy",
        check_proxy.header,
        check_proxy.smith,
        check_proxy.corpus,
        frozenset({"named", "unnamed", "local", "unfinished"})
        | {
            f"refused: {reason}"
            for reason in (
                *("signature", "line", "version", "command", "family", "length"),
                *("tlv", "checksum", "too_long"),
            )
        },
        2000,
    ),
    _telemetry("8", 0x08, 1500),
    _telemetry("8E", 0x8E, 1500),
    _telemetry("16", 0x10, 1500),
    Target(
        "messages",
        check_wire.message,
        frame_mutants.message,
        lambda: corpus.bodies(12, 13, 14, 15),
        frozenset({"type 5", "type 6", "type 17", "other type", "text", "hex", "filled", "empty"})
        | {"alone", "merged"}
        | {f"codec {codec}" for codec in (12, 13, 14, 15)}
        | {f"refused: {reason}" for reason in ("codec", "truncated", "quantity", "size")},
        8000,
    ),
    Target(
        "connection",
        check_connection.connection,
        frame_mutants.connection,
        _connections,
        frozenset({"record", "frame", "undecodable", "acknowledged", "command", "paused", "responded"})
        | {"serial", "message"}
        | {
            f"closed: {reason}"
            for reason in (
                *("device_closed", "protocol_error", "rejected", "superseded", "handshake_timeout"),
                *("write_overflow", "connection_reset", "network_timeout"),
            )
        }
        | {"half-closed"},
        600,
    ),
    Target(
        "outbound",
        check_entries.outbound,
        text_mutants.entry,
        lambda: [spell_fields(_GOOD)],
        frozenset(
            {
                "codec of the gateway",
                "codec 14",
                "command",
                "cancel",
                "expired",
                "echo",
                "no answer",
                "no command",
            }
        )
        | {
            f"refused: {name}"
            for name in (
                *("command_id", "imei", "payload", "codec", "type", "expires_at", "response_timeout"),
                "expect_response",
            )
        },
        2000,
    ),
    Target(
        "cancel",
        check_entries.cancel,
        text_mutants.log,
        lambda: [],
        frozenset({"unknown", "sent", "terminal", "called off", "unreadable"}),
        3000,
    ),
    Target(
        "log",
        check_log.log,
        text_mutants.log,
        lambda: [],
        frozenset({"CommandEvent", "Note", "SessionEvent", "unknown kind", "unreadable", "answer", "sound"})
        | {
            f"found: {flaw}"
            for flaw in (
                *("gaps", "repeated events", "several terminal events", "broken chains", "unknown moves"),
                *("ledgers", "lost ledgers", "unreadable events"),
            )
        },
        200,
    ),
    Target(
        "device_list",
        check_files.device_list,
        text_mutants.device_list,
        lambda: [],
        frozenset({"some", "nobody", "not UTF-8"}),
        800,
    ),
    Target(
        "config",
        check_files.config,
        text_mutants.config,
        _template,
        frozenset({"settings", "defaults", "refused"}),
        300,
    ),
)
