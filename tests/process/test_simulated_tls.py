"""``telgw simulate`` with TLS, against the listener of a real gateway."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme
from cryptography.x509 import DNSName

from tests.process.gateway import KEYS, MAIN, Bus, Gateway, clean_environment
from tests.rig.certificates import device_certificate, write_pair
from transport.simulator.fleet import IMEI_BASE

IMEIS = [f"{IMEI_BASE + number:015d}" for number in range(2)]
Simulate = Callable[..., tuple[int, str]]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca(authority: trustme.CA, tmp_path: Path) -> Path:
    """The file of the authority of gateway and devices."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path / "ca.pem"


@pytest.fixture
def devices(authority: trustme.CA, ca: Path, tmp_path: Path) -> Path:
    """A directory with a certificate for each tracker, which names its IMEI."""
    for imei in IMEIS:
        device_certificate(authority, tmp_path / f"{imei}.pem", DNSName(imei))
    return tmp_path


@pytest.fixture
def gateway(redis_url: str, authority: trustme.CA, ca: Path, tmp_path: Path, stack: ExitStack) -> Gateway:
    """A gateway that wants certificates of its devices."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    write_pair(authority, cert, key)
    tls = {"tls_listen": "127.0.0.1:0", "tls_cert": cert, "tls_key": key, "tls_client_ca": ca}
    return stack.enter_context(Gateway(redis_url, **tls))


def simulate(gateway: Gateway, *options: object) -> tuple[int, str]:
    """The exit status of a fleet of two, and all that it says."""
    where = gateway.said("ready")["tls"][0]
    fleet = ("--trackers", 2, "--interval", "0.05", "--records", 2, "--duration", "3")
    words = [str(word) for word in ("simulate", "--connect", where, *fleet, *options)]
    ran = subprocess.run(
        [sys.executable, "-c", MAIN, *words],
        capture_output=True,
        text=True,
        env=clean_environment(),
        timeout=60,
    )
    return ran.returncode, ran.stdout + ran.stderr


def test_a_fleet_reports_with_a_certificate_for_each_tracker(
    gateway: Gateway, bus: Bus, ca: Path, devices: Path
) -> None:
    status, said = simulate(gateway, "--tls-ca", ca, "--tls-cert", devices / "{imei}.pem", "--duration", 30)
    assert (status, "4 records acknowledged" in said) == (0, True)
    assert sorted(bus.client.hgetall(KEYS.auth)) == IMEIS
    assert all(auth.startswith("cert:") for auth in bus.client.hgetall(KEYS.auth).values())


def test_a_tracker_without_a_certificate_is_asked_for_one(gateway: Gateway, ca: Path) -> None:
    status, said = simulate(gateway, "--tls-ca", ca)
    assert (status, "has closed the connection; does it want a certificate" in said) == (1, True)


def test_a_certificate_of_another_device_is_refused(gateway: Gateway, ca: Path, devices: Path) -> None:
    status, said = simulate(gateway, "--tls-ca", ca, "--tls-cert", devices / f"{IMEIS[0]}.pem")
    assert (status, "(0 refused)" in said) == (0, False)
    assert gateway.said("device_refused", imei=IMEIS[1])["reason"] == "certificate_name"


def test_a_gateway_is_not_believed_without_its_authority(gateway: Gateway, devices: Path) -> None:
    status, said = simulate(gateway, "--tls", "--tls-cert", devices / "{imei}.pem")
    assert (status, f"the certificate of {gateway.said('ready')['tls'][0]} is not accepted" in said) == (
        1,
        True,
    )


def test_the_certificate_of_a_gateway_may_have_another_name(
    gateway: Gateway, ca: Path, devices: Path
) -> None:
    files = ("--tls-ca", ca, "--tls-cert", devices / "{imei}.pem")
    status, said = simulate(gateway, *files, "--tls-server-name", "other.test")
    assert (status, "is not accepted" in said) == (1, True)
    assert simulate(gateway, *files, "--tls-server-name", "127.0.0.1", "--duration", 30)[0] == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--tls-cert", "{imei}.pem"), "352094080000000.pem cannot be read"),
        (("--tls-ca", "/nowhere.pem"), "--tls-ca"),
        (("--tls-key", "key.pem"), "--tls-key needs --tls-cert"),
    ],
)
def test_files_that_cannot_be_used_are_said_before_anything_connects(
    gateway: Gateway, options: tuple[str, ...], said: str
) -> None:
    status, text = simulate(gateway, *options)
    assert (status, said in text) == (2, True)
