"""What the tests of the command side share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from freezegun.api import FrozenDateTimeFactory

from tests.transport.desk import Desk


@pytest.fixture
def make_desk(frozen: FrozenDateTimeFactory) -> Iterator[Callable[..., Desk]]:
    """Sets up desks; every one is audited when the test ends."""
    desks: list[Desk] = []

    def make(**given: object) -> Desk:
        desks.append(Desk(frozen, **given))  # type: ignore[arg-type]
        return desks[-1]

    yield make
    for desk in desks:
        desk.audit()


@pytest.fixture
def desk(make_desk: Callable[..., Desk]) -> Desk:
    """A desk with the default settings."""
    return make_desk()
