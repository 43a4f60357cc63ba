"""Why a command has not ended: what it waits for, as far as Redis shows it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import StrEnum

from fsm.command import SENT
from fsm.session import IDENTIFIED, TAINTED
from store.fleet.devices import Device
from store.ledger.open_commands import UNREAD, OpenCommand


class Wait(StrEnum):
    """What a command waits for."""

    GATEWAY = "gateway"
    """Its gateway has no heartbeat; another one ends the command or takes it over."""
    READER = "reader"
    """Its gateway has not read it yet."""
    DEVICE = "device"
    """The device is not connected."""
    HANDOVER = "handover"
    """Another gateway holds the device."""
    ANSWER = "answer"
    """It was sent, and the device has not answered."""
    IDENTITY = "identity"
    """It is doubtful who the device is, since it has changed hands."""
    LATE_ANSWER = "late_answer"
    """The connection owes the answer to a command that has ended."""
    EARLIER_COMMAND = "earlier_command"
    """An earlier command for the device has not ended."""
    PARKED = "parked"
    """The device is connected nowhere, and the command is to wait for it."""
    FIRST_RECORDS = "first_records"
    """The device has connected and not reported yet."""
    TURN = "turn"
    """Nothing else: it is written as soon as all records of the device are acknowledged."""


def wait_of(command: OpenCommand, device: Device, alive: Collection[str]) -> Wait:
    """What `command` of `device` waits for; `alive` are the instances with a heartbeat."""
    if not command.instance_id:
        return Wait.PARKED
    if command.instance_id not in alive:
        return Wait.GATEWAY
    if command.state == UNREAD:
        return Wait.READER
    if command.state == SENT:
        return Wait.ANSWER
    if not device.online:
        return Wait.DEVICE
    if device.instance_id != command.instance_id:
        return Wait.HANDOVER
    return _wait_on(device, command)


def _wait_on(device: Device, command: OpenCommand) -> Wait:
    """What a queued command waits for whose device is connected to its gateway."""
    state = device.current.state if device.current else ""
    if device.hold is not None:
        return Wait.IDENTITY
    if state == TAINTED:
        return Wait.LATE_ANSWER
    if ahead(command, device.commands):
        return Wait.EARLIER_COMMAND
    return Wait.FIRST_RECORDS if state == IDENTIFIED else Wait.TURN


def ahead(command: OpenCommand, commands: Sequence[OpenCommand]) -> list[OpenCommand]:
    """The commands of the same device and gateway that come before `command`."""
    same = [other for other in commands if other.instance_id == command.instance_id]
    return [other for other in same if other.order < command.order]
