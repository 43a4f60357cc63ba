"""The answers of a simulated tracker to commands, in the form of real devices."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

from .vehicle import DIGITAL_OUTPUT_1, DIGITAL_OUTPUT_2, Vehicle

UNKNOWN = "WARNING: Not supported Param ID or Value detected"
SILENT = ("cpureset",)
"""Commands that a device executes without an answer."""

Answerer = Callable[[Vehicle, str, datetime], str]


def answer_text(vehicle: Vehicle, command: str, now_ms: int) -> str | None:
    """Execute `command` on `vehicle`; the answer, or None for a command that devices do not answer.

    `now_ms` is the clock of the device, epoch ms.
    """
    verb, _, arguments = command.strip().partition(" ")
    if verb in SILENT:
        return None
    answerer = _ANSWERERS.get(verb)
    if answerer is None:
        return UNKNOWN
    return answerer(vehicle, arguments.strip(), datetime.fromtimestamp(now_ms / 1000, UTC))


def _getinfo(vehicle: Vehicle, _: str, now: datetime) -> str:
    return (
        f"RTC:{now:%Y/%m/%d %H:%M} Init:{now:%Y/%m/%d} 0:0 UpTime:{vehicle.records * 10}s "
        f"PWR:PwrVoltage RST:0 GPS:2 SAT:{vehicle.satellites} TTFF:14 TTLF:2 NOGPS:0:0 "
        f"SR:{vehicle.records} FG:0 FL:0 SMS:0 REC:0 MD:1 DB:0"
    )


def _getver(vehicle: Vehicle, _: str, now: datetime) -> str:
    return (
        f"Ver:03.28.07_00 GPS:AXN_5.10_3333_18102300 Hw:FMB920 Mod:13 IMEI:{vehicle.imei} "
        f"Init:{now:%Y-%m-%d} 0:0 Uptime:{vehicle.records * 10} SPC:1(0) AXL:1 OBD:0 BL:1.10 BT:4"
    )


def _getstatus(vehicle: Vehicle, _: str, now: datetime) -> str:
    return (
        "Data Link: 1 GPRS: 1 Phone: 0 SIM: 0 OP: 24602 Signal: 4 NewSMS: 0 Roaming: 0 SMSFull: 0 "
        f"LAC: 27 Cell ID: {int(vehicle.imei) % 65536} NetType: 1 FwUpd: 0"
    )


def _getgps(vehicle: Vehicle, _: str, now: datetime) -> str:
    here = vehicle.position
    return (
        f"GPS:1 Sat:{vehicle.satellites} Lat:{here.latitude:.6f} Long:{here.longitude:.6f} "
        f"Alt:{here.altitude} Speed:{here.speed} Dir:{here.angle} Date: {now:%Y/%m/%d} Time: {now:%H:%M:%S}"
    )


def _readio(vehicle: Vehicle, arguments: str, _: datetime) -> str:
    values = vehicle.io()
    if not arguments.isdigit() or int(arguments) not in values:
        return UNKNOWN
    return f"IO ID:{arguments} Value:{values[int(arguments)]}"


def _setdigout(vehicle: Vehicle, arguments: str, _: datetime) -> str:
    """``setdigout 1?``: one character per output; ``?`` changes nothing. Durations in seconds may follow."""
    outputs, *seconds = arguments.split() or [""]
    if not re.fullmatch(r"[01?]{1,2}", outputs) or not all(item.isdigit() for item in seconds):
        return UNKNOWN
    parts = []
    for number, output in enumerate((DIGITAL_OUTPUT_1, DIGITAL_OUTPUT_2)[: len(outputs)]):
        parts.append(f"DOUT{number + 1}:{_set(vehicle, output, outputs[number])}")
        parts.append(f"Timeout:{seconds[number] + 's' if number < len(seconds) else 'INFINITY'}")
    return " ".join(parts)


def _set(vehicle: Vehicle, output: int, value: str) -> str:
    if value == "?":
        return "IGNORED"
    vehicle.switch(output, value == "1")
    return value


def _getio(vehicle: Vehicle, _: str, now: datetime) -> str:
    first, second = vehicle.outputs.values()
    return f"DI1:1 DI2:0 DI3:0 AIN1:1220 AIN2:0 DO1:{first} DO2:{second}"


def _getparam(vehicle: Vehicle, arguments: str, _: datetime) -> str:
    return f"Param ID:{arguments} Value:0" if arguments.isdigit() else UNKNOWN


def _setparam(vehicle: Vehicle, arguments: str, _: datetime) -> str:
    """``setparam id:value;id:value``."""
    if not re.fullmatch(r"\d{1,5}:[^;]*(;\d{1,5}:[^;]*)*", arguments):
        return UNKNOWN
    return f"New value {arguments}"


def _deleterecords(vehicle: Vehicle, _: str, now: datetime) -> str:
    return "All records are erased"


_ANSWERERS: dict[str, Answerer] = {
    "getinfo": _getinfo,
    "getver": _getver,
    "getstatus": _getstatus,
    "getgps": _getgps,
    "getio": _getio,
    "readio": _readio,
    "getparam": _getparam,
    "setparam": _setparam,
    "setdigout": _setdigout,
    "deleterecords": _deleterecords,
}
