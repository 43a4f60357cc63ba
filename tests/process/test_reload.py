"""SIGHUP: certificates, revocation list and allow-list are read again, and no connection is lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.request import urlopen

import pytest
import trustme

from tests.process.gateway import IMEI, KEYS, MAIN, Bus, Device, Gateway, until
from tests.rig.certificates import FAR_AHEAD, RECENTLY, revocation_list, write_pair
from tests.rig.event_loops import LOOPS
from transport.teltonika.handshake import encode_handshake

OTHER_IMEI = "352093081452252"


class Site:
    """The files of a gateway, and devices that trust its authority.

    Attributes:
        good: a device's certificate.
        bad: one that is revoked later.
    """

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._stack = stack
        self.authority = trustme.CA()
        self.good, self.bad = (self.authority.issue_cert(IMEI, OTHER_IMEI) for _ in range(2))
        self.cert, self.key, self.ca, self.crl, self.devices = (
            directory / name for name in ("cert.pem", "key.pem", "ca.pem", "crl.pem", "devices.txt")
        )
        write_pair(self.authority, self.cert, self.key)
        self.authority.cert_pem.write_to_path(self.ca)
        self.crl.write_bytes(revocation_list(self.authority))
        self.devices.write_text(f"{IMEI}\n")

    def options(self) -> dict[str, Any]:
        """The options that name the files."""
        tls = {"tls_cert": self.cert, "tls_key": self.key, "tls_client_ca": self.ca, "tls_crl": self.crl}
        return tls | {"tls_listen": "127.0.0.1:0", "allow_list": self.devices}

    def connect(self, gateway: Gateway, leaf: trustme.LeafCert | None = None, imei: str = IMEI) -> Device:
        """A device connects with TLS."""
        context = ssl.create_default_context(cafile=self.ca)
        (leaf or self.good).configure_cert(context)
        port = gateway.said("ready")["tls"][0].rpartition(":")[2]
        device = self._stack.enter_context(Device(cast(Gateway, SimpleNamespace(port=port)), imei))
        device.socket = context.wrap_socket(device.socket, server_hostname="127.0.0.1")
        return device

    def serial(self, gateway: Gateway) -> str:
        """Connect, and tell which certificate the gateway shows."""
        device = self.connect(gateway).ready()
        with device:
            return serial_of(device)


def serial_of(device: Device) -> str:
    certificate = cast(ssl.SSLSocket, device.socket).getpeercert()
    assert certificate
    return str(certificate["serialNumber"])


@pytest.fixture
def site(tmp_path: Path, stack: ExitStack) -> Site:
    return Site(tmp_path, stack)


@pytest.fixture(params=list(LOOPS))
def gateway(request: pytest.FixtureRequest, gateway_url: str, stack: ExitStack, site: Site) -> Gateway:
    """A gateway on each event loop."""
    return stack.enter_context(LOOPS[request.param](gateway_url, **site.options()))


def send_sighup(gateway: Gateway, event: str) -> dict[str, Any]:
    """Send SIGHUP and wait for its log line."""
    before = len(gateway.lines)
    gateway.process.send_signal(signal.SIGHUP)

    def told() -> dict[str, Any] | None:
        return next((line for line in gateway.lines[before:] if line["event"] == event), None)

    return until(told, event)


@contextmanager
def put_back(*paths: Path) -> Iterator[None]:
    """What is done to the files within is undone."""
    kept = {path: path.read_bytes() for path in paths}
    yield
    for path, content in kept.items():
        path.unlink(missing_ok=True)
        path.write_bytes(content)


def test_new_files_are_used_for_new_connections_and_none_is_lost(gateway: Gateway, site: Site) -> None:
    device, revoked = site.connect(gateway).ready(), site.connect(gateway, site.bad, IMEI)
    before = serial_of(device)
    device.report()
    write_pair(site.authority, site.cert, site.key)
    site.crl.write_bytes(revocation_list(site.authority, site.bad))
    site.devices.write_text(f"{IMEI}\n{OTHER_IMEI}\n")
    line = send_sighup(gateway, "reloaded")
    assert line["tls"] == [str(path) for path in (site.cert, site.key, site.ca, site.crl)]
    assert line["tls_until"].startswith("2037-01-01")
    assert (line["allow_list"], line["devices"]) == (str(site.devices), 2)
    device.report()
    revoked.socket.close()
    with site.connect(gateway, imei=OTHER_IMEI).ready() as newcomer:
        assert serial_of(newcomer) != before
    with pytest.raises((OSError, AssertionError)), site.connect(gateway, site.bad) as unknown:
        unknown.ready()
    assert gateway.said("tls_failed")["reason"] == "certificate_revoked"
    device.report()
    assert sum(line["event"] == "reloaded" for line in gateway.lines) == 1


def expired(site: Site) -> None:
    write_pair(site.authority, site.cert, site.key, until=RECENTLY)


def another_key(site: Site) -> None:
    site.authority.issue_cert("127.0.0.1").private_key_pem.write_to_path(site.key)


def a_pipe(site: Site) -> None:
    site.key.unlink()
    os.mkfifo(site.key)


def a_good_certificate_and_no_authority(site: Site) -> None:
    write_pair(site.authority, site.cert, site.key)
    site.ca.write_text("hello")


def a_good_certificate_and_an_expired_list(site: Site) -> None:
    write_pair(site.authority, site.cert, site.key)
    site.crl.write_bytes(revocation_list(site.authority, until=RECENTLY))


BAD: dict[str, tuple[Callable[[Site], object], str]] = {
    "no certificate": (
        lambda site: site.cert.unlink(),
        "cert.pem cannot be read: No such file",
    ),
    "no PEM": (lambda site: site.cert.write_text("hello"), "do not hold a certificate and its key in PEM."),
    "another key": (another_key, "key.pem is not the key of the certificate in"),
    "a pipe": (a_pipe, "key.pem cannot be read: not a regular file."),
    "expired": (expired, "cert.pem expired at 2020-01-01 00:00 UTC."),
    "no authority": (a_good_certificate_and_no_authority, "ca.pem does not hold certificates in PEM."),
    "no list": (lambda site: site.crl.write_bytes(b""), "crl.pem does not hold a revocation list in PEM."),
    "an expired list": (
        a_good_certificate_and_an_expired_list,
        "crl.pem expired at 2020-01-01 00:00 UTC.",
    ),
}


def test_unusable_files_are_logged_and_the_old_ones_stay(gateway: Gateway, site: Site) -> None:
    device = site.connect(gateway).ready()
    before = serial_of(device)
    for number, (break_it, words) in enumerate(BAD.values(), 1):
        with put_back(site.cert, site.key, site.ca, site.crl):
            break_it(site)
            line = send_sighup(gateway, "reload_failed")
            assert (line["part"], line["level"]) == ("tls", "error")
            assert words in line["error"]
        assert site.serial(gateway) == before
        device = site.connect(gateway).ready()
        until(lambda: sum(line["event"] == "reloaded" for line in gateway.lines) == number)  # noqa: B023
        assert "tls" not in next(line for line in gateway.lines[::-1] if line["event"] == "reloaded")
    write_pair(site.authority, site.cert, site.key)
    send_sighup(gateway, "reloaded")
    device.report()
    assert site.serial(gateway) != before


def test_an_unreadable_list_stays_and_certificates_are_read(gateway: Gateway, site: Site) -> None:
    before = site.serial(gateway)
    write_pair(site.authority, site.cert, site.key)
    site.devices.write_bytes(b"\xff\xfe")
    line = send_sighup(gateway, "reload_failed")
    assert (line["part"], line["error"]) == ("allow_list", "not UTF-8")
    gateway.said("reloaded")
    assert site.serial(gateway) != before


def test_a_resumed_tls_session_ends_with_its_certificate(gateway: Gateway, site: Site) -> None:
    first = site.connect(gateway, site.bad).ready()
    context, session = cast(ssl.SSLSocket, first.socket).context, cast(ssl.SSLSocket, first.socket).session

    def resume() -> ssl.SSLSocket:
        port = int(gateway.said("ready")["tls"][0].rpartition(":")[2])
        plain = socket.create_connection(("127.0.0.1", port), 5)
        return context.wrap_socket(plain, server_hostname="127.0.0.1", session=session)

    with resume() as again:
        assert again.session_reused
    site.crl.write_bytes(revocation_list(site.authority, site.bad))
    send_sighup(gateway, "reloaded")
    said = b""
    with suppress(OSError), resume() as again:
        assert not again.session_reused
        again.sendall(encode_handshake(IMEI))
        said = again.recv(1)
    assert said == b""
    assert gateway.said("tls_failed")["reason"] == "certificate_revoked"


def test_the_set_in_redis_is_copied_anew(start: Callable[..., Gateway], bus: Bus) -> None:
    gateway = start(allow_list="redis")
    bus.client.sadd(KEYS.allowed, IMEI, OTHER_IMEI)
    line = send_sighup(gateway, "reloaded")
    assert (line["allow_list"], line["devices"]) == ("redis", 2)


def test_a_device_that_is_taken_off_the_list_is_disconnected(gateway: Gateway, site: Site, bus: Bus) -> None:
    device = site.connect(gateway).ready()
    bus.ask("c-1")
    device.command()
    site.devices.write_text(f"{OTHER_IMEI}\n")
    assert send_sighup(gateway, "reloaded")["devices"] == 1
    assert device.rest() == b""
    assert bus.ended("c-1")[-1] == "failed connection_lost maybe_sent"
    closed = gateway.said("session_closed", reason="device_refused")
    assert closed["imei"] == IMEI
    with site.connect(gateway) as again:
        again.send(encode_handshake(IMEI))
        assert again.rest() == b"\0"
    gateway.said("device_refused", imei=IMEI)


HANGING = """
import os, time
from transport.connection import tls
load = tls.load
def hang(settings):
    while os.path.exists(os.environ["HANGS"]):
        time.sleep(0.01)
    return load(settings)
