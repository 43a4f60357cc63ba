"""The devices of a fleet, read for people: who is connected where, what is known of it, and what waits.

The registry says who is connected: a device is online if the instance that it names has a heartbeat, and the
session that it names is one of the present process of that instance. What else is known is in
``devices:status``, which may be a little older than the registry.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, cast

from redis.asyncio import Redis

from fsm.device_status import DeviceStatus, HoldStatus
from fsm.registration import token_of
from fsm.takeover import Claim
from store.fleet.claims import read_claims
from store.fleet.device_status import read_status
from store.fleet.living import known_instances, living
from store.keys import Keys
from store.ledger.open_commands import OpenCommand, open_commands

PAGE = 5000
ONLINE, OFFLINE = "online", "offline"
HELD, DISPUTED = "held", "disputed"

Texts = dict[str, str]


@dataclass(slots=True, frozen=True)
class Device:
    """A device that is connected, or of which something is known.

    Attributes:
        instance_id: the gateway that holds it; of an offline device, the last one, or empty.
        session_id: by the registry; empty for a device that is offline.
        online: whether it is connected to a live gateway.
        status: of its newest known session; None if nothing is known.
        commands: that wait for it or for its answer, the oldest first.
        claims: who has said to be the device, the newest first, if it has changed hands lately; only where
            they were asked for.
    """

    imei: str
    instance_id: str
    session_id: str
    online: bool
    status: DeviceStatus | None
    commands: tuple[OpenCommand, ...] = ()
    claims: tuple[Claim, ...] = ()

    @property
    def current(self) -> DeviceStatus | None:
        """The status, if it is that of the session on which the device is connected now."""
        known = self.online and self.status is not None and self.status.session_id == self.session_id
        return self.status if known else None

    @property
    def hold(self) -> HoldStatus | None:
        """Why its commands are held back, if they are."""
        return self.current.hold if self.current else None

    @property
    def doubt(self) -> str:
        """``held`` or ``disputed`` while its commands are held back, else empty."""
        return "" if self.hold is None else DISPUTED if self.hold.disputed else HELD

    @property
    def state(self) -> str:
        """``offline``, ``online``, or for a connected device a state in which it gets no commands."""
        if not self.online:
            return OFFLINE
        if self.doubt:
            return self.doubt
        return ONLINE if self.current is None or self.current.state == "ready" else self.current.state

    @property
    def since_ms(self) -> int | None:
        """Since when it is online or offline, epoch ms; None if that is not known."""
        if self.online:
            return self.current.connected_at if self.current else None
        return self.status.disconnected_at if self.status else None

    @property
    def last_seen_ms(self) -> int | None:
        """When it was last heard, epoch ms; None if that is not known."""
        return self.status.last_seen_at or None if self.status else None


class DeviceReader:
    """Reads devices from Redis. It needs no right to write.

    Attributes:
        alive: the instances with a heartbeat and the boot ids of their processes, after a call of `read`.
    """

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self.alive: dict[str, str] = {}

    async def read(self, imeis: Collection[str] = (), *, claims: bool = False) -> list[Device]:
        """All devices that are connected or of which something is known, or only `imeis`, in their order.

        Args:
            claims: with who has said to be the devices.

        Raises:
            StoreError: a call failed.
        """
        devices = await self._read(imeis, await self._open())
        return await self._with_claims(devices) if claims else devices

    async def waited_for(self, imeis: Collection[str] = ()) -> list[Device]:
        """The devices for which commands wait, known or not; all of them, or those of `imeis`.

        Raises:
            StoreError: a call failed.
        """
        commands = await self._open()
        wanted = [imei for imei in imeis or commands if imei in commands]
        return await self._read(wanted, commands) if wanted else []

    async def _open(self) -> dict[str, list[OpenCommand]]:
        """By IMEI, the commands that have not ended, the oldest first."""
        instances = await known_instances(self._client, self._keys)
        self.alive = await living(self._client, self._keys, instances)
        waiting: dict[str, list[OpenCommand]] = defaultdict(list)
        for command in await open_commands(self._client, self._keys, instances):
            waiting[command.imei].append(command)
        return waiting

    async def _read(self, imeis: Collection[str], commands: dict[str, list[OpenCommand]]) -> list[Device]:
        keys = self._keys
        holders, tokens, told = [
            await self._hash(key, imeis) for key in (keys.registry, keys.sessions, keys.status)
        ]
        if unknown := set(holders.values()) - self.alive.keys():
            self.alive |= await living(self._client, keys, unknown)
        return [
            self._device(
                imei,
                holders.get(imei, ""),
                token_of(tokens.get(imei, "")),
                told.get(imei),
                commands.get(imei, ()),
            )
            for imei in imeis or sorted({*holders, *told})
            if imei in holders or imei in told or imei in commands
        ]

    def _device(
        self, imei: str, holder: str, token: str, told: str | None, commands: Collection[OpenCommand]
    ) -> Device:
        status = _status(told)
        # A gateway that writes no tokens is believed; else the token begins with the boot id of its process.
        online = holder in self.alive and (not token or token.startswith(f"{self.alive[holder]}-"))
        last = holder or (status.instance_id if status else "")
        return Device(imei, last, token if online else "", online, status, tuple(commands))

    async def _with_claims(self, devices: list[Device]) -> list[Device]:
        client: Any = cast(Any, self._client)
        found: list[Device] = []
        for start in range(0, len(devices), PAGE):
            page = devices[start : start + PAGE]
            texts = await client.mget([self._keys.claims(device.imei) for device in page])
            found += (replace(device, claims=_claims(text)) for device, text in zip(page, texts, strict=True))
        return found

    async def _hash(self, key: str, names: Collection[str]) -> Texts:
        """The fields of a hash, or some of them."""
        client: Any = cast(Any, self._client)
        if names:
            values = await client.hmget(key, list(names))
            return {
                name: _text(value) for name, value in zip(names, values, strict=True) if value is not None
            }
        return {_text(name): _text(value) async for name, value in client.hscan_iter(key, count=PAGE)}


def _status(text: str | None) -> DeviceStatus | None:
    """A status from Redis, where any client may have written anything."""
    if text is None:
        return None
    try:
        return read_status(text)
    except ValueError:
        return None


def _claims(text: bytes | None) -> tuple[Claim, ...]:
    """Claims from Redis, where any client may have written anything."""
    try:
        return read_claims(_text(text or b""))
    except ValueError:
        return ()


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
