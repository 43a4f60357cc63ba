"""Mechanisms of tracing: what it never shows, and for whom it works."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="security",
        name="a traced command shows no text",
        what="The text of a command is replaced before its frame is published.",
        file="transport/connection/tap.py",
        where="Tap.sent",
        code="masked = mask(data)",
        mutant="masked = data",
        without="whoever may trace a device reads its password",
        tests=("redis/test_trace.py::test_a_device_is_traced_while_somebody_watches",),
    ),
    Mechanism(
        promise="bounds",
        name="so many devices are traced",
        what="Of the devices in the hash only a few are traced.",
        file="store/fleet/trace.py",
        where="TraceLog.traced",
        code="[imei for imei, end in until.items() if end > now_ms][:DEVICES]",
        mutant="[imei for imei, end in until.items() if end > now_ms]",
        without="every byte of a fleet is stored a second time",
        tests=("contract/test_trace.py::test_of_the_watched_devices_so_many_are_traced",),
    ),
)
