"""What a gateway writes for people: the status of devices, and the bytes of those that somebody watches."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from store.client.client import Client
from store.fleet.device_status import DeviceStatusWriter
from store.fleet.trace import TraceLog
from store.keys import Keys

Report = Callable[[str, Exception], None]


class OperatorParts(NamedTuple):
    """The parts; no decision depends on them."""

    device_status: DeviceStatusWriter
    trace: TraceLog


def operator_parts(
    client: Client, keys: Keys, instance_id: str, interval: float, report: Report
) -> OperatorParts:
    """The parts of one gateway.

    Args:
        interval: between two heartbeats, in seconds.
        report: takes the name of a part and the error of a failed call.
    """
    status = DeviceStatusWriter(client, keys, on_error=partial(report, "device_status"), interval=interval)
    return OperatorParts(status, TraceLog(client, keys, instance_id, on_error=partial(report, "trace")))
