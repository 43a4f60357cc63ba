"""Records go up: bytes on a socket become entries, and only then an acknowledgement."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.process.gateway import IMEI, KEYS, TELEMETRY, Bus, Device, Gateway, until
from tests.rig.rights import rules
from tests.serial_port import (
    BUFFERED,
    BUFFERED_AT,
    BUFFERED_TEXT,
    MERGED,
    MERGED_TEXTS,
    SENSOR,
    SENSOR_TEXT,
    WRONG_SIZE,
    spoken,
)
from transport.teltonika.frame import encode_frame

# The examples of Teltonika's wiki.
CODEC_8E = bytes.fromhex(
    "000000000000004A8E010000016B412CEE000100000000000000000000000000000000010005000100010100010011001D0001"
    "0010015E2C880002000B000000003544C87A000E000000001DD7E06A00000100002994"
)
CODEC_16 = bytes.fromhex(
    "000000000000005F10020000016BDBC7833000000000000000000000000000000000000B05040200010000030002000B002700"
    "42563A00000000016BDBC7871800000000000000000000000000000000000B05040200010000030002000B00260042563A0000"
    "0200005FB3"
)
NOWHERE = {
    "priority": 0,
    "longitude": 0.0,
    "latitude": 0.0,
    "altitude": 0,
    "angle": 0,
    "satellites": 0,
    "speed": 0,
}
RECORDS: dict[str, tuple[bytes, list[dict[str, Any]]]] = {
    "8": (
        TELEMETRY,
        [
            NOWHERE
            | {
                "timestamp": 1560161086000,
                "priority": 1,
                "event_id": 1,
                "io": {"21": 3, "1": 1, "66": 24079, "241": 24602, "78": 0},
            }
        ],
    ),
    "8E": (
        CODEC_8E,
        [
            NOWHERE
            | {
                "timestamp": 1560166592000,
                "priority": 1,
                "event_id": 1,
                "io": {"1": 1, "17": 29, "16": 22949000, "11": 893700218, "14": 500686954},
            }
        ],
    ),
    "16": (
        CODEC_16,
        [
            NOWHERE
            | {
                "timestamp": 1562760414000 + 1000 * number,
                "event_id": 11,
                "generation_type": 5,
                "io": {"1": 0, "3": 0, "11": value, "66": 22074},
            }
            for number, value in enumerate((39, 38))
        ],
    ),
}


@pytest.mark.parametrize("codec", RECORDS)
def test_a_frame_becomes_entries_before_it_is_acknowledged(
    codec: str, start: Callable[..., Gateway], plug_in: Callable[..., Device], bus: Bus
) -> None:
    frame, records = RECORDS[codec]
    device = plug_in(start()).hello()
    before = time.time() * 1000
    device.report(frame, len(records))
    entries = [fields for _, fields in bus.client.xrange(KEYS.telemetry)]
    after = time.time() * 1000
    for fields, record in zip(entries, records, strict=True):
        assert json.loads(fields.pop("data")) == record
        assert before - 1000 <= int(fields.pop("received_at")) <= after + 1000
        assert fields.pop("session_id") == bus.client.hget(KEYS.sessions, IMEI).partition(" ")[0]
        assert fields == {"imei": IMEI, "codec": codec, "instance_id": "gw-1"}


def test_frames_are_acknowledged_only_with_redis(
    start: Callable[..., Gateway], plug_in: Callable[..., Device], bus: Bus
) -> None:
    device = plug_in(start()).ready()
    bus.client.config_set("maxmemory", 1)
    device.send(TELEMETRY)
    assert device.silent(0.3)
    bus.client.config_set("maxmemory", 0)
    device.report(count=1)
    until(lambda: bus.client.xlen(KEYS.telemetry) == 3)


def test_a_frame_that_cannot_be_decoded_is_kept_and_acknowledged(
    start: Callable[..., Gateway], plug_in: Callable[..., Device], bus: Bus
) -> None:
    body = b"\x08\x02" + b"\x00" * 10 + b"\x02"
    plug_in(start()).hello().report(encode_frame(body), 2)
    [(_, fields)] = bus.client.xrange(KEYS.undecodable)
    assert (fields["imei"], fields["frame"].encode("latin-1")) == (IMEI, body)


# What devices say by themselves


def test_what_a_serial_port_says_is_kept_and_not_acknowledged(
    start: Callable[..., Gateway], plug_in: Callable[..., Device], bus: Bus
) -> None:
    device = plug_in(start()).ready()
    device.send(SENSOR + BUFFERED + MERGED + WRONG_SIZE)
    device.report()
    entries = [fields for _, fields in bus.client.xrange(KEYS.messages)]
    assert all(abs(time.time() * 1000 - int(fields.pop("received_at"))) < 60_000 for fields in entries)
    [session] = [event["session_id"] for event in bus.log("session") if event["state"] == "identified"]
    who = {"imei": IMEI, "instance_id": "gw-1", "session_id": session, "type": "06"}
    assert entries == [
        who | {"codec": "12", "text": SENSOR_TEXT},
        who | {"codec": "13", "text": BUFFERED_TEXT, "at": str(BUFFERED_AT)},
        *(who | {"codec": "12", "text": text} for text in MERGED_TEXTS),
    ]
    [(_, odd)] = bus.client.xrange(KEYS.undecodable)
    assert (odd["codec"], odd["reason"], odd["session_id"]) == ("12", "size", session)
    assert bus.client.smembers(KEYS.serial) == {IMEI}
    assert device.silent()


def test_a_thousand_messages_a_minute_are_kept_in_order(
    start: Callable[..., Gateway], plug_in: Callable[..., Device], bus: Bus
) -> None:
    device = plug_in(start()).ready()
    texts = [f"line {number}" for number in range(1000)]
    device.send(b"".join(spoken(12, text.encode()) for text in texts))
    device.report()
    assert [fields["text"] for _, fields in bus.client.xrange(KEYS.messages)] == texts


def test_records_are_acknowledged_without_the_right_to_messages(
    start: Callable[..., Gateway], plug_in: Callable[..., Device], bus: Bus
) -> None:
    words = rules()["gateway"]
    device = plug_in(start()).ready()
    rights = [word for word in words[3:] if word not in (f"~{KEYS.messages}", f"~{KEYS.serial}")]
    bus.client.execute_command(*words[:3], *rights)
    device.send(SENSOR)
    device.report()
    device.send(BUFFERED)
    device.report()
    bus.client.execute_command(*words)
    device.send(MERGED)
    device.report()
    until(lambda: bus.client.xlen(KEYS.messages) == 2)
    bus.client.execute_command("ACL", "LOG", "RESET")
