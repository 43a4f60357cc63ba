"""A simulated tracker against a server that speaks the protocol with the codec functions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from transport.simulator import Behaviour, Tracker
from transport.simulator.answers import UNKNOWN, answer_text
from transport.simulator.downlink import Downlink, DownlinkFault
from transport.simulator.route import Route
from transport.simulator.vehicle import DIGITAL_OUTPUT_1, VIN, Vehicle
from transport.teltonika.avl import Record, decode_avl, encode_ack, encode_avl
from transport.teltonika.command import (
    TYPE_ANSWER,
    TYPE_NACK,
    Message,
    decode_message,
    decode_messages,
    encode_command,
    encode_serial,
)
from transport.teltonika.frame import (
    AVL_CODECS,
    CODEC_8,
    CODEC_8E,
    CODEC_12,
    CODEC_13,
    CODEC_14,
    CODEC_16,
    PACKET_LIMIT,
    BadFrame,
    FrameReader,
)
from transport.teltonika.handshake import ACCEPT, REJECT, HandshakeReader

IMEI = "352093081452251"
NOW = 1_760_000_000_000


class Gateway:
    """The far end of the wire: acknowledges what `ack` says and keeps everything it read."""

    def __init__(self) -> None:
        self.host, self.port = "127.0.0.1", 0
        self.accept = ACCEPT
        self.ack: Callable[[int], int] = lambda count: count
        self.imeis: list[str] = []
        self.frames: list[list[Record]] = []
        self.answers: asyncio.Queue[Message] = asyncio.Queue()
        self.serial: list[list[Message]] = []
        self.pings = 0
        self.writer: asyncio.StreamWriter | None = None
        self._serving: set[asyncio.Task[None]] = set()

    def accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._serving.add(task)

    async def close(self) -> None:
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        try:
            with suppress(ConnectionError):
                await self._talk(reader, writer)
        finally:
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handshake, frames = HandshakeReader(), FrameReader()
        imei = None
        while imei is None:
            imei = handshake.feed(await reader.readexactly(1))
        self.imeis.append(imei)
        writer.write(self.accept)
        while data := await reader.read(4096):
            for body in frames.feed(data):
                assert not isinstance(body, BadFrame)
                self._take(body, writer)
            self.pings = frames.pings

    def _take(self, body: bytes, writer: asyncio.StreamWriter) -> None:
        if body[0] not in AVL_CODECS and (body[0] == CODEC_13 or body[1] > 1):
            self.serial.append(decode_messages(body))
            return
        if body[0] not in AVL_CODECS:
            self.answers.put_nowait(decode_message(body))
            return
        self.frames.append(decode_avl(body))
        if acked := self.ack(len(self.frames[-1])):
            writer.write(encode_ack(acked))

    def command(self, text: str, codec: int = CODEC_12, imei: str = IMEI) -> None:
        assert self.writer is not None
        self.writer.write(encode_command(codec, imei, text.encode()))


@asynccontextmanager
async def running(
    behaviour: Behaviour, gateway: Gateway | None = None
) -> AsyncIterator[tuple[Gateway, Tracker]]:
    """A gateway, and a tracker that lives against it."""
    gateway = gateway or Gateway()
    server = await asyncio.start_server(gateway.accepted, gateway.host, 0)
    gateway.port = server.sockets[0].getsockname()[1]
    tracker = Tracker(IMEI, gateway.host, gateway.port, behaviour, now_ms=lambda: NOW)
    life = asyncio.ensure_future(tracker.run())
    try:
        yield gateway, tracker
    finally:
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)
        await gateway.close()
        server.close()


def ready(tracker: Tracker) -> bool:
    return tracker.counters.records_acked > 0


@pytest.mark.parametrize("codec", [CODEC_8, CODEC_8E, CODEC_16])
async def test_records_of_every_codec_arrive_unchanged(codec: int) -> None:
    async with running(Behaviour(codec=codec, records_per_frame=3)) as (gateway, tracker):
        await tracker.reached(ready)
        records = gateway.frames[0]
        assert gateway.imeis == [IMEI]
        assert [record.timestamp for record in records] == sorted(record.timestamp for record in records)
        assert records[-1].longitude == tracker.vehicle.position.longitude
        assert records[-1].satellites > 3
        assert (VIN in records[-1].io) == (codec == CODEC_8E)
        assert tracker.counters.records_acked == 3


@pytest.mark.parametrize("codec", [CODEC_8, CODEC_8E, CODEC_16])
async def test_no_frame_of_a_tracker_is_longer_than_those_of_devices(codec: int) -> None:
    behaviour = Behaviour(codec=codec, interval=0.0, records_per_frame=255, records_limit=255)
    async with running(behaviour) as (gateway, tracker):
        await tracker.reached(lambda it: it.counters.records_acked == 255)
        sizes = [len(encode_avl(codec, frame)) for frame in gateway.frames]
        assert PACKET_LIMIT - 120 < max(sizes) <= PACKET_LIMIT


async def test_a_tracker_ends_when_its_records_are_acknowledged() -> None:
    async with running(Behaviour(interval=0.0, records_per_frame=4, records_limit=10)) as (gateway, tracker):
        await tracker.reached(lambda it: it.counters.records_acked == 10)
        assert [len(frame) for frame in gateway.frames] == [4, 4, 2]


async def test_frames_in_pieces_arrive_whole() -> None:
    async with running(Behaviour(split=5, split_pause=0.0)) as (gateway, tracker):
        await tracker.reached(ready)
        assert len(gateway.frames) == 1


async def test_unacknowledged_records_are_sent_again_after_a_reconnect() -> None:
    behaviour = Behaviour(drop_after_frames=1, backoff=(0.0, 0.0))
    async with running(behaviour) as (gateway, tracker):
        await tracker.reached(ready)
        assert tracker.counters.connections == 2
        assert tracker.counters.lost == 1
        assert tracker.counters.records_sent > tracker.counters.records_acked
        assert gateway.frames[-1][0].longitude_raw


async def test_a_wrong_count_is_no_acknowledgement() -> None:
    gateway = Gateway()
    gateway.ack = lambda count: count + (len(gateway.frames) == 1)
    async with running(Behaviour(), gateway) as (_, tracker):
        await tracker.reached(ready)
        assert tracker.counters.wrong_acks == 1
        assert gateway.frames[0] == gateway.frames[1]


async def test_without_an_acknowledgement_the_device_disconnects() -> None:
    gateway = Gateway()
    gateway.ack = lambda count: 0
    async with running(Behaviour(ack_timeout=0.0, backoff=(0.0, 0.0)), gateway) as (_, tracker):
        await tracker.reached(lambda it: it.counters.connections == 3)
        assert tracker.counters.records_acked == 0


async def test_a_refused_device_does_not_report() -> None:
    gateway = Gateway()
    gateway.accept = REJECT
    async with running(Behaviour(reconnect=False), gateway) as (_, tracker):
        await tracker.reached(lambda it: it.counters.rejected == 1)
        assert gateway.frames == []


@pytest.mark.parametrize("codec", [CODEC_12, CODEC_14])
async def test_commands_are_answered_in_their_own_codec(codec: int) -> None:
    async with running(Behaviour(answer_delay=0.0)) as (gateway, tracker):
        await tracker.reached(ready)
        gateway.command("getver", codec)
        answer = await gateway.answers.get()
        assert (answer.codec, answer.type) == (codec, TYPE_ANSWER)
        assert f"IMEI:{IMEI}" in answer.payload.decode()
        received = tracker.counters.commands[0]
        assert (received.text, received.frame) == (b"getver", encode_command(codec, IMEI, b"getver"))


async def test_a_codec_14_command_for_another_device_is_refused() -> None:
    async with running(Behaviour(answer_delay=0.0)) as (gateway, tracker):
        await tracker.reached(ready)
        gateway.command("getver", CODEC_14, imei="352093081452252")
        assert (await gateway.answers.get()).type == TYPE_NACK
        assert tracker.counters.nacks_sent == 1


async def test_a_refusing_device_refuses_its_own_imei() -> None:
    async with running(Behaviour(answer_delay=0.0, answers="nack")) as (gateway, tracker):
        await tracker.reached(ready)
        gateway.command("getver", CODEC_14)
        assert (await gateway.answers.get()).type == TYPE_NACK


async def test_a_device_may_answer_twice() -> None:
    async with running(Behaviour(answer_delay=0.0, answers="twice")) as (gateway, tracker):
        await tracker.reached(ready)
        gateway.command("getver")
        assert await gateway.answers.get() == await gateway.answers.get()


async def test_silent_and_late_devices_read_the_command() -> None:
    async with running(Behaviour(answer_delay=0.0, answers="never")) as (gateway, tracker):
        await tracker.reached(ready)
        gateway.command("getver")
        await tracker.reached(lambda it: len(it.counters.commands) == 1)
        tracker.behaviour.answers, tracker.behaviour.late_by = "late", 0.0
        gateway.command("getgps")
        assert (await gateway.answers.get()).payload.startswith(b"GPS:1")


async def test_a_switched_output_shows_in_the_next_record() -> None:
    async with running(Behaviour(answer_delay=0.0)) as (gateway, tracker):
        await tracker.reached(ready)
        gateway.command("setdigout 1")
        assert (await gateway.answers.get()).payload == b"DOUT1:1 Timeout:INFINITY"
        tracker.report()
        await tracker.reached(lambda it: it.counters.records_acked == 2)
        first, second = gateway.frames[0][0], gateway.frames[1][0]
        assert (first.io[DIGITAL_OUTPUT_1], second.io[DIGITAL_OUTPUT_1]) == (0, 1)
        assert second.event_id == DIGITAL_OUTPUT_1


async def test_pings_are_sent_between_frames() -> None:
    async with running(Behaviour(ping_interval=0.0)) as (_, tracker):
        await tracker.reached(lambda it: it.counters.pings_sent >= 3)


async def test_a_power_cut_is_followed_by_a_reconnect() -> None:
    async with running(Behaviour(drop_after=0.0, backoff=(0.0, 0.0))) as (_, tracker):
        await tracker.reached(lambda it: it.counters.connections >= 3)


async def test_a_tracker_that_sleeps_connects_again_and_again() -> None:
    behaviour = Behaviour(wake_every=0.02, awake_for=0.01, interval=0.001, backoff=(60.0, 60.0))
    async with running(behaviour) as (_, tracker):
        await tracker.reached(lambda it: it.counters.connections >= 3 and it.counters.records_acked >= 1)


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("readio 179", "IO ID:179 Value:0"),
        ("readio 60000", UNKNOWN),
        ("setdigout ?1 5 7", "DOUT1:IGNORED Timeout:5s DOUT2:1 Timeout:7s"),
        ("setdigout on", UNKNOWN),
        ("getparam 1001", "Param ID:1001 Value:0"),
        ("setparam 1001:5;2:x", "New value 1001:5;2:x"),
        ("fly", UNKNOWN),
        ("cpureset", None),
    ],
)
def test_answers_have_the_form_of_real_devices(command: str, answer: str | None) -> None:
    assert answer_text(Vehicle(IMEI), command, NOW) == answer


def test_a_route_stays_on_its_course_and_under_a_sane_speed() -> None:
    route = Route(1)
    driven = sum(route.advance(1.0) for _ in range(3600))
    assert 5_000 < driven < 100_000
    for _ in range(600):
        route.advance(10.0)
        here = route.position()
        assert 25.2 < here.longitude < 25.4
        assert 54.6 < here.latitude < 54.8
        assert 0 <= here.angle < 360
        assert 0 <= here.speed <= 100


def test_a_downlink_is_cut_the_same_however_it_is_split() -> None:
    stream = encode_ack(3) + encode_command(CODEC_12, IMEI, b"getinfo") + encode_ack(1)
    glued = Downlink().feed(stream)
    downlink = Downlink()
    split = [item for byte in stream for item in downlink.feed(bytes((byte,)))]
    assert split == glued
    assert [item if isinstance(item, int) else item[0].payload for item in glued] == [3, b"getinfo", 1]


def test_a_damaged_command_is_a_fault() -> None:
    frame = bytearray(encode_command(CODEC_12, IMEI, b"getinfo"))
    frame[-1] ^= 1
    with pytest.raises(DownlinkFault):
        Downlink().feed(bytes(frame))


# A serial port


@pytest.mark.parametrize(("codec", "merge"), [(CODEC_13, 1), (CODEC_13, 3), (CODEC_12, 2)])
async def test_a_serial_port_speaks_in_frames_of_its_codec(codec: int, merge: int) -> None:
    behaviour = Behaviour(serial_interval=0.01, serial_codec=codec, serial_merge=merge)
    async with running(behaviour) as (gateway, tracker):
        await tracker.reached(lambda it: it.counters.serial_sent >= 2 * merge)
        gateway.command("getver")
        await gateway.answers.get()
    messages = [message for frame in gateway.serial for message in frame]
    texts = [message.payload.decode() for message in messages]
    assert [text.split(",")[1] for text in texts] == [str(number + 1) for number in range(len(texts))]
    assert {(len(frame), frame[0].codec) for frame in gateway.serial} == {(merge, codec)}
    assert {message.timestamp for message in messages} == {NOW // 1000 if codec == CODEC_13 else None}


def test_serial_data_never_use_codec_14() -> None:
    with pytest.raises(ValueError, match="codec 12 or 13"):
        encode_serial(CODEC_14, [b"x"], 0)
