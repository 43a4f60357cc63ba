"""How a gateway process looks for garbage: every device waits while Python looks through all that lives."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from transport.daemon import process
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
    frozen, found = gc.get_freeze_count(), []

    async def serve(*_: object) -> int:
        found.append((gc.get_freeze_count() > frozen, *gc.get_threshold()))
        return 0

    monkeypatch.setattr(process, "_serve", serve)
    await process.serve(Settings(instance_id="gw-1", redis="redis://127.0.0.1:1"))
    assert found == [(True, process.YOUNG_OBJECTS, *thresholds[1:])]
