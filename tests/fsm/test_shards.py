"""Which shard of telemetry a device belongs to, and how its streams are named."""

from __future__ import annotations

from collections import Counter

import pytest

from fsm.shards import shard_of
from store.keys import Keys


def test_the_checksum_is_that_of_the_slots_of_a_redis_cluster() -> None:
    assert shard_of(b"123456789", 65_536) == 0x31C3  # the check value in the specification of Redis Cluster
    assert shard_of(b"foo", 16_384) == 12_182  # as CLUSTER KEYSLOT says


@pytest.mark.parametrize("count", [2, 3, 4, 8, 64])
def test_devices_with_numbers_in_a_row_spread_over_all_shards(count: int) -> None:
    shares = Counter(shard_of(b"%d" % (352_093_081_000_000 + number), count) for number in range(100 * count))
    assert set(shares) == set(range(count))
    assert max(shares.values()) < 150


def test_a_single_shard_has_the_names_without_a_number() -> None:
    assert Keys("{north}:").shards(1) == [Keys("{north}:")]


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("", "telemetry:records:1"),
        ("north:", "north:telemetry:records:1"),
        ("{north}:", "{north.1}:telemetry:records:1"),
        ("a{b}c{d}:", "a{b.1}c{d}:telemetry:records:1"),
    ],
)
def test_a_shard_has_its_number_in_its_name_and_in_the_hash_tag(prefix: str, expected: str) -> None:
    assert Keys(prefix).shards(2)[1].telemetry == expected


def test_all_shards_of_several_numbers_are_named_once() -> None:
    names = [keys.telemetry for keys in Keys().all_shards({1, 2, 3})]
    assert names == ["telemetry:records", *(f"telemetry:records:{number}" for number in range(3))]
