"""An allowance gives each subject its rate and its reserve, and remembers only those that owe something."""

from __future__ import annotations

from transport.connection.allowance import Allowance


def taken(allowance: Allowance[str], subject: str, now: float, wanted: int = 100) -> int:
    """How many units the subject gets at `now`."""
    for number in range(wanted):
        if not allowance.covers(subject, 1, now):
            return number
        allowance.take(subject, 1, now)
    return wanted


def test_the_reserve_refills_at_the_rate() -> None:
    allowance: Allowance[str] = Allowance(rate=0.5, reserve=10)
    assert [taken(allowance, "a", now) for now in (0.0, 1.0, 2.0, 7.0, 1000.0)] == [10, 0, 1, 2, 10]


def test_subjects_do_not_take_from_each_other() -> None:
    allowance: Allowance[str] = Allowance(rate=1, reserve=3)
    assert [taken(allowance, subject, 0.0) for subject in "abab"] == [3, 3, 0, 0]


def test_several_units_are_covered_together_or_not_at_all() -> None:
    allowance: Allowance[str] = Allowance(rate=1, reserve=3)
    allowance.take("a", 2, 0.0)
    assert [allowance.covers("a", units, 0.0) for units in (1, 2)] == [True, False]


def test_without_a_rate_everything_is_covered_and_nothing_is_remembered() -> None:
    allowance: Allowance[str] = Allowance(rate=0, reserve=0)
    assert (taken(allowance, "a", 0.0), len(allowance)) == (100, 0)


def test_who_has_paid_is_forgotten() -> None:
    allowance: Allowance[str] = Allowance(rate=1, reserve=10)
    for number in range(100):
        allowance.take(str(number), 1, number / 10)
    assert len(allowance) <= 11
    allowance.take("last", 1, 1000.0)
    assert len(allowance) == 1
