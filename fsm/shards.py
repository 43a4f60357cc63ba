"""Shards of telemetry: which of several streams holds the records of a device.

All records of a device are in one shard, so their order is kept. Every gateway and every reader computes the
same shard from the IMEI and the number of shards alone.
"""

from __future__ import annotations

from binascii import crc_hqx

MOST = 256
"""Shards of a fleet at most."""


def shard_of(imei: bytes, count: int) -> int:
    """The shard of a device, from 0: the checksum by which a Redis Cluster chooses slots, modulo `count`."""
    return crc_hqx(imei, 0) % count
