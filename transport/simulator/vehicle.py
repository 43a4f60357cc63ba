"""What the tracker of a simulated vehicle measures, as AVL records."""

from __future__ import annotations

from random import Random

from transport.teltonika.avl import Record
from transport.teltonika.frame import CODEC_8E, CODEC_16

from .route import Position, Route

# IO ids of the manufacturer's car trackers.
DIGITAL_INPUT = 1
ANALOGUE_INPUT = 9
ODOMETER = 16
GSM_SIGNAL = 21
EXTERNAL_VOLTAGE = 66
BATTERY_VOLTAGE = 67
DIGITAL_OUTPUT_1 = 179
DIGITAL_OUTPUT_2 = 180
IGNITION = 239
MOVEMENT = 240
VIN = 256

WIDTHS = {
    DIGITAL_INPUT: 1,
    GSM_SIGNAL: 1,
    DIGITAL_OUTPUT_1: 1,
    DIGITAL_OUTPUT_2: 1,
    IGNITION: 1,
    MOVEMENT: 1,
    ANALOGUE_INPUT: 2,
    EXTERNAL_VOLTAGE: 2,
    BATTERY_VOLTAGE: 2,
    ODOMETER: 4,
}
"""Size of each value on the wire, in bytes."""
PERIODICAL = 7
"""Generation type of codec 16: periodical."""


class Vehicle:
    """A vehicle on its route. ``outputs`` are its digital outputs by IO id, which commands switch."""

    def __init__(self, imei: str) -> None:
        seed = int(imei)
        self.imei = imei
        self.outputs = {DIGITAL_OUTPUT_1: 0, DIGITAL_OUTPUT_2: 0}
        self.records = 0
        self.readings = 0
        self.position = Position(0.0, 0.0, 0, 0, 0)
        self.satellites = 0
        self._random = Random(seed)
        self._route = Route(seed)
        self._odometer = self._random.uniform(1e6, 2e8)
        self._changed = 0
        self.drive(0)

    @property
    def vin(self) -> str:
        """Vehicle identification number, 17 characters."""
        return f"WVWZZZ1KZ{int(self.imei) % 10**8:08d}"

    def drive(self, seconds: float) -> None:
        """Drive on for `seconds`."""
        self._odometer += self._route.advance(seconds)
        self.position = self._route.position()
        self.satellites = self._random.randint(9, 16)

    def switch(self, output: int, on: bool) -> None:
        """Set a digital output. The next record has it as its event."""
        self.outputs[output] = int(on)
        self._changed = output

    def io(self) -> dict[int, int]:
        """The values of inputs and outputs now: voltages in mV, the odometer in metres."""
        return {
            DIGITAL_INPUT: 1,
            GSM_SIGNAL: self._random.randint(3, 5),
            **self.outputs,
            IGNITION: 1,
            MOVEMENT: int(self.position.speed > 0),
            ANALOGUE_INPUT: self._random.randint(1180, 1260),
            EXTERNAL_VOLTAGE: self._random.randint(13_600, 14_300),
            BATTERY_VOLTAGE: self._random.randint(4_020, 4_110),
            ODOMETER: round(self._odometer) & 0xFFFFFFFF,
        }

    def reading(self) -> bytes:
        """The next message of a sensor on the serial port: a line with a count and a temperature."""
        self.readings += 1
        return b"$SENSOR,%d,%.1f\r\n" % (self.readings, self._random.uniform(2.0, 8.0))

    def record(self, codec: int, timestamp: int) -> Record:
        """One AVL record for `codec` with the time `timestamp` (epoch ms)."""
        io: dict[int, tuple[int, int] | bytes] = {}
        for number, value in self.io().items():
            io[number] = (WIDTHS[number], value)
        if codec == CODEC_8E:
            io[VIN] = self.vin.encode()
        event, self._changed = self._changed, 0
        self.records += 1
        here = self.position
        return Record.of(
            timestamp=timestamp,
            priority=1 if event else 0,
            longitude=here.longitude,
            latitude=here.latitude,
            altitude=here.altitude,
            angle=here.angle,
            satellites=self.satellites,
            speed=here.speed,
            event_id=event,
            generation_type=PERIODICAL if codec == CODEC_16 else None,
            io=io,
        )
