"""What a device says by itself is kept, without an acknowledgement, and holds up nobody."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fsm.backlog import LIMIT
from fsm.telemetry import PendingFrame
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
from tests.transport.connection_rig import FRAME, ConnectionRig
from transport.connection.backpressure import UNACKED_LIMIT
from transport.connection.pending import refuse
from transport.teltonika.command import encode_answer
from transport.teltonika.frame import CODEC_14, encode_frame

ANSWER_14 = encode_answer(CODEC_14, "352093081452251", b"hello")


def fields_of(batch: PendingFrame) -> list[dict[str, str]]:
    rows = [msgspec.json.decode(body) for body in batch.bodies]
    return [dict(zip(row[::2], row[1::2], strict=True)) for row in rows]


@pytest.mark.parametrize(
    ("frame", "codec", "kind", "entries"),
    [
        (SENSOR, b"12", "serial", [{"type": "06", "text": SENSOR_TEXT}]),
        (BUFFERED, b"13", "serial", [{"at": str(BUFFERED_AT), "type": "06", "text": BUFFERED_TEXT}]),
        (MERGED, b"12", "serial", [{"type": "06", "text": text} for text in MERGED_TEXTS]),
        (
            spoken(13, b"\x00\xff", b"", kind=5),
            b"13",
            "serial",
            [{"at": str(BUFFERED_AT), "type": "05", **said} for said in ({"hex": "00ff"}, {"text": ""})],
        ),
        (spoken(12, b"\xff\xd8", kind=0x0D), b"12", "serial", [{"type": "0D", "hex": "ffd8"}]),
        (ANSWER_14, b"14", "message", [{"type": "06", "text": "hello"}]),
    ],
    ids=["codec 12", "codec 13", "merged", "merged codec 13", "camera", "codec 14"],
)
async def test_a_device_message_is_stored_and_not_acknowledged(
    connections: ConnectionRig, frame: bytes, codec: bytes, kind: str, entries: list[dict[str, str]]
) -> None:
    connection, transport = connections.ready()
    connection.received(frame)
    [batch] = connections.telemetry.batches
    assert (batch.codec, batch.kind, batch.owed) == (codec, kind, False)
    assert fields_of(batch) == entries
    connections.telemetry.confirm()
    assert (transport.written, connection.closed) == ([], False)


async def test_an_answer_is_not_kept_as_a_message_and_what_follows_it_is(connections: ConnectionRig) -> None:
    connection, _ = connections.ready()
    connections.commands.ask()
    connections.commands.ledger.commit()
    connection.received(spoken(12, b"OK") + SENSOR)
    connections.commands.ledger.commit()
    assert connections.commands.ledger.events("c-1")[-1].response == "OK"
    [batch] = connections.telemetry.batches
    assert fields_of(batch) == [{"type": "06", "text": SENSOR_TEXT}]


async def test_merged_messages_are_no_answer(connections: ConnectionRig) -> None:
    connection, _ = connections.ready()
    connections.commands.ask()
    connections.commands.ledger.commit()
    connection.received(MERGED)
    connections.commands.ledger.commit()
    assert connections.commands.life()[-1] == "sent maybe_sent"
    assert len(connections.telemetry.batches[0].bodies) == 2


async def test_messages_do_not_hold_up_a_command(connections: ConnectionRig) -> None:
    connection, transport = connections.ready()
    connection.received(SENSOR)
    connections.commands.ask()
    connections.commands.ledger.commit()
    assert len(transport.written) == 1


@pytest.mark.parametrize("codec", [0x0C, 0x0D, 0x0E, 0x0F])
async def test_an_unreadable_message_is_kept_and_not_acknowledged(
    connections: ConnectionRig, codec: int
) -> None:
    connection, transport = connections.ready()
    body = bytes((codec, 1, 6, 0, 0, 0, 9)) + b"short" + b"\x01"
    connection.received(encode_frame(body))
    [batch] = connections.telemetry.batches
    assert (batch.kind, batch.reason, batch.codec, batch.bodies) == (
        "undecodable",
        b"size",
        b"%d" % codec,
        [body],
    )
    connections.telemetry.confirm()
    assert (transport.written, connection.closed) == ([], False)


async def test_the_frame_of_a_wrong_size_from_the_field_is_kept(connections: ConnectionRig) -> None:
    connection, _ = connections.ready()
    connection.received(WRONG_SIZE)
    assert [batch.bodies for batch in connections.telemetry.batches] == [[WRONG_SIZE[8:-4]]]


async def test_messages_and_records_are_handed_over_in_order(connections: ConnectionRig) -> None:
    connection, _ = connections.ready()
    connection.received(SENSOR + FRAME + BUFFERED)
    assert [batch.kind for batch in connections.telemetry.batches] == ["serial", "record", "serial"]


async def test_a_close_drops_records_but_keeps_messages(connections: ConnectionRig) -> None:
    connection, _ = connections.ready()
    connection.received(SENSOR + FRAME + WRONG_SIZE)
    connection.connection_lost(None)
    assert [batch.cancelled for batch in connections.telemetry.batches] == [False, True, False]
    for _ in range(3):
        connections.telemetry.confirm()


async def test_a_device_with_many_unstored_messages_is_paused(connections: ConnectionRig) -> None:
    connection, transport = connections.ready()
    for _ in range(UNACKED_LIMIT):
        assert not transport.paused
        connection.received(SENSOR)
    assert transport.paused
    connections.telemetry.confirm()
    connections.at(1)
    assert not transport.paused


async def test_a_full_backlog_pauses_a_device_that_speaks(connections: ConnectionRig) -> None:
    connection, transport = connections.ready()
    connections.context.backlog.bytes = LIMIT + 1
    connection.received(BUFFERED)
    assert transport.paused


async def test_refused_messages_are_counted_and_the_device_stays(connections: ConnectionRig) -> None:
    connection, transport = connections.ready()
    for _ in range(UNACKED_LIMIT - 1):
        connection.received(MERGED)
        refuse(connections.context, connections.telemetry.batches.pop())
    connection.received(SENSOR)
    assert (connection.closed, transport.paused) == (False, False)
    assert _value(connections, "device_messages_lost_total") == 2 * (UNACKED_LIMIT - 1)


async def test_messages_are_counted_by_codec(connections: ConnectionRig) -> None:
    connection, _ = connections.ready()
    connection.received(MERGED + SENSOR + BUFFERED)
    assert _value(connections, "device_messages_total", codec="12") == 3
    assert _value(connections, "device_messages_total", codec="13") == 1


def _value(connections: ConnectionRig, name: str, **labels: Any) -> float | None:
    return connections.commands.metrics.registry.get_sample_value(f"teltonika_{name}", labels)
