"""Every Redis name of the gateway.

A script that learns from Redis which instance it deals with is given the name without the instance id
(``keys.heartbeat("")``), and appends the id.

With a `key_prefix` that holds a hash tag (``{fleet}:``) all keys of a fleet lie in one cluster slot. Shards
of telemetry have a tag of their own each (``{fleet.0}:``), so that a cluster can spread them over its nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

GROUP = "ingestion"
_HASH_TAG = re.compile(r"([^{]*\{[^}]+)\}")


@dataclass(slots=True, frozen=True)
class Keys:
    """The names, each behind `prefix`.

    Attributes:
        shard: the number of the shard of telemetry whose streams these are; None where there is only one.
    """

    prefix: str = ""
    shard: int | None = None

    def shards(self, count: int) -> list[Keys]:
        """The names of each shard of telemetry, in their order; of a single one these names."""
        if count == 1:
            return [self]
        return [Keys(_HASH_TAG.sub(rf"\1.{n}}}", self.prefix, count=1), n) for n in range(count)]

    def all_shards(self, counts: Iterable[int]) -> list[Keys]:
        """The names of each shard that a fleet has where it has, or had, so many shards."""
        return list(dict.fromkeys(keys for count in sorted(counts) for keys in self.shards(count)))

    def _of_shard(self, name: str) -> str:
        return f"{self.prefix}{name}" if self.shard is None else f"{self.prefix}{name}:{self.shard}"

    @property
    def registry(self) -> str:
        """Hash: imei -> instance_id."""
        return f"{self.prefix}connections:registry"

    @property
    def sessions(self) -> str:
        """Hash: imei -> session token, address and authentication of the holder."""
        return f"{self.prefix}connections:sessions"

    def claims(self, imei: str) -> str:
        """String with expiry: the peers that have claimed the device in turn, see `fsm.takeover`."""
        return f"{self.prefix}connections:claims:{imei}"

    @property
    def instances(self) -> str:
        """Hash: instance_id -> last sign of life, epoch ms."""
        return f"{self.prefix}instances:known"

    @property
    def allowed(self) -> str:
        """Set: the imeis that may connect, where an operator keeps such a list."""
        return f"{self.prefix}devices:allowed"

    @property
    def terms(self) -> str:
        """Hash: imei -> what a device of that set has to show besides, see `fsm.device_terms`."""
        return f"{self.prefix}devices:terms"

    @property
    def auth(self) -> str:
        """Hash: imei -> the certificate that the device was first seen with, and epoch ms."""
        return f"{self.prefix}devices:auth"

    @property
    def serial(self) -> str:
        """Set: the imeis of devices whose serial port is known to speak by itself."""
        return f"{self.prefix}devices:serial"

    @property
    def families(self) -> str:
        """Hash: imei -> family or model of the device, where an operator keeps such a list."""
        return f"{self.prefix}devices:family"

    @property
    def status(self) -> str:
        """Hash: imei -> JSON: what is known of the device, see `fsm.device_status`."""
        return f"{self.prefix}devices:status"

    @property
    def traced(self) -> str:
        """Hash with expiry: imei -> epoch ms until which somebody watches its bytes."""
        return f"{self.prefix}devices:traced"

    def trace(self, imei: str) -> str:
        """Stream with expiry, capped: the bytes of a device that somebody watches."""
        return f"{self.prefix}devices:trace:{imei}"

    @property
    def shared(self) -> dict[str, str]:
        """Every key that the whole fleet has one of, and its type as Redis calls it."""
        return {
            **dict.fromkeys((self.registry, self.sessions, self.instances), "hash"),
            **dict.fromkeys((self.terms, self.auth, self.families), "hash"),
            **dict.fromkeys((self.status, self.traced, self.shard_counts), "hash"),
            **dict.fromkeys((self.allowed, self.serial), "set"),
            self.parked_devices: "zset",
            **dict.fromkeys((self.responses, self.unasked, self.deadletter, self.kept), "stream"),
            **dict.fromkeys((self.telemetry, self.messages, self.undecodable), "stream"),
        }

    def heartbeat(self, instance_id: str) -> str:
        """String with expiry: epoch ms of the last heartbeat."""
        return f"{self.prefix}instance:heartbeat:{instance_id}"

    def boot(self, instance_id: str) -> str:
        """String with expiry: boot id of the process that owns the instance id."""
        return f"{self.prefix}instance:boot:{instance_id}"

    def holder(self, instance_id: str) -> str:
        """Hash with expiry: what that process says of itself, see `store.fleet.ownership.Holder`."""
        return f"{self.prefix}instance:holder:{instance_id}"

    def outbound(self, instance_id: str) -> str:
        """Stream: commands for the instance."""
        return f"{self.prefix}commands:outbound:{instance_id}"

    @property
    def parked_devices(self) -> str:
        """Sorted set: imei -> epoch ms before which none of the commands that are parked for it expires."""
        return f"{self.prefix}commands:parked"

    def parked(self, imei: str) -> str:
        """Stream: commands that wait for the device."""
        return f"{self.prefix}commands:parked:{imei}"

    @property
    def responses(self) -> str:
        """Stream: the event log."""
        return f"{self.prefix}commands:responses"

    @property
    def unasked(self) -> str:
        """Stream: the ids of those entries of the event log that no command asked for, and nothing else."""
        return f"{self.prefix}commands:responses:unasked"

    def sizes(self, stream: str) -> str:
        """Stream: how many bytes were appended to another stream, and when."""
        return f"{stream}:bytes"

    def ledger(self, command_id: str) -> str:
        """Hash: the ledger of one command."""
        return f"{self.prefix}commands:state:{command_id}"

    @property
    def deadletter(self) -> str:
        """Stream, capped: entries that could not be read as a command."""
        return f"{self.prefix}commands:deadletter"

    @property
    def kept(self) -> str:
        """Stream with expiry, capped: entries of commands that were given up, with their texts."""
        return f"{self.prefix}commands:deadletter:kept"

    @property
    def telemetry(self) -> str:
        """Stream: one entry per AVL record."""
        return self._of_shard("telemetry:records")

    @property
    def messages(self) -> str:
        """Stream: one entry per message of a device that is neither a record nor an answer."""
        return f"{self.prefix}telemetry:messages"

    @property
    def undecodable(self) -> str:
        """Stream, capped: CRC-valid frames that could not be decoded."""
        return self._of_shard("telemetry:undecodable")

    @property
    def shard_counts(self) -> str:
        """Hash: number of shards -> epoch ms when a gateway had so many, see `store.streams.shard_counts`."""
        return f"{self.prefix}telemetry:shards"
