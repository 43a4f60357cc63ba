"""The commands of a fleet, read for people: those in flight with what they wait for, and those that ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis

from store.fleet.devices import Device, DeviceReader
from store.fleet.waits import Wait, wait_of
from store.keys import Keys
from store.ledger.open_commands import OpenCommand, parked_commands
from store.streams.messages import CommandEvent, read_message
from store.streams.search import newest


@dataclass(slots=True, frozen=True)
class CommandInFlight:
    """A command that has not ended, and what it waits for."""

    command: OpenCommand
    wait: Wait


@dataclass(slots=True, frozen=True)
class CommandEnded:
    """The terminal event of a command, its entry in the log, and when it was appended (epoch ms)."""

    entry_id: str
    fields: dict[str, str]
    event: CommandEvent

    @property
    def at_ms(self) -> int:
        """When it ended, epoch ms."""
        return int(self.entry_id.partition("-")[0])


class CommandReader:
    """Reads commands from Redis. It needs no right to write."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def in_flight(self) -> list[CommandInFlight]:
        """The commands that have not ended, the oldest first.

        Raises:
            StoreError: a call failed.
        """
        reader = DeviceReader(self._client, self._keys)
        return _waiting(await reader.waited_for(), reader)

    def parked(self, imei: str = "") -> AsyncIterator[OpenCommand]:
        """The commands that are parked for devices that sleep, or for one, as they are read, by device.

        Raises:
            StoreError: a call failed.
        """
        return parked_commands(self._client, self._keys, imei)

    async def devices_that_sleep(self) -> int:
        """For how many devices commands are parked.

        Raises:
            StoreError: a call failed.
        """
        return int(await cast(Any, self._client).zcard(self._keys.parked_devices))

    async def ended(
        self,
        *,
        states: Collection[str] = (),
        reasons: Collection[str] = (),
        imei: str = "",
        instance_id: str = "",
        since_ms: int = 0,
    ) -> AsyncIterator[CommandEnded]:
        """The commands that ended at `since_ms` (epoch ms) or later, the newest first.

        Args:
            states, reasons, imei, instance_id: only those; without a value, all.

        Raises:
            StoreError: a call failed.
        """
        wanted: dict[str, Collection[str]] = {
            **{"imei": [imei] if imei else (), "reason": reasons, "state": states},
            **{"instance_id": [instance_id] if instance_id else (), "kind": ["command"], "terminal": ["1"]},
        }
        async for entry_id, fields in newest(
            self._client, self._keys.responses, wanted, start=f"{since_ms}-0"
        ):
            try:
                event = read_message(fields)
            except ValueError:
                continue  # not an entry of a gateway
            if isinstance(event, CommandEvent):
                yield CommandEnded(entry_id, fields, event)


def _waiting(devices: list[Device], reader: DeviceReader) -> list[CommandInFlight]:
    """The commands of these devices, the oldest first."""
    found = [
        CommandInFlight(command, wait_of(command, device, reader.alive))
        for device in devices
        for command in device.commands
    ]
    return sorted(found, key=lambda one: (one.command.accepted_at, one.command.order))
