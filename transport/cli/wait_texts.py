"""What a command waits for, in words."""

from __future__ import annotations

from store.fleet.waits import Wait

WAITS = {
    Wait.GATEWAY: "its gateway has no heartbeat; another one takes over within minutes",
    Wait.READER: "its gateway has not read it yet",
    Wait.DEVICE: "the device is not connected",
    Wait.HANDOVER: "another gateway holds the device and gets it next",
    Wait.ANSWER: "sent, waits for the answer",
    Wait.IDENTITY: "it is doubtful who the device is",
    Wait.LATE_ANSWER: "the connection owes the answer to an earlier command",
    Wait.EARLIER_COMMAND: "an earlier command for the device has not ended",
    Wait.PARKED: "parked until the device connects",
    Wait.FIRST_RECORDS: "the device has not reported yet",
    Wait.TURN: "is next, between two frames of the device",
}
"""By what it waits for; a test holds it complete."""
