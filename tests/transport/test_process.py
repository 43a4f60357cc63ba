"""How a gateway process looks for garbage: every device waits while Python looks through all that lives."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from transport import garbage
from transport.daemon import run_gateway
from transport.daemon.service_manager import ServiceManager


@pytest.fixture
def thresholds() -> Iterator[tuple[int, int, int]]:
    """Those of this process, which come back."""
    before = gc.get_threshold()
    yield before
    gc.set_threshold(*before)
    gc.unfreeze()


def test_garbage_collections_are_rare(thresholds: tuple[int, int, int]) -> None:
    frozen, told = gc.get_freeze_count(), []
    run_gateway._begun(ServiceManager(), lambda _: told.append(gc.get_freeze_count()), [])
    assert told == [frozen]  # devices do not wait for it
    assert gc.get_freeze_count() > frozen
    assert gc.get_threshold() == (garbage.YOUNG_OBJECTS, *thresholds[1:])
