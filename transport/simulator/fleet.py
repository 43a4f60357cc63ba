"""Many simulated trackers, and the sums of their counters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from .behaviour import Behaviour
from .tracker import Connect, Tracker

IMEI_BASE = 352094080000000
"""Default for the first IMEI of a fleet."""


@dataclass(slots=True, frozen=True)
class Totals:
    """Sums over a fleet: devices, frames, records, commands, messages of serial ports."""

    trackers: int
    connected: int
    connections: int
    rejected: int
    frames: int
    acked: int
    commands: int
    answers: int
    serial: int


class Fleet:
    """`count` trackers with consecutive IMEIs.

    Args:
        behaviours: the trackers get copies of them in turn.
        spread: seconds within which the trackers start, so that they do not connect all at once.
        connect: as of a `Tracker`.
    """

    def __init__(
        self,
        address: tuple[str, int],
        count: int,
        behaviours: Sequence[Behaviour],
        *,
        now_ms: Callable[[], int],
        imei_base: int = IMEI_BASE,
        spread: float = 0.0,
        connect: Connect | None = None,
    ) -> None:
        self.trackers = [
            Tracker(
                f"{imei_base + number:015d}",
                *address,
                replace(behaviours[number % len(behaviours)]),
                now_ms=now_ms,
                connect=connect,
            )
            for number in range(count)
        ]
        self._spread = spread

    async def run(self) -> None:
        """Run every tracker to its end. Cancel this call to stop all of them."""
        step = self._spread / max(len(self.trackers), 1)
        async with asyncio.TaskGroup() as group:
            for tracker in self.trackers:
                group.create_task(tracker.run())
                await asyncio.sleep(step)

    @property
    def unreachable(self) -> OSError | None:
        """Why a tracker could not reach the gateway at its last attempt; None if all could."""
        return next((tracker.unreachable for tracker in self.trackers if tracker.unreachable), None)

    def totals(self) -> Totals:
        """The sums so far."""
        counters = [tracker.counters for tracker in self.trackers]
        return Totals(
            trackers=len(self.trackers),
            connected=sum(tracker.connected for tracker in self.trackers),
            connections=sum(each.connections for each in counters),
            rejected=sum(each.rejected for each in counters),
            frames=sum(each.frames_sent for each in counters),
            acked=sum(each.records_acked for each in counters),
            commands=sum(len(each.commands) for each in counters),
            answers=sum(each.answers_sent + each.nacks_sent for each in counters),
            serial=sum(each.serial_sent for each in counters),
        )
