"""How often something is started again."""

from __future__ import annotations

from transport.restarts import Restarts


def test_each_restart_waits_longer_and_too_many_end_it() -> None:
    restarts = Restarts(3, 60.0, (0.1, 1.0, 3.0))
    assert [restarts.next(now) for now in (0.0, 10.0, 59.9)] == [0.1, 1.0, 3.0]
    assert restarts.next(59.95) is None


def test_old_restarts_are_forgotten() -> None:
    restarts = Restarts(2, 60.0, (0.1, 1.0))
    assert [restarts.next(now) for now in (0.0, 30.0, 60.0, 91.0)] == [0.1, 1.0, 1.0, 1.0]
