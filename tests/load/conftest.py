"""What the tests under load share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.rig.local import LocalServer


@pytest.fixture(scope="session")
def server(embedded_server: LocalServer) -> LocalServer:
    """One kind of server is enough: what is tried here is the gateway."""
    return embedded_server


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is entered here ends with the test."""
    with ExitStack() as stack:
        yield stack
