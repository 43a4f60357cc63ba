"""Commands go down: what the log says of each, event by event, and that the next one is always served."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.process.gateway import IMEI, KEYS, TELEMETRY, Bus, Device, Gateway, until
from transport.teltonika.command import TYPE_COMMAND, Message
from transport.teltonika.frame import CODEC_12, CODEC_14

OTHER_IMEI = "352093081452252"

Start = Callable[..., Gateway]
PlugIn = Callable[..., Device]


@pytest.mark.parametrize("codec", ["12", "14"])
def test_a_command_goes_down_and_its_answer_comes_up(
    codec: str, start: Start, plug_in: PlugIn, bus: Bus
) -> None:
    device = plug_in(start()).ready()
    entry_id = bus.ask(
        "c-1", payload="  getver s3cret", codec=codec, requested_by="anna", correlation_id="42"
    )
    message = device.command()
    number = {"12": CODEC_12, "14": CODEC_14}[codec]
    assert message == Message(number, TYPE_COMMAND, b"  getver s3cret", IMEI if codec == "14" else None)
    device.answer("Ver:03.27.07", number)
    assert bus.ended("c-1") == ["queued not_sent", "sent maybe_sent", "responded answered"]
    events = bus.events("c-1")
    for event in events:
        assert (event["instance_id"], event["outbound_id"], event["codec"]) == ("gw-1", entry_id, codec)
        assert (event["requested_by"], event["correlation_id"]) == ("anna", "42")
        assert event["verb"] == "getver"
        assert "s3cret" not in str(event)
    assert (events[-1]["response"], events[-1]["outcome"]) == ("Ver:03.27.07", "responded")
    assert 0 <= int(events[-1]["rtt_ms"]) <= int(events[-1]["age_ms"]) < 15_000
    bus.empty()


def test_twenty_commands_go_one_at_a_time_and_in_order(start: Start, plug_in: PlugIn, bus: Bus) -> None:
    device = plug_in(start()).ready()
    names = [f"c-{number}" for number in range(20)]
    for name in names:
        bus.ask(name)
    for name in names:
        assert device.command().payload.decode() == name
        assert device.silent(0.02)
        device.answer(f"answer to {name}")
    for name in names:
        assert bus.ended(name)[-1] == "responded answered"
        assert bus.events(name)[-1]["response"] == f"answer to {name}"
    bus.empty()


def test_a_device_refuses_a_command(start: Start, plug_in: PlugIn, bus: Bus) -> None:
    device = plug_in(start()).ready()
    bus.ask("c-1", codec="14")
    device.command()
    device.nack()
    assert bus.ended("c-1")[-1] == "failed nack answered"
    assert bus.events("c-1")[-1]["outcome"] == "failed"


def test_a_late_answer_is_not_given_to_the_next_command(start: Start, plug_in: PlugIn, bus: Bus) -> None:
    device = plug_in(start()).ready()
    bus.ask("slow", response_timeout="0.2")
    device.command()
    bus.ask("next")
    assert bus.ended("slow")[-1].startswith("timeout response_timeout ")
    assert device.silent(0.05)
    device.answer("from slow")
    assert device.obey() == "next"
    assert bus.ended("next")[-1] == "responded answered"
    note = bus.note("late_response")
    assert (note["command_id"], note["response"]) == ("slow", "from slow")
    assert bus.events("next")[-1]["response"] == "next"


def test_a_device_that_never_answers_is_disconnected_first(start: Start, plug_in: PlugIn, bus: Bus) -> None:
    gateway = start(drain_timeout=0.3)
    device = plug_in(gateway).ready()
    bus.ask("slow", response_timeout="0.1")
    device.command()
    bus.ask("next")
    assert device.rest() == b""
    gateway.said("session_closed", reason="tainted")
    back = plug_in(gateway).ready()
    assert back.obey() == "next"
    assert bus.ended("next")[-1] == "responded answered"


def test_success_can_be_that_the_device_has_it(start: Start, plug_in: PlugIn, bus: Bus) -> None:
    device = plug_in(start()).ready()
    bus.ask("c-1", expect_response="0")
    device.command()
    assert bus.ended("c-1")[-1] == "delivered received"


def test_a_command_is_called_off_until_it_is_out(start: Start, plug_in: PlugIn, bus: Bus) -> None:
    device = plug_in(start()).ready()
    bus.ask("out")
    bus.ask("waiting")
    bus.reached("waiting", "queued")
    device.command()
    bus.cancel("waiting")
    assert bus.ended("waiting") == ["queued not_sent", "failed cancelled not_sent"]
    bus.cancel("out")
    assert bus.note("cancel_rejected")["detail"] == "sent"
    device.answer()
    bus.ended("out")
    bus.cancel("out")
    bus.cancel("nobody")
    until(lambda: len(bus.log("note")) == 3, "three notes")
    assert [note["detail"] for note in bus.log("note")] == ["sent", "terminal", "unknown"]
    bus.empty()


def test_a_command_expires_while_it_waits(start: Start, plug_in: PlugIn, bus: Bus) -> None:
    device = plug_in(start()).ready()
    bus.ask("out")
    device.command()
    bus.ask("late", expires_at=str(round(time.time() * 1000) + 300))
    bus.ask("later", expires_at="2020-01-01T00:00:00Z")
    assert bus.ended("late") == ["queued not_sent", "timeout expired not_sent"]
    assert bus.ended("later") == ["timeout expired not_sent"]
    device.answer()
    assert device.silent(0.05)
    bus.empty()


def test_a_device_that_is_not_connected_is_reported(start: Start, bus: Bus) -> None:
    bus.client.hset(KEYS.registry, OTHER_IMEI, "gw-2")
    bus.ask("before")
    start()
    asked = time.monotonic()
    bus.ask("after")
    bus.ask("elsewhere", OTHER_IMEI)
    for name in ("before", "after", "elsewhere"):
        assert bus.ended(name)[-1] == "failed device_not_connected not_sent"
    assert bus.life("after") == ["failed device_not_connected not_sent"]
    assert time.monotonic() - asked < 10
    bus.empty()


def test_a_device_registered_before_the_start_is_expected(start: Start, plug_in: PlugIn, bus: Bus) -> None:
    others = {f"35{number:013d}": f"gw-{number % 7 + 2}" for number in range(20_000)}
    bus.client.hset(KEYS.registry, mapping=others | {IMEI: "gw-1"})
    bus.ask("waits")
    bus.ask("refused", OTHER_IMEI)
    gateway = start()
    assert bus.ended("refused")[-1] == "failed device_not_connected not_sent"
    assert bus.life("waits") == ["queued not_sent"]
    plug_in(gateway).ready().obey()
    assert bus.ended("waits")[-1] == "responded answered"


def test_a_frame_that_has_begun_is_never_interrupted(start: Start, plug_in: PlugIn, bus: Bus) -> None:
    device = plug_in(start()).ready()
    device.send(TELEMETRY[:30])
    bus.ask("c-1")
    bus.reached("c-1", "queued")
    assert device.silent(0.1)
    device.report(TELEMETRY[30:])
    assert device.obey() == "c-1"
    assert bus.ended("c-1")[-1] == "responded answered"


BAD: list[tuple[dict[str | bytes, str | bytes], str]] = [
    ({"imei": "123"}, "imei"),
    ({"imei": "35209308145225x"}, "imei"),
    ({"imei": b"\xff\xfe"}, "imei"),
    ({"imei": "undefined"}, "imei"),
    ({"codec": "13"}, "codec"),
    ({"type": "reboot"}, "type"),
    ({"payload": "two\r\nlines"}, "payload"),
    ({"payload": b"caf\xe9"}, "payload"),
    ({"payload": "x" * 513}, "payload"),
    ({"payload": ""}, "payload"),
    ({"payload": b"\x00" * 100_000}, "payload"),
    ({"expires_at": "tomorrow"}, "expires_at"),
    ({"expires_at": "1767225600"}, "expires_at"),
    ({"expires_at": "2999-01-01T00:00:00Z"}, "expires_at"),
    ({"response_timeout": "1e3"}, "response_timeout"),
    ({"expect_response": "yes"}, "expect_response"),
]
UNREADABLE: list[dict[str | bytes, str | bytes]] = [
    {"imei": IMEI, "payload": "getver"},
    {"command_id": "", "payload": "getver"},
    {"command_id": "undefined"},
    {"command_id": "with blanks"},
    {"command_id": b"\xff\xfe", "payload": b"\x80"},
    {"command_id": "x" * 65},
    {b"\xff": b"\xff"},
    {"type": "cancel"},
    {f"field-{number}": "x" for number in range(5000)},
]


def test_invalid_entries_are_answered_and_the_next_is_served(start: Start, plug_in: PlugIn, bus: Bus) -> None:
    device = plug_in(start()).ready()
    for number, (fields, _) in enumerate(BAD):
        bus.ask(f"bad-{number}", **fields)  # type: ignore[arg-type]
    for unreadable in UNREADABLE:
        bus.raw(unreadable)
    bus.ask("good")
    assert device.obey() == "good"
    bus.empty()
    for number, (_, field) in enumerate(BAD):
        assert bus.life(f"bad-{number}") == ["failed invalid_command not_sent"]
        assert bus.events(f"bad-{number}")[0]["detail"].startswith(f"{field}: ")
    letters = [fields for _, fields in bus.client.xrange(KEYS.deadletter)]
    assert len(letters) == len(UNREADABLE)
    assert all(letter["error"].startswith("command_id: ") for letter in letters)
    assert letters[4]["command_id_hex"] == "fffe"
    assert letters[0] == {"error": letters[0]["error"], "imei": IMEI, "payload_length": "6"}


def test_an_id_that_is_used_again_is_ignored(start: Start, plug_in: PlugIn, bus: Bus) -> None:
    device = plug_in(start()).ready()
    bus.ask("c-1")
    bus.ask("c-1", payload="another text")
    bus.ask("c-2")
    assert [device.obey(), device.obey()] == ["c-1", "c-2"]
    bus.ended("c-2")
    assert bus.note("duplicate_ignored")["command_id"] == "c-1"
    bus.empty()


def test_an_unsolicited_answer_is_noted_and_a_ping_is_not(start: Start, plug_in: PlugIn, bus: Bus) -> None:
    device = plug_in(start()).ready()
    device.answer("")
    device.answer("hello")
    assert bus.note("unsolicited_response")["response"] == "hello"
    assert len(bus.log("note")) == 1
