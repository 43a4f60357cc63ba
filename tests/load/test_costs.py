"""Code that is there for speed alone is worth it: ratios of the best of many times, in one process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from timeit import repeat
from typing import Any

from fsm.events import CommandEvent
from fsm.quick_values import quick
from transport.teltonika.avl import Record, decode_avl, encode_avl
from transport.teltonika.frame import CODEC_8E
from transport.teltonika.layout_cache import SIGHTINGS
from transport.teltonika.record_encoder import FREQUENT
from transport.teltonika.record_json import plain_json, record_json, records_json


def best(cls: Any) -> float:
    """Seconds for a thousand events with all of their fields."""
    given = {one.name: one.name for one in fields(cls)}
    return min(repeat(lambda: cls(**given), number=1000, repeat=20))


def test_a_quick_value_takes_two_thirds_of_the_time_of_a_frozen_dataclass_at_most() -> None:
    annotations = {one.name: one.type for one in fields(CommandEvent)}
    frozen = dataclass(slots=True, frozen=True)
    plain = frozen(type("Event", (), {"__annotations__": annotations}))
    other = quick(frozen(type("Event", (), {"__annotations__": annotations})))
    assert best(other) < 2 / 3 * best(plain)


def test_a_compiled_encoder_takes_half_of_the_time_of_the_plain_way_at_most() -> None:
    sent = Record.of(timestamp=1, io={number: (1 << number % 4, 200) for number in range(20)})
    *_, record = records = decode_avl(encode_avl(CODEC_8E, [sent] * (SIGHTINGS + FREQUENT + 1))[8:-4])
    assert len(set(records_json(records))) == 1
    assert record.layout.encoding.encode is not None

    def seconds(encode: Callable[[Record], bytes]) -> float:
        return min(repeat(lambda: encode(record), number=1000, repeat=20))

    assert seconds(record_json) < seconds(plain_json) / 2
