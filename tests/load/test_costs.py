"""Code on a hot path costs what it did: each against a plain loop of Python, both the best of many times.

A bound is 1.6 times what is measured, so a cost that doubles fails, and another machine does not: a ratio of
two best times in one process hardly moves, whatever else runs. `pytest tests/load/test_costs.py -s` prints
the ratios. What is faster now may have a lower bound.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, fields
from itertools import cycle
from timeit import Timer
from typing import Any

import hiredis
import pytest

from fsm import command, session
from fsm.command import Command
from fsm.events import CommandEvent
from fsm.quick_values import maker, quick
from fsm.session import Session
from fsm.telemetry import PendingFrame
from store.client.batch_queue import BatchQueue
from store.client.fifo import Fifo
from store.client.resp import Arguments, pack
from store.streams.device_ring import DeviceRing
from tests.bench.frames import bodies, frames
from tests.bench.test_decoder import device_stream
from transport.teltonika.avl import Record, decode_avl, encode_avl
from transport.teltonika.command import decode_message, encode_command
from transport.teltonika.frame import CODEC_8E, CODEC_14
from transport.teltonika.layout_cache import SIGHTINGS
from transport.teltonika.record_encoder import FREQUENT
from transport.teltonika.record_json import plain_json, record_json, records_json

IMEI = "356307042441013"
REPEATS, ATTEMPTS = 60, 5
ENOUGH = 0.001
"""Seconds of one time: short, so that some are not disturbed."""
DEGREE = 10_000_000
HEAD = struct.Struct(">QBiihHBHH")
ITEMS = 500


def plain(body: bytes) -> list[str]:
    """The records of a codec 8E frame as JSON, written as one would at first: the reference."""
    found, at = [], 2
    for _ in range(body[1]):
        time, priority, x, y, altitude, angle, satellites, speed, event = HEAD.unpack_from(body, at)
        at += HEAD.size + 2
        io = {}
        for width in (1, 2, 4, 8):
            count = int.from_bytes(body[at : at + 2], "big")
            at += 2
            for _ in range(count):
                number = int.from_bytes(body[at : at + 2], "big")
                io[str(number)] = int.from_bytes(body[at + 2 : at + 2 + width], "big")
                at += 2 + width
        at += 2  # no value of variable length
        record = {"timestamp": time, "priority": priority, "longitude": x / DEGREE, "latitude": y / DEGREE}
        record |= {"altitude": altitude, "angle": angle, "satellites": satellites, "speed": speed}
        found.append(json.dumps(record | {"event_id": event, "io": io}, separators=(",", ":")))
    return found


def written(body: bytes) -> list[bytes]:
    """The same as a gateway does it."""
    return records_json(decode_avl(body))


def each_of(call: Callable[[bytes], Any], given: list[bytes]) -> Callable[[], Any]:
    """Calls with one argument after the other."""
    following = cycle(given)
    return lambda: call(next(following))


def ring() -> DeviceRing:
    """A line for each device."""
    return DeviceRing(100, 1 << 20)


def queued(stack: ExitStack, buffer: Callable[[], Any]) -> tuple[Callable[[], None], int]:
    """Puts frames into a queue, which sends them in batches; how many."""
    waiting = [PendingFrame(b"%015d" % number, b"8E", 0, [b"{}"], int, size=2) for number in range(ITEMS)]
    runner = stack.enter_context(asyncio.Runner())

    async def send(batch: deque[PendingFrame]) -> None:
        batch.clear()

    async def work() -> None:
        queue = BatchQueue(buffer(), send, finishes=True)
        for one in waiting:
            queue.put(one)
        queue.stop()
        await queue.run()

    return lambda: runner.run(work()), ITEMS


def sent() -> CommandEvent:
    """A command goes from one state to the next."""
    queued = Command("c-1", command.QUEUED, 1)
    event = command.decide(queued, "send", session_id="s-1")
    command.evolve(queued, event)
    return event


def opened() -> Session:
    """A session goes from one state to the next."""
    identified = Session("s-1", session.IDENTIFIED, 2)
    return session.evolve(identified, session.decide(identified, "open", imei=IMEI))


def best(call: Callable[[], Any]) -> float:
    """The shortest time of one call, in seconds."""
    timer = Timer(call)
    number = max(1, round(ENOUGH / min(timer.repeat(5, 1))))
    return min(timer.repeat(REPEATS, number)) / number


def is_quicker(call: Callable[[], Any], other: Callable[[], Any], share: float) -> bool:
    """Whether a call takes less than this share of the time of the other one.

    If not, both are timed again: where the machine was busy all the time, the best time was no good one.
    """
    return any(best(call) < share * best(other) for _ in range(ATTEMPTS))


def against_plain(call: Callable[[], Any], parts: int, bound: float) -> float:
    """What one of the parts of a call costs in records of the plain loop.

    What is above its bound is timed again: where the machine was busy all the time, its best time was no
    good one.
    """
    reference = each_of(plain, bodies("8E", 1))
    ratio = float("inf")
    for _ in range(ATTEMPTS):
        ratio = min(ratio, best(call) / parts / best(reference))
        if ratio < bound:
            break
    return ratio


def records(codec: str, size: int) -> tuple[Callable[[], Any], int]:
    """Reads and writes a frame; the records of it."""
    return each_of(written, bodies(codec, size)), size


COSTS: dict[str, tuple[Callable[[ExitStack], tuple[Callable[[], Any], int]], float]] = {
    "record of codec 8, alone": (lambda _: records("8", 1), 0.27),
    "record of codec 8, of 20": (lambda _: records("8", 20), 0.2),
    "record of codec 8E, alone": (lambda _: records("8E", 1), 0.27),
    "record of codec 8E, of 20": (lambda _: records("8E", 20), 0.2),
    "record of codec 16, alone": (lambda _: records("16", 1), 0.28),
    "record of codec 16, of 20": (lambda _: records("16", 20), 0.21),
    "raw frame": (lambda _: (each_of(device_stream(False).whole, frames("8E", 1)), 1), 0.082),
    "command encoded": (lambda _: (lambda: encode_command(CODEC_14, IMEI, b"getver"), 1), 0.093),
    "answer decoded": (
        lambda _: (each_of(decode_message, [encode_command(CODEC_14, IMEI, b"ok")[8:-4]]), 1),
        0.22,
    ),
    "trigger of a command": (lambda _: (sent, 1), 0.34),
    "trigger of a session": (lambda _: (opened, 1), 0.3),
    "item of a queue": (lambda stack: queued(stack, lambda: Fifo(100)), 0.021),
    "frame of a queue by devices": (lambda stack: queued(stack, ring), 0.12),
}
"""What is timed, of how many one call consists, and what one may cost: 1 is a record of the plain loop."""


def test_the_reference_reads_what_a_gateway_reads() -> None:
    for body in bodies("8E", 5):
        assert list(map(json.loads, plain(body))) == list(map(json.loads, written(body)))


@pytest.mark.parametrize("name", COSTS)
def test_a_cost_is_within_its_bound(name: str, stack: ExitStack) -> None:
    make, bound = COSTS[name]
    ratio = against_plain(*make(stack), bound)
    print(f"{name}: {ratio:.3f}")
    assert ratio < bound


def test_a_quick_value_takes_two_thirds_of_the_time_of_a_frozen_dataclass_at_most() -> None:
    annotations = {one.name: one.type for one in fields(CommandEvent)}
    frozen = dataclass(slots=True, frozen=True)
    plain_class: Any = frozen(type("Event", (), {"__annotations__": annotations}))
    other: Any = quick(frozen(type("Event", (), {"__annotations__": annotations})))
    given = {one.name: one.name for one in fields(CommandEvent)}
    assert is_quicker(lambda: other(**given), lambda: plain_class(**given), 2 / 3)


def test_a_value_made_by_position_takes_half_of_the_time_of_a_quick_one_by_keyword_at_most() -> None:
    names = [one.name for one in fields(CommandEvent)]
    given = {name: name for name in names}
    make = maker(CommandEvent)
    assert make(*names) == CommandEvent(**given)
    assert is_quicker(lambda: make(*names), lambda: CommandEvent(**given), 1 / 2)


def test_a_compiled_encoder_takes_half_of_the_time_of_the_plain_way_at_most() -> None:
    sent = Record.of(timestamp=1, io={number: (1 << number % 4, 200) for number in range(20)})
    *_, record = records = decode_avl(encode_avl(CODEC_8E, [sent] * (SIGHTINGS + FREQUENT + 1))[8:-4])
    assert len(set(records_json(records))) == 1
    assert record.layout.encoding.encode is not None
    assert is_quicker(lambda: record_json(record), lambda: plain_json(record), 1 / 2)


def test_a_call_of_a_thousand_records_is_packed_in_two_thirds_of_the_time_of_hiredis() -> None:
    values = [b"x" * (400 + number % 100) for number in range(1000)]

    def ours() -> bytes:
        arguments = Arguments(("EVALSHA",))
        arguments.add(values)
        return pack(arguments)

    def theirs() -> bytes:
        packed: bytes = hiredis.pack_command(("EVALSHA", *values))
        return packed

    assert ours() == theirs()
    assert is_quicker(ours, theirs, 2 / 3)
