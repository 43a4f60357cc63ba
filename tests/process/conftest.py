"""What the tests of the process share."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.process.gateway import IMEI, MAIN, Bus, Device, Gateway, clean_environment
from tests.rig.local import LocalServer
from tests.rig.namespace import Namespace, NotPossible, namespace
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
def ask(redis_url: str) -> Callable[..., tuple[int, list[dict[str, Any]]]]:
    """Runs a verb: its exit status, and the objects that it prints."""

    def run(*words: str) -> tuple[int, list[dict[str, Any]]]:
        command = [sys.executable, "-c", MAIN, *words, "--json", "--redis", redis_url]
        ran = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), timeout=30)
        return ran.returncode, [json.loads(line) for line in ran.stdout.splitlines()]

    return run


@pytest.fixture
def plug_in(stack: ExitStack) -> Callable[..., Device]:
    """Connects devices."""

    def plug_in(gateway: Gateway, imei: str = IMEI) -> Device:
        return stack.enter_context(Device(gateway, imei))

    return plug_in


@pytest.fixture
def tls(tmp_path: Path) -> tuple[dict[str, object], ssl.SSLContext]:
    """The options of a gateway with TLS, and the side of a device."""
    authority = trustme.CA()
    files = {name: tmp_path / f"{name}.pem" for name in ("tls_cert", "tls_key")}
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(files["tls_cert"])
    certificate.private_key_pem.write_to_path(files["tls_key"])
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return {"tls_listen": "127.0.0.1:0", **files}, context


@pytest.fixture
def network() -> Iterator[Namespace]:
    """A network that can be cut off."""
    try:
        with namespace() as found:
            yield found
    except NotPossible as reason:
        pytest.skip(f"no network namespace: {reason}")
