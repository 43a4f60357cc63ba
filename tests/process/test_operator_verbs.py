"""What an operator asks beside a gateway process, as they ask it: verbs as processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.process.gateway import IMEI, Bus, Device, Gateway, until

Start = Callable[..., Gateway]
PlugIn = Callable[..., Device]
Ask = Callable[..., tuple[int, list[dict[str, Any]]]]


def test_an_operator_sees_devices_commands_and_what_became_of_them(
    start: Start, plug_in: PlugIn, bus: Bus, ask: Ask
) -> None:
    gateway = start(heartbeat_interval=0.5, heartbeat_ttl=2)
    device = plug_in(gateway).ready()
    until(lambda: ask("devices")[1][0]["state"] == "online", "the device online")
    bus.ask("c-1")
    device.command()
    [command] = ask("commands")[1]
    assert (command["command_id"], command["state"], command["waits_for"]) == ("c-1", "sent", "answer")
    assert ask("devices", IMEI)[1][0]["commands"][0]["command_id"] == "c-1"
    gateway.kill()
    until(lambda: ask("devices", "--online")[0] == 4, "the device of the dead gateway offline")
    start(heartbeat_interval=0.5, heartbeat_ttl=2)
    assert bus.ended("c-1")[-1].startswith("failed gateway_restart")
    [ended] = ask("commands", "--failed", "--reason", "gateway_restart")[1]
    assert (ended["command_id"], ended["delivery"]) == ("c-1", "maybe_sent")
    states = [one["state"] for one in ask("history", "--imei", IMEI)[1] if one["kind"] == "command"]
    assert states == ["queued", "sent", "failed"]
    assert [one["state"] for one in ask("watch", "--no-follow", "--state", "failed")[1]] == ["failed"]
