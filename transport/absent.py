"""Commands whose device is not connected here: how long they wait, and which devices may come back."""

from __future__ import annotations

from itertools import takewhile

from transport.flight import Flight, insert


class Absent:
    """Flights by device, in stream order, and when a device was last here.

    Times are monotonic seconds. A device that was here within `grace`, or any device within `grace` of the
    start of the process, is expected back.
    """

    def __init__(self, started_at: float, grace: float) -> None:
        self._started_at = started_at
        self._grace = grace
        self._flights: dict[str, list[Flight]] = {}
        self._left_at: dict[str, float] = {}  # whoever left first comes first

    @property
    def imeis(self) -> list[str]:
        """Devices that commands wait for."""
        return list(self._flights)

    def left(self, imei: str, now: float) -> None:
        """The device's connection closed at `now`."""
        self._left_at.pop(imei, None)
        self._left_at[imei] = now

    def expected(self, imei: str, now: float) -> bool:
        """Whether the device may well be back soon."""
        return now < max(self._started_at, self._left_at.get(imei, -self._grace)) + self._grace

    def count(self, imei: str) -> int:
        """How many commands wait for the device."""
        return len(self._flights.get(imei, ()))

    def add(self, flight: Flight) -> None:
        """`flight` waits for its device."""
        flight.lane = None
        insert(self._flights.setdefault(flight.request.imei, []), flight)

    def take(self, imei: str) -> list[Flight]:
        """The device is here: its flights, in stream order."""
        self._left_at.pop(imei, None)
        return self._flights.pop(imei, [])

    def waiting(self, imei: str) -> list[Flight]:
        """The flights that wait for the device."""
        return list(self._flights.get(imei, ()))

    def has(self, flight: Flight) -> bool:
        """Whether `flight` waits here."""
        return flight in self._flights.get(flight.request.imei, ())

    def discard(self, flight: Flight) -> None:
        """`flight` waits no longer."""
        flights = self._flights.get(flight.request.imei)
        if flights and flight in flights:
            flights.remove(flight)
            if not flights:
                del self._flights[flight.request.imei]

    def forget(self, now: float) -> None:
        """Drop the memory of devices that are not expected any more."""
        over = list(takewhile(lambda imei: now >= self._left_at[imei] + self._grace, self._left_at))
        for imei in over:
            del self._left_at[imei]
