"""What a running gateway writes is what docs/schema says; a consumer may be written from the schema alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from redis import Redis

from tests.process.gateway import IMEI, KEYS, Bus, Device, Gateway, until
from tests.process.test_telemetry import RECORDS
from tests.serial_port import BUFFERED, SENSOR, WRONG_SIZE
from transport.teltonika.frame import encode_frame

SCHEMAS = Path(__file__).parents[2] / "docs" / "schema"
STREAMS = {
    KEYS.responses: "commands-responses.json",
    KEYS.deadletter: "commands-deadletter.json",
    KEYS.telemetry: "telemetry-records.json",
    KEYS.messages: "telemetry-messages.json",
    KEYS.undecodable: "telemetry-undecodable.json",
}


def found_wrong(stream: str, fields: dict[str, str]) -> Iterator[str]:
    """Errors of an entry, by the schema of its stream."""
    document: dict[str, Any] = json.loads((SCHEMAS / STREAMS[stream]).read_text(encoding="utf-8"))
    yield from (error.message for error in Draft202012Validator(document).iter_errors(fields))
    if "data" in fields:
        data = document | {"anyOf": [{"$ref": "#/$defs/RecordData"}]}
        yield from (
            error.message for error in Draft202012Validator(data).iter_errors(json.loads(fields["data"]))
        )


@pytest.mark.timeout(120)
def test_every_entry_of_a_running_gateway_fulfils_its_schema(
    start: Callable[..., Gateway], plug_in: Callable[..., Device], bus: Bus, redis_url: str
) -> None:
    gateway = start(queue_limit=1, allow_verbs=["a-1,a-2,a-3,a-4,a-5,nack,slow"])
    device = plug_in(gateway).hello()
    for frame, records in RECORDS.values():
        device.report(frame, len(records))
    device.report(encode_frame(b"\x08\x02" + bytes(10) + b"\x02"), 2)
    for name in ("a-1", "forbidden"):
        bus.ask(name, correlation_id="order-17")
    device.obey()
    bus.ask("a-1")
    bus.ask("absent", "352093081452252", payload="a-1")
    bus.ask("wrong", codec="8")
    bus.raw({"imei": IMEI, "payload": "a-1"})
    bus.ask("nack", codec="14")
    device.command()
    device.nack()
    bus.ended("nack")
    bus.ask("slow", response_timeout="0.2")
    device.command()
    for name in ("a-2", "a-3"):
        bus.ask(name)
    bus.ended("a-3")
    bus.cancel("a-2")
    assert bus.ended("slow")[-1].startswith("timeout response_timeout")
    bus.cancel("slow")
    device.answer("late")
    bus.note("late_response")
    bus.note("cancel_rejected")
    bus.ask("a-4", expect_response="0")
    device.command()
    bus.ended("a-4")
    device.answer("unasked")
    device.send(SENSOR + BUFFERED + WRONG_SIZE)
    until(lambda: bus.client.xlen(KEYS.undecodable) == 2)
    bus.empty()
    device.socket.close()
    until(lambda: '"closed"' in (bus.client.hget(KEYS.status, IMEI) or ""), "the status of the device")
    until(lambda: bus.log("session")[-1]["state"] == "closed")

    with Redis.from_url(redis_url, protocol=2, decode_responses=True, encoding="latin-1") as client:
        entries = [(stream, fields) for stream in STREAMS for _, fields in client.xrange(stream)]
    assert {stream for stream, _ in entries} == set(STREAMS)
    assert {fields.get("state") for _, fields in entries} >= {
        "queued",
        "sent",
        "responded",
        "delivered",
        "failed",
    }
    status = json.loads((SCHEMAS / "devices-status.json").read_text(encoding="utf-8"))
    told = json.loads(bus.client.hget(KEYS.status, IMEI) or "")
    assert list(Draft202012Validator(status).iter_errors(told)) == []
    wrong = [(stream, fields, list(found_wrong(stream, fields))) for stream, fields in entries]
    assert [one for one in wrong if one[2]] == []
