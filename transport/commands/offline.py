"""Commands of devices that are not connected here: how long they wait, and which devices may come back.

A device is expected back for the grace after its connection here has closed. After a start, each device that
the registry names for this instance is expected too: its connection ended with the earlier process. Until
the registry has been read (`expect`, then `registry_read`) those devices are not known, so a command for any
device is accepted *in doubt*. When the registry has been read, a command in doubt ends if its device is not
expected. If the registry cannot be read, it ends when the grace is over.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from itertools import takewhile

from transport.commands.in_flight_command import InFlightCommand, insert

REMEMBERED = 100_000
"""Devices that may come back and are remembered: IMEIs are easily invented."""


class OfflineCommands:
    """Commands by device, in stream order, and who is expected back. Times are monotonic seconds."""

    def __init__(self, started_at: float, grace: float) -> None:
        self._until = started_at + grace
        self._grace = grace
        self._ours: set[str] = set()  # as the registry says
        self._reading = True
        self._doubted: dict[InFlightCommand, None] = {}
        self._commands: dict[str, list[InFlightCommand]] = {}
        self._left_at: OrderedDict[str, float] = OrderedDict()  # whoever left first comes first

    @property
    def imeis(self) -> list[str]:
        """Devices that commands wait for."""
        return list(self._commands)

    def left(self, imei: str, now: float) -> None:
        """The device's connection closed at `now`."""
        self._left_at.pop(imei, None)
        self._left_at[imei] = now
        if len(self._left_at) > REMEMBERED:
            self._left_at.popitem(last=False)

    def expected(self, imei: str, now: float) -> bool:
        """Whether the device is expected back."""
        if now < self._left_at.get(imei, float("-inf")) + self._grace:
            return True
        return now < self._until and (self._reading or imei in self._ours)

    def begin(self, now: float) -> None:
        """Devices can connect from `now` on: the grace of the start begins."""
        self._until = now + self._grace

    # Devices that were connected before the start

    def wants_registry(self, now: float) -> bool:
        """Whether the registry still has to be read."""
        return self._reading and now < self._until

    def expect(self, imeis: Iterable[str]) -> None:
        """These devices are registered for this instance."""
        self._ours.update(imeis)

    def registry_read(self, now: float) -> list[InFlightCommand]:
        """The registry has been read; returns the commands in doubt whose device is not expected."""
        self._reading = False
        doubted, self._doubted = self._doubted, {}
        waiting = [in_flight for in_flight in doubted if self.has(in_flight)]
        return [in_flight for in_flight in waiting if not self.expected(in_flight.request.imei, now)]

    def doubt(self, in_flight: InFlightCommand) -> None:
        """`in_flight` was accepted although it is not known whether its device is expected."""
        if self._reading:
            self._doubted[in_flight] = None

    def trust(self, in_flight: InFlightCommand) -> None:
        """`in_flight` was accepted by an earlier process: it is not in doubt."""
        self._doubted.pop(in_flight, None)

    # Commands that wait

    def count(self, imei: str) -> int:
        """How many commands wait for the device."""
        return len(self._commands.get(imei, ()))

    def add(self, in_flight: InFlightCommand) -> None:
        """`in_flight` waits for its device."""
        insert(self._commands.setdefault(in_flight.request.imei, []), in_flight)

    def take(self, imei: str) -> list[InFlightCommand]:
        """The device has connected: its commands, in stream order."""
        self._left_at.pop(imei, None)
        return self._commands.pop(imei, [])

    def waiting(self, imei: str) -> list[InFlightCommand]:
        """The commands that wait for the device."""
        return list(self._commands.get(imei, ()))

    def has(self, in_flight: InFlightCommand) -> bool:
        """Whether `in_flight` waits here."""
        return in_flight in self._commands.get(in_flight.request.imei, ())

    def discard(self, in_flight: InFlightCommand) -> None:
        """`in_flight` does not wait any more."""
        commands = self._commands.get(in_flight.request.imei)
        if commands and in_flight in commands:
            commands.remove(in_flight)
            if not commands:
                del self._commands[in_flight.request.imei]

    def forget(self, now: float) -> None:
        """Forget devices that are not expected any more."""
        over = list(takewhile(lambda imei: now >= self._left_at[imei] + self._grace, self._left_at))
        for imei in over:
            del self._left_at[imei]
        if now >= self._until:
            self._ours.clear()
