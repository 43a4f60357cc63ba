"""What a process remembers for a while, and in which order it forgets."""

from __future__ import annotations

import pytest

from fsm.command import Command, decide
from fsm.moves import Entry
from fsm.reasons import QUEUE_FULL
from tests.transport.command_rig import IMEI, CommandRig
from transport import log_throttle
from transport.commands import notes
from transport.commands import offline as absent
from transport.commands import recent_outcomes as verdicts
from transport.commands.offline import OfflineCommands
from transport.commands.recent_outcomes import RecentOutcomes
from transport.log_throttle import AGAIN_AFTER, LogThrottle


def test_a_device_is_expected_from_its_last_disconnect() -> None:
    """Whoever left first is forgotten first: one that stays in front would keep all others behind it."""
    absent = OfflineCommands(0.0, 60.0)
    for imei, at in (("1", 100.0), ("2", 110.0), ("1", 150.0)):
        absent.left(imei, at)
    absent.forget(170.0)
    assert (absent.expected("1", 170.0), list(absent._left_at)) == (True, ["1"])


def test_a_device_that_is_here_is_not_remembered_as_one_that_left() -> None:
    absent = OfflineCommands(0.0, 60.0)
    absent.left("1", 100.0)
    absent.take("1")
    assert list(absent._left_at) == []


def test_a_command_whose_device_has_left_has_no_connection(commands: CommandRig) -> None:
    link = commands.connect(ready=False)
    commands.ask()
    commands.ledger.commit()
    commands.disconnect(link)
    [in_flight] = commands.dispatcher.offline.waiting(IMEI)
    assert commands.dispatcher._queues.queue_with(in_flight) is None


def test_the_oldest_outcome_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "REMEMBERED", 2)
    remembered = RecentOutcomes(60.0, lambda: 0.0)
    for name in ("a", "b", "a", "c"):
        remembered.add(decide(Command(name), "refuse", reason=QUEUE_FULL, entry=Entry("gw-1", "1-1")))
    assert [name for name in "abc" if remembered.find(name)] == ["a", "c"]


def test_the_limit_of_notes_recovers_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_throttle, "REMEMBERED", 2)
    lines = LogThrottle()
    assert [lines.allow(what, 0.0) for what in "aabc"] == [True, False, True, False]
    assert [lines.allow(what, AGAIN_AFTER) for what in "ca"] == [True, True]


def test_of_the_devices_that_left_so_many_are_expected_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absent, "REMEMBERED", 3)
    left = OfflineCommands(0.0, 60.0)
    left.registry_read(0.0)
    for number in range(10):
        left.left(str(number), 100.0)
    assert [str(number) for number in range(10) if left.expected(str(number), 100.0)] == ["7", "8", "9"]


def test_notes_are_limited_for_so_many_devices_a_minute(
    commands: CommandRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notes, "TALKERS", 2)
    told = [commands.dispatcher._notes._may_tell(imei) for imei in ("1", "2", "3", "1")]
    assert told == [True, True, False, True]
