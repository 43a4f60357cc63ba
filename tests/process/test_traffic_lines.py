"""What the log says of the traffic at the level debug, and what it must not say."""

from __future__ import annotations

from collections.abc import Callable

from tests.process.gateway import IMEI, Bus, Device, Gateway

Start = Callable[..., Gateway]
SECRET = "setparam 2001:s3cret"


def test_each_frame_is_a_line_and_no_text_is_logged(start: Start, bus: Bus) -> None:
    gateway = start(log_level="debug")
    with Device(gateway) as device:
        device.ready()
        bus.ask("c-1", payload=SECRET)
        device.obey()
        assert bus.ended("c-1")[-1] == "responded answered"
    gateway.said("handshake_received", claims=IMEI)
    gateway.said("handshake_answered", imei=IMEI, accepted=True)
    gateway.said("frame_received", imei=IMEI, codec="8", records=1)
    gateway.said("frame_acknowledged", imei=IMEI, records=1)
    gateway.said("command_written", imei=IMEI, command_id="c-1")
    answer = gateway.said("messages_received", imei=IMEI)
    assert answer["messages"] == [f"codec 12, type 06, {len(SECRET)} bytes"]
    assert "s3cret" not in str(gateway.lines)


def test_no_frame_is_a_line_at_info(start: Start) -> None:
    gateway = start()
    with Device(gateway) as device:
        device.ready()
    gateway.said("session_closed")
    assert not gateway.said_before("frame_received")