tls.load = hang
"""


def test_a_hanging_file_system_delays_neither_devices_nor_stop(
    gateway_url: str, stack: ExitStack, site: Site, tmp_path: Path
) -> None:
    class Hanging(Gateway):
        main = HANGING + MAIN
        environment = {"HANGS": str(tmp_path / "hangs")}  # noqa: RUF012

    gateway = stack.enter_context(Hanging(gateway_url, **site.options()))
    device = site.connect(gateway).ready()
    (tmp_path / "hangs").touch()
    gateway.process.send_signal(signal.SIGHUP)
    for _ in range(50):
        device.report()
    assert not gateway.said_before("reload_failed")
    assert "could not be read within 5 s" in gateway.said("reload_failed", part="tls")["error"]
    site.serial(gateway)
    gateway.process.send_signal(signal.SIGHUP)
    gateway.terminate()
    assert gateway.exit_status() == 0


def test_when_the_first_of_the_files_is_over_can_be_watched(
    gateway_url: str, stack: ExitStack, site: Site, unused_tcp_port: int
) -> None:
    address = f"127.0.0.1:{unused_tcp_port}"
    gateway = stack.enter_context(Gateway(gateway_url, **site.options() | {"metrics": address}))

    def ends() -> float:
        with urlopen(f"http://{address}/metrics", timeout=5) as page:
            lines = page.read().decode().splitlines()
        [value] = [line.split()[1] for line in lines if line.startswith("teltonika_tls_expiry_timestamp_sec")]
        return float(value)

    assert ends() == FAR_AHEAD.timestamp()
    sooner = FAR_AHEAD - timedelta(days=365)
    site.crl.write_bytes(revocation_list(site.authority, until=sooner))
    send_sighup(gateway, "reloaded")
    assert ends() == sooner.timestamp()


def test_without_files_nothing_is_read_again(start: Callable[..., Gateway]) -> None:
    gateway = start()
    line = send_sighup(gateway, "reloaded")
    assert not {"tls", "allow_list", "devices"} & line.keys()


def test_an_expired_certificate_at_the_start_is_logged(
    gateway_url: str, stack: ExitStack, site: Site
) -> None:
    expired(site)
    gateway = stack.enter_context(Gateway(gateway_url, **site.options()))
    line = gateway.said("tls_out_of_date")
    assert (line["level"], line["fault"]) == (
        "error",
        f"{site.cert} expired at 2020-01-01 00:00 UTC.",
    )


def test_values_have_names_by_the_family_of_the_device(
    start: Callable[..., Gateway], plug_in: Callable[..., Device], bus: Bus, tmp_path: Path
) -> None:
    own = tmp_path / "own.csv"
    own.write_text("id,family,name\n241,FMx6,operator_6\n")
    bus.client.hset("devices:family", IMEI, "FMC650")
    gateway = start(io_names="on", avl_ids=own, heartbeat_interval=0.1)
    device = plug_in(gateway).ready()

    def name_of_241() -> str:
        device.report()
        [(_, fields)] = bus.client.xrevrange(KEYS.telemetry, count=1)
        named = json.loads(fields["data"])["named"]
        return next(name for name, value in named.items() if value.get("value") == 24602)

    until(lambda: name_of_241() == "operator_6", "the family of the device")
    own.write_text("id,family,name\n241,FMx6,operator_again\n")
    gateway.process.send_signal(signal.SIGHUP)
    gateway.said("reloaded", avl_ids=str(own))
    assert name_of_241() == "operator_again"
    own.write_text("id,family,name\nx,FMx6,broken\n")
    gateway.process.send_signal(signal.SIGHUP)
    assert "line 2" in gateway.said("reload_failed", part="avl_ids")["error"]
    assert name_of_241() == "operator_again"
    bus.client.hdel("devices:family", IMEI)
    until(lambda: name_of_241() == "active_gsm_operator", "the default family")


def test_rows_that_cannot_be_understood_prevent_a_start(redis_url: str, tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text("id,family\n")
    with type("Refused", (Gateway,), {"alarming": ()})(
        redis_url, ready=False, io_names="on", avl_ids=own
    ) as gateway:
        assert gateway.exit_status() == 2
        assert "own.csv, line 1: the column name is missing" in str(gateway.lines)


def test_a_policy_is_read_again_and_a_wrong_one_is_not_used(
    start: Callable[..., Gateway], plug_in: Callable[..., Device], bus: Bus, tmp_path: Path
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('[[rule]]\nname = "one"\nallow = ["c-1"]\n')
    gateway = start(policy=path)
    device = plug_in(gateway).ready()
    bus.ask("c-1")
    assert device.obey() == "c-1"
    bus.ask("c-2")
    assert bus.ended("c-2") == ["failed not_allowed not_sent"]
    assert bus.events("c-2")[0]["detail"] == "rule default"
    path.write_text('default = "deny"\n[[rule]]\nname = "two"\nallow = ["c-?"]\nconfirm = true\n')
    gateway.process.send_signal(signal.SIGHUP)
    gateway.said("reloaded", rules=1, policy=str(path))
    bus.ask("c-3")
    assert bus.ended("c-3") == ["failed not_allowed not_sent"]
    bus.ask("c-4", confirm="1")
    assert device.obey() == "c-4"
    path.write_text("[[rule]]\n")
    gateway.process.send_signal(signal.SIGHUP)
    assert "rule 1" in gateway.said("reload_failed", part="policy")["error"]
    bus.ask("c-5", confirm="1")
    assert device.obey() == "c-5"
