"""How a gateway process looks for garbage: every device waits while Python looks through all that lives."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from transport import garbage
from transport.daemon import process, run_gateway
from transport.daemon.service_manager import ServiceManager
from transport.settings import Settings


@pytest.fixture
def thresholds() -> Iterator[tuple[int, int, int]]:
    """Those of this process, which come back."""
    before = gc.get_threshold()
    yield before
    gc.set_threshold(*before)
    gc.unfreeze()


async def test_garbage_collections_are_rare(
    thresholds: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    async def serve(*_: object) -> int:
        found.append(gc.get_threshold())
        return 0

    monkeypatch.setattr(run_gateway, "_serve", serve)
    await process.serve(Settings(instance_id="gw-1", redis="redis://127.0.0.1:1"))
    assert found == [(garbage.YOUNG_OBJECTS, *thresholds[1:])]


def test_what_lives_when_devices_can_connect_is_never_collected(
    thresholds: tuple[int, int, int],
) -> None:
    frozen, told = gc.get_freeze_count(), []
    run_gateway._begun(ServiceManager(), lambda _: told.append(gc.get_freeze_count()), [])
    assert told == [frozen]
    assert gc.get_freeze_count() > frozen
