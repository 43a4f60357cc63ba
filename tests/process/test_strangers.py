"""Strangers who connect without end: what they push out of the log, and what not."""

from __future__ import annotations

import socket
from collections.abc import Callable

from tests.process.gateway import KEYS, TIME_LIMIT, Bus, Device, Gateway, until

Start = Callable[..., Gateway]
PlugIn = Callable[..., Device]
MAXLEN = 400


def connect_and_leave(gateway: Gateway, number: int) -> None:
    """A stranger from one of ten addresses says an IMEI of its own, is accepted, and leaves."""
    here = (f"127.0.0.{2 + number % 10}", 0)
    sock = socket.create_connection(("127.0.0.1", int(gateway.port)), TIME_LIMIT, here)
    with Device(gateway, f"3579{number:011d}", sock) as stranger:
        stranger.hello()


def test_no_number_of_strangers_removes_an_unread_verdict(start: Start, plug_in: PlugIn, bus: Bus) -> None:
    gateway = start(responses_maxlen=MAXLEN, janitor_interval="0.1", session_events_rate=0)
    device = plug_in(gateway).ready()
    bus.client.xgroup_create(KEYS.responses, "consumer", "0")
    commands = ["c-1", "c-2", "c-3"]
    for begin, command in enumerate(commands):
        bus.ask(command)
        device.command()
        device.answer()
        assert bus.ended(command)[-1] == "responded answered"
        for number in range(300):
            connect_and_leave(gateway, 300 * begin + number)
    gateway.said("trimmed_unread", stream="unasked")
    until(lambda: bus.client.xlen(KEYS.responses) <= MAXLEN, "trimmed to the cap")
    [(_, entries)] = bus.client.xreadgroup("consumer", "reader", {KEYS.responses: ">"})
    events = [fields for _, fields in entries if fields["kind"] == "command"]
    verdicts = [event["command_id"] for event in events if event["terminal"] == "1"]
    assert verdicts == commands
    assert not [line for line in gateway.lines if line.get("stream") == "responses"]
