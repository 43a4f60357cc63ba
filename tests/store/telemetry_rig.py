"""Telemetry on an in-memory Redis, with what it confirmed, what Redis refused, and its errors."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import Redis

from fsm.telemetry import RECORD, PendingFrame
from store.keys import Keys
from store.streams.telemetry import Telemetry

KEYS = Keys()
IMEI = b"356307042441013"


class TelemetryRig:
    """Telemetry whose frames have names; `given` are further arguments of `Telemetry`.

    Attributes:
        confirmed: names of the frames that were confirmed, in order.
        refused: names of the frames that were dropped because Redis refused them, in order.
        errors: the errors that were reported.
    """

    def __init__(self, client: Redis, **given: Any) -> None:
        self.confirmed: list[str] = []
        self.refused: list[str] = []
        self.errors: list[Exception] = []
        self.reported = asyncio.Event()
        self._names: dict[int, str] = {}
        given = {"on_refused": self._on_refused} | given
        self.telemetry = Telemetry(client, KEYS, "gw-1", on_error=self._on_error, **given)

    def store(self, name: str, *bodies: bytes, kind: str = RECORD) -> PendingFrame:
        """Hand over a frame; without `bodies` it has one of an empty object."""
        batch = PendingFrame(IMEI, b"13", 7, list(bodies) or [b"{}"], lambda: self._confirm(name), kind)
        batch.session_id = b"b1-7"
        self._names[id(batch)] = name
        self.telemetry.store(batch)
        return batch

    def _confirm(self, name: str) -> None:
        self.confirmed.append(name)
        self.reported.set()

    def _on_refused(self, batch: PendingFrame) -> None:
        self.refused.append(self._names[id(batch)])

    def _on_error(self, error: Exception) -> None:
        self.errors.append(error)
        self.reported.set()

    async def next(self) -> None:
        """Wait for the next error or confirmation."""
        await self.reported.wait()
        self.reported.clear()
