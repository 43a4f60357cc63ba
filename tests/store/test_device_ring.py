"""Frames of many devices that wait: each device in turn, and each in its own order."""

from __future__ import annotations

from random import Random

import pytest

from fsm.telemetry import MESSAGE, RECORD, SERIAL, PendingFrame
from store.streams.device_ring import DeviceRing

PLENTY = 1000


def frame(imei: str, bodies: int = 1, kind: str = RECORD) -> PendingFrame:
    made = PendingFrame(imei.encode(), b"8", 0, [b"x"] * bodies, lambda: None, kind)
    made.weigh()
    return made


def ring_of(*frames: PendingFrame, entries: int = PLENTY, size: int = PLENTY) -> DeviceRing:
    ring = DeviceRing(entries, size)
    for one in frames:
        ring.put(one)
    return ring


def test_each_waiting_device_is_served_in_turn() -> None:
    a, b, c = [frame("a") for _ in range(4)], [frame("b") for _ in range(2)], [frame("c")]
    ring = ring_of(*a, *b, *c)
    assert ring.take() == [a[0], b[0], c[0], a[1], b[1], a[2], a[3]]
    assert not ring


def test_the_turn_of_a_device_survives_a_call() -> None:
    a, b, c = [frame("a") for _ in range(3)], [frame("b") for _ in range(2)], [frame("c")]
    ring = ring_of(*a, *b, *c, entries=2)
    assert [ring.take() for _ in range(3)] == [[a[0], b[0]], [c[0], a[1]], [b[1], a[2]]]


def test_a_small_frame_does_not_wait_behind_many_large_ones() -> None:
    large = [frame(f"{number:03}", 50) for number in range(100)]
    ring = ring_of(*large, entries=100)
    assert ring.take() == large[:2]  # more waits than a call carries
    small = frame("z")
    ring.put(small)
    assert ring.take()[0] is small


def test_large_frames_have_their_share_among_small_ones() -> None:
    large = [frame(f"{number:03}", 50) for number in range(4)]
    ring = ring_of(*large, entries=50)
    taken = ring.take()
    for number in range(1000):
        ring.put(frame(f"small {number}"))
        if large[-1] in taken:
            break
        taken += ring.take()
    assert large[-1] in taken


def test_busy_devices_get_equal_shares() -> None:
    a, b = [frame("a", 1) for _ in range(400)], [frame("b", 4) for _ in range(400)]
    ring = ring_of(*a, *b, entries=10)
    taken = [one for _ in range(60) for one in ring.take()]
    weights = [sum(one.weight for one in taken if one.imei == imei) for imei in (b"a", b"b")]
    assert 0.9 < weights[0] / weights[1] < 1.1


@pytest.mark.parametrize(("entries", "size"), [(5, PLENTY), (PLENTY, 5)])
def test_no_more_is_taken_than_fits_and_never_nothing(entries: int, size: int) -> None:
    large, small = frame("a", 6), frame("b", 3)
    ring = ring_of(large, small, entries=entries, size=size)
    assert [ring.take() for _ in range(2)] == [[large], [small]]


def test_what_is_put_back_comes_before_what_came_after_it() -> None:
    a, b = [frame("a") for _ in range(3)], frame("b")
    ring = ring_of(a[0], a[1], b)
    taken = ring.take()
    late = frame("c")
    for one in (late, a[2]):
        ring.put(one)
    ring.put_back(taken)
    assert ring.take() == [a[0], b, late, a[1], a[2]]


def test_a_frame_is_removed_wherever_it_waits_and_only_once() -> None:
    a = [frame("a") for _ in range(3)]
    ring = ring_of(*a)
    assert [ring.remove(a[1]), ring.remove(a[1]), ring.remove(frame("a")), ring.remove(frame("b"))] == [
        True,
        *[False] * 3,
    ]
    assert ring.take() == [a[0], a[2]]


def test_a_device_of_which_nothing_is_left_takes_no_turn() -> None:
    a, b = frame("a"), frame("b")
    ring = ring_of(a, b)
    ring.remove(a)
    assert ring.take() == [b]
    assert not ring


def test_messages_apart_share_no_batch() -> None:
    a, b, c, d = [frame("abcd"[i], kind=(RECORD, SERIAL, MESSAGE, RECORD)[i]) for i in range(4)]
    ring = ring_of(a, b, c, d)
    ring.messages_apart = True
    assert [ring.take() for _ in range(4)] == [[a], [b], [c], [d]]


@pytest.mark.parametrize("entries", [1, 5, 9])
def test_frames_of_a_device_keep_their_order_and_none_repeats(entries: int) -> None:
    random = Random(1)
    ring, waiting, sent = DeviceRing(entries, PLENTY), 0, []
    names = {imei: iter(range(10**6)) for imei in "abcd"}
    for _ in range(3000):
        act = random.choice(("add", "add", "take", "fail"))
        if act == "add":
            imei = random.choice("aaabcd")
            one = frame(imei, random.randint(1, 3))
            one.received_at = next(names[imei])
            ring.put(one)
            waiting += 1
            assert len(ring) == len(list(ring)) == waiting
        elif waiting:
            taken = ring.take()
            if act == "fail":
                ring.put_back(taken)
            else:
                sent += taken
                waiting -= len(taken)
    while ring:
        sent += ring.take()
    for imei in "abcd":
        numbers = [one.received_at for one in sent if one.imei == imei.encode()]
        assert numbers == list(range(len(numbers)))
    assert sum(next(left) for left in names.values()) == len(sent)
