"""When a starting process may take an instance id that another process has."""

from __future__ import annotations

import pytest

from store.fleet.ownership import (
    COMES_BACK,
    FORCED,
    FREE,
    GONE,
    MARGIN,
    SILENT,
    Holder,
    HolderWatched,
    InstanceHeld,
    Seen,
    Watch,
)

OTHER = Holder("other", "host-a", 17, "kernel/net", 30.0, 1_767_225_600_000)
SEEN = Seen(b"other", b"1", OTHER)


class Clock:
    """Monotonic seconds that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def watch(clock: Clock, *, forced: bool = False, gone: bool = False) -> Watch:
    """A process with a heartbeat every 5 s that wants the id."""
    own = Holder("own", interval=5.0)
    return Watch("gw-1", lambda: own, forced=forced, is_gone=lambda _: gone, monotonic=clock)


@pytest.mark.parametrize("seen", [Seen(), Seen(b"own", b"1")], ids=["nobody's", "our own"])
def test_a_free_id_or_our_own_is_taken_at_once(seen: Seen) -> None:
    assert watch(Clock()).decide(seen) == FREE


def test_the_id_of_a_dead_process_is_taken_at_once() -> None:
    assert watch(Clock(), gone=True).decide(SEEN) == GONE


def test_an_id_is_taken_from_anybody_by_force() -> None:
    assert watch(Clock(), forced=True).decide(SEEN) == FORCED


def test_an_owner_without_heartbeat_for_its_interval_loses_the_id() -> None:
    clock = Clock()
    decide = watch(clock).decide
    for passed in (0.0, OTHER.interval, OTHER.interval + MARGIN - 0.01):
        clock.now = Clock.now + passed
        with pytest.raises(HolderWatched) as watched:
            decide(SEEN)
        assert watched.value.wait_s == OTHER.interval + MARGIN
    clock.now = Clock.now + OTHER.interval + MARGIN
    assert decide(SEEN) == SILENT


def test_an_owner_without_an_interval_has_ours() -> None:
    clock = Clock()
    decide = watch(clock).decide
    with pytest.raises(HolderWatched):
        decide(SEEN._replace(holder=Holder("other")))
    clock.now += 5.0 + MARGIN
    assert decide(SEEN._replace(holder=Holder("other"))) == SILENT


@pytest.mark.parametrize("heartbeat", [b"2", b"0"], ids=["later", "earlier, by another clock"])
def test_an_owner_whose_heartbeat_changes_is_alive(heartbeat: bytes) -> None:
    clock = Clock()
    decide = watch(clock).decide
    with pytest.raises(HolderWatched):
        decide(SEEN)
    clock.now += 1000.0
    with pytest.raises(InstanceHeld, match="process 17 on host host-a, since 2026-01-01T00:00:00Z"):
        decide(SEEN._replace(heartbeat=heartbeat))


def test_an_id_just_taken_by_another_process_is_in_use() -> None:
    decide = watch(Clock()).decide
    with pytest.raises(HolderWatched):
        decide(SEEN)
    with pytest.raises(InstanceHeld):
        decide(Seen(b"a third", b"1", Holder("a third")))


def test_an_id_just_released_is_taken_at_once() -> None:
    decide = watch(Clock()).decide
    with pytest.raises(HolderWatched):
        decide(SEEN)
    assert decide(Seen()) == FREE


def test_a_time_in_which_redis_could_not_be_asked_proves_nothing() -> None:
    clock = Clock()
    watching = watch(clock)
    with pytest.raises(HolderWatched):
        watching.decide(SEEN)
    watching.restart()
    clock.now += 1000.0
    with pytest.raises(HolderWatched):
        watching.decide(SEEN)


def test_after_an_outage_a_free_id_is_left_to_its_last_owner() -> None:
    watching = watch(Clock(), gone=True)
    watching.restart()
    with pytest.raises(HolderWatched):
        watching.decide(Seen())
    with pytest.raises(InstanceHeld):
        watching.decide(SEEN)


def test_after_an_outage_an_id_that_stays_free_is_taken() -> None:
    clock = Clock()
    watching = watch(clock)
    watching.restart()
    for passed in (0.0, COMES_BACK - 0.01):
        clock.now = Clock.now + passed
        with pytest.raises(HolderWatched):
            watching.decide(Seen())
    clock.now = Clock.now + COMES_BACK
    assert watching.decide(Seen()) == FREE


def test_what_a_process_says_of_itself_is_read_as_it_was_written() -> None:
    words = OTHER.fields()
    raw = {name.encode(): value.encode() for name, value in zip(words[::2], words[1::2], strict=True)}
    assert Holder.read("other", raw | {b"since": b"1767225600000"}) == OTHER


@pytest.mark.parametrize(
    "value", [b"", b"-1", b"nan", b"inf", b"1e999", b"9" * 400, b"\xff\x1b[31m", b"x" * 999]
)
def test_any_value_of_the_owner_is_read_and_shown(value: bytes) -> None:
    names = (b"host", b"pid", b"place", b"interval", b"since")
    holder = Holder.read("other", {b"boot": b"other"} | dict.fromkeys(names, value))
    assert str(holder).isprintable()
    assert len(str(holder)) < 700
    assert 0 <= holder.interval <= 3600


def test_invalid_values_of_an_owner_are_not_used() -> None:
    assert Holder.read("other", {b"boot": b"earlier", b"host": b"host-a"}) == Holder("other")
    assert str(Holder("other")) == "a process on an unknown host"
