"""What the tests of the process share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.process.gateway import IMEI, Bus, Device, Gateway
from tests.rig.local import LocalServer
from tests.rig.rights import least_privilege


@pytest.fixture(scope="session")
def server(embedded_server: LocalServer) -> LocalServer:
    """One kind of server is enough here: what differs between them is tested script by script."""
    return embedded_server


@pytest.fixture
def bus(redis_url: str) -> Iterator[Bus]:
    with Bus(redis_url) as bus:
        yield bus


@pytest.fixture
def gateway_url(redis_url: str) -> Iterator[str]:
    """Gateways work with the rights that the contract prints, in every test."""
    with least_privilege(redis_url) as url:
        yield url


@pytest.fixture
def stack(gateway_url: str) -> Iterator[ExitStack]:
    """What is entered here ends with the test, and before the user of the gateways does."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def start(gateway_url: str, stack: ExitStack) -> Callable[..., Gateway]:
    """Starts gateways on an empty server."""

    def start(instance_id: str = "gw-1", **options: object) -> Gateway:
        return stack.enter_context(Gateway(gateway_url, instance_id, **options))  # type: ignore[arg-type]

    return start


@pytest.fixture
def plug_in(stack: ExitStack) -> Callable[..., Device]:
    """Connects devices."""

    def plug_in(gateway: Gateway, imei: str = IMEI) -> Device:
        return stack.enter_context(Device(gateway, imei))

    return plug_in
