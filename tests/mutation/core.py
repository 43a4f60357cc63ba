"""The core of the mutants: the most telling few of each promise, which the short tier runs."""

from __future__ import annotations

CORE = frozenset(
    {
        # P1
        "compare-and-set by seq",
        "compare-and-set by owner",
        "no ledger, no write",
        "sent before the write",
        "written once",
        "only what is stored has happened",
        "a finished command is not begun again",
        "a heartbeat fences",
        # P2
        "terminal is final",
        "gap-free seq",
        "the outcome removes the entry",
        "moves wait for Redis",
        "read again after an error",
        "response timeout",
        "the grace ends",
        "a heartbeat is missed twice",
        # P3
        "delivery by edge",
        "a closed connection withdraws",
        "never written after its expiry",
        "a written command may have been sent",
        "the kernel is asked",
        # P4
        "one outstanding",
        "taint",
        "an answer has the codec of its command",
        "no answer unless owed",
        "the late answer ends the taint",
        # P5
        "first in, first begun",
        "put back in front",
        "in stream order",
        "refused moves keep their order",
        # P6
        "frames are handed over, not awaited",
        "accepted without Redis",
        "turns",
        "one frame of each device in turn",
        # P7
        "ack after store",
        "confirmed after the call",
        "a frame is whole or not stored",
        "acks in the order of the frames",
        "frames wait for Redis",
        "checksum",
    }
)
