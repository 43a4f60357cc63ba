"""Redis over TLS, with the user that the contract prints."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from redis import Redis
from redis.exceptions import RedisError

from tests.conftest import REDIS_SERVER
from tests.process.gateway import MAIN, TELEMETRY, Bus, Device, Gateway, until
from tests.rig.rights import least_privilege


@dataclass(frozen=True)
class Encrypted:
    """A server that speaks nothing but TLS."""

    url: str
    authority: Path

    def renew(self) -> None:
        """A new authority, which has issued the server a new certificate; every connection is closed."""
        authority, pem = trustme.CA(), str(self.authority.with_name("renewed.pem"))
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
        with Redis.from_url(self.seen_by(self.url)) as client:
            client.config_set("tls-key-file", pem, *("tls-cert-file", pem))
            client.client_kill_filter(skipme=True, _type="normal")
        authority.cert_pem.write_to_path(str(self.authority) + ".new")
        Path(str(self.authority) + ".new").rename(self.authority)

    def seen_by(self, url: str, authority: Path | None = None) -> str:
        """`url` with the authority that its client trusts."""
        return f"{url}?ssl_ca_certs={authority or self.authority}"


@pytest.fixture
def encrypted(tmp_path: Path, unused_tcp_port: int) -> Iterator[Encrypted]:
    if not REDIS_SERVER.exists():
        pytest.skip("redis-server is not installed")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    pem = str(tmp_path / "server.pem")
    options = {
        **{"port": "0", "tls-port": str(unused_tcp_port), "bind": "127.0.0.1", "tls-auth-clients": "no"},
        **{"tls-cert-file": pem, "tls-key-file": pem, "tls-ca-cert-file": str(tmp_path / "ca.pem")},
        **{"dir": str(tmp_path), "save": "", "appendonly": "no"},
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    server = Encrypted(f"rediss://127.0.0.1:{unused_tcp_port}/0", tmp_path / "ca.pem")
    with subprocess.Popen([REDIS_SERVER, *words], stdout=subprocess.DEVNULL) as process:
        try:
            with Redis.from_url(server.seen_by(server.url)) as client:
                until(lambda: answers(client), "a server that speaks TLS")
            yield server
        finally:
            process.kill()


def answers(client: Redis) -> bool:
    """Whether the server is there."""
    try:
        return bool(client.ping())
    except RedisError:
        return False


def test_a_command_makes_its_way_over_an_encrypted_redis(encrypted: Encrypted) -> None:
    with ExitStack() as stack:
        enter = stack.enter_context
        url = enter(least_privilege(encrypted.seen_by(encrypted.url)))
        gateway = enter(Gateway(url))
        bus = enter(Bus(encrypted.seen_by(encrypted.url)))
        device = enter(Device(gateway)).ready()
        bus.ask("c1")
        device.obey()
        assert bus.ended("c1") == ["queued not_sent", "sent maybe_sent", "responded answered"]


def test_a_renewed_authority_is_believed_without_a_restart(encrypted: Encrypted) -> None:
    with ExitStack() as stack:
        gateway = stack.enter_context(Gateway(encrypted.seen_by(encrypted.url)))
        device = stack.enter_context(Device(gateway)).ready()
        encrypted.renew()
        device.report()
        bus = stack.enter_context(Bus(encrypted.seen_by(encrypted.url)))
        bus.ask("c1")
        device.obey()
        assert bus.ended("c1") == ["queued not_sent", "sent maybe_sent", "responded answered"]


@pytest.mark.parametrize("instead", ["nothing", "a pipe", "no certificate"])
def test_an_authority_that_cannot_be_read_is_named_and_read_again(encrypted: Encrypted, instead: str) -> None:
    with ExitStack() as stack:
        gateway = stack.enter_context(Gateway(encrypted.seen_by(encrypted.url)))
        device = stack.enter_context(Device(gateway)).ready()
        away = encrypted.authority.rename(encrypted.authority.with_name("away.pem"))
        if instead == "a pipe":
            os.mkfifo(encrypted.authority)
        elif instead == "no certificate":
            encrypted.authority.write_text("nothing of use")
        with Redis.from_url(encrypted.seen_by(encrypted.url, away)) as client:
            client.client_kill_filter(skipme=True, _type="normal")
        device.send(TELEMETRY)
        until(lambda: any(str(encrypted.authority) in line.get("detail", "") for line in gateway.lines))
        away.rename(encrypted.authority)
        device.report(b"")


def test_a_server_with_another_certificate_is_refused(encrypted: Encrypted, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    url = encrypted.seen_by(encrypted.url.replace("://", "://telgw:secret@"), tmp_path / "other.pem")
    words = [sys.executable, "-c", MAIN, "check", "--redis", url]
    told = subprocess.run(words, capture_output=True, text=True, check=False)
    assert told.returncode != 0
    assert "the certificate of " in told.stdout + told.stderr
    assert "is not accepted" in told.stdout + told.stderr
    assert "secret" not in told.stdout + told.stderr
