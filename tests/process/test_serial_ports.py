"""Trackers whose serial port speaks, with commands under way: the process, and bytes from the field."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.process.gateway import IMEI, KEYS, Bus, Device, Gateway, until
from tests.serial_port import BUFFERED, MERGED, SENSOR, SENSOR_TEXT, WRONG_SIZE
from transport.teltonika.frame import CODEC_12, CODEC_14

Start = Callable[..., Gateway]
PlugIn = Callable[..., Device]
SPEECH = [
    pytest.param(SENSOR, id="codec 12"),
    pytest.param(BUFFERED, id="codec 13"),
    pytest.param(MERGED, id="merged"),
]


def texts(bus: Bus) -> list[str]:
    return [fields["text"] for _, fields in bus.client.xrange(KEYS.messages)]


@pytest.fixture
def talker(start: Start, plug_in: PlugIn, bus: Bus) -> Device:
    """A device that has spoken once."""
    device = plug_in(start(response_timeout=0.3, drain_timeout=0.5)).ready()
    device.send(BUFFERED)
    until(lambda: bus.client.sismember(KEYS.serial, IMEI), "the device in the set")
    return device


@pytest.mark.parametrize("speech", SPEECH)
def test_what_the_port_says_is_no_answer_to_a_command(talker: Device, bus: Bus, speech: bytes) -> None:
    bus.ask("c1", response_timeout="30")
    assert talker.command().codec == CODEC_14
    talker.send(speech + WRONG_SIZE)
    talker.answer("the true answer", CODEC_14)
    assert bus.ended("c1")[-1] == "responded answered"
    events = bus.events("c1")
    assert (events[-1]["response"], events[-1]["attribution"]) == ("the true answer", "certain")
    assert [event["codec"] for event in events] == ["14", "14", "14"]
    assert bus.client.hget(KEYS.ledger("c1"), "codec") == "14"


@pytest.mark.parametrize("speech", SPEECH)
def test_serial_port_data_clears_no_taint(talker: Device, bus: Bus, speech: bytes) -> None:
    bus.ask("c1")
    talker.command()
    assert bus.ended("c1")[-1].startswith("timeout response_timeout")
    talker.send(speech)
    talker.answer("late", CODEC_14)
    assert bus.note("late_response")["command_id"] == "c1"
    bus.ask("c2", response_timeout="30")
    talker.command()
    talker.answer("mine", CODEC_14)
    assert bus.ended("c2")[-1] == "responded answered"
    assert bus.events("c2")[-1]["response"] == "mine"


@pytest.mark.parametrize("speech", SPEECH)
def test_a_forced_codec_12_that_is_late_ends_with_its_connection(
    talker: Device, bus: Bus, speech: bytes
) -> None:
    bus.ask("c1", codec="12")
    assert talker.command().codec == CODEC_12
    bus.ended("c1")
    talker.send(speech)
    bus.ask("c2", response_timeout="30")
    assert talker.rest() == b""
    assert bus.life("c2") == ["queued not_sent"]


def test_an_answer_to_a_forced_codec_12_is_uncertain(talker: Device, bus: Bus) -> None:
    bus.ask("c1", codec="12", response_timeout="30")
    talker.command()
    talker.send(SENSOR)
    assert bus.ended("c1")[-1] == "responded answered"
    event = bus.events("c1")[-1]
    assert (event["response"], event["attribution"], event["codec"]) == (SENSOR_TEXT, "uncertain", "12")


def test_a_device_named_by_the_operator_is_known_at_once(start: Start, plug_in: PlugIn, bus: Bus) -> None:
    device = plug_in(start()).ready()
    bus.client.sadd(KEYS.serial, IMEI)
    bus.ask("c1")
    message = device.command()
    device.answer("OK", message.codec)
    bus.ended("c1")
    assert (message.codec, [event["codec"] for event in bus.events("c1")]) == (CODEC_14, ["12", "14", "14"])


def test_a_device_is_known_to_every_gateway_from_its_registration(
    start: Start, plug_in: PlugIn, bus: Bus
) -> None:
    first, second = start(), start("gw-2")
    with Device(first) as device:
        device.ready().send(SENSOR)
        until(lambda: bus.client.sismember(KEYS.serial, IMEI), "the device in the set")
    device = plug_in(second).ready()
    until(lambda: bus.holder() == "gw-2", "the device at the other gateway")
    bus.ask("c1", to="gw-2", codec="null")
    assert device.command().codec == CODEC_14
    assert [event["codec"] for event in bus.events("c1")] == ["14", "14"]


def test_a_waiting_command_follows_its_device_without_a_codec(
    start: Start, plug_in: PlugIn, bus: Bus
) -> None:
    first, second = start(), start("gw-2")
    with Device(first) as device:
        device.ready()
    until(lambda: bus.holder() is None, "nobody holds the device")
    bus.ask("c1")
    bus.reached("c1", "queued")
    bus.client.sadd(KEYS.serial, IMEI)
    moved = plug_in(second).ready()
    assert moved.command().codec == CODEC_14
    moved.answer("OK", CODEC_14)
    bus.ended("c1")
    assert [event["codec"] for event in bus.events("c1")][1:] == ["14", "14"]


def test_after_a_kill_the_codec_used_is_published(start: Start, plug_in: PlugIn, bus: Bus) -> None:
    gateway = start()
    bus.client.sadd(KEYS.serial, IMEI)
    device = plug_in(gateway).ready()
    bus.ask("c1")
    assert device.command().codec == CODEC_14
    gateway.kill()
    start()
    assert bus.ended("c1")[-1] == "failed gateway_restart maybe_sent"
    assert bus.events("c1")[-1]["codec"] == "14"


def test_sixty_messages_are_kept_and_thirty_published(talker: Device, bus: Bus) -> None:
    for _ in range(60):
        talker.send(SENSOR)
    talker.report()
    until(lambda: texts(bus).count(SENSOR_TEXT) == 60, "all messages")
    bus.ask("c1")
    bus.reached("c1", "sent")
    assert len([note for note in bus.log("note") if note["note"] == "unsolicited_response"]) == 30


@pytest.mark.parametrize("spelt", ["true", "false"])
def test_a_boolean_of_a_template_is_understood(start: Start, plug_in: PlugIn, bus: Bus, spelt: str) -> None:
    device = plug_in(start()).ready()
    bus.ask("c1", expect_response=spelt)
    device.command()
    if spelt == "true":
        device.answer("OK")
    assert bus.ended("c1")[-1].startswith("responded" if spelt == "true" else "delivered")
