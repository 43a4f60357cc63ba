"""What a gateway says of its listeners, its key and its certificates, and what `telgw check` makes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from store.diagnosis.exposure import SOON_MS, diagnose_exposure
from store.diagnosis.server import CRITICAL, OK, WARNING, Report
from store.fleet.exposure import Exposure
from store.fleet.ownership import Holder
from transport.connection.tls import load
from transport.daemon.exposure import Listening, exposure_of, warn
from transport.settings import AllowFrom, Settings

EVERYWHERE, TLS = ("0.0.0.0", 5027), ("0.0.0.0", 5028)
SETTINGS = Settings(instance_id="gw-1", listen=(EVERYWHERE,), tls_listen=(TLS,))
BOTH = (Listening(EVERYWHERE, EVERYWHERE, tls=False), Listening(TLS, TLS, tls=True))
CA, ELSEWHERE = Path("ca.pem"), AllowFrom((ip_network("10.0.0.0/8"),), EVERYWHERE)
NOW_MS = 1_767_225_600_000


@pytest.mark.parametrize(
    ("given", "opened"),
    [
        ({}, "0.0.0.0:5027,0.0.0.0:5028"),
        ({"allow_list": "devices.txt"}, ""),
        ({"allow_list": "redis"}, ""),
        ({"allow_list": "any"}, ""),
        ({"allow_from": (ELSEWHERE,)}, "0.0.0.0:5028"),
        ({"allow_from": (ELSEWHERE._replace(listener=None),)}, ""),
        ({"tls_client_ca": CA}, "0.0.0.0:5027"),
        ({"tls_client_ca": CA, "allow_from": (ELSEWHERE,)}, ""),
    ],
)
def test_a_listener_is_open_to_all_unless_the_operator_limits_it(
    given: dict[str, object], opened: str
) -> None:
    assert exposure_of(replace(SETTINGS, **given), BOTH, None).open_to_all == opened  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("0.0.0.0", True),
        ("::", True),
        ("8.8.8.8", True),
        ("2606:4700::1", True),
        ("127.0.0.1", False),
        ("::1", False),
        ("10.0.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("fd00::1", False),
        ("fe80::1%eth0", False),
    ],
)
def test_loopback_and_private_addresses_are_not_open(host: str, public: bool) -> None:
    listening = [Listening((host, 5027), (host, 5027), tls=False)]
    assert bool(exposure_of(SETTINGS, listening, None).open_to_all) is public


def test_an_open_gateway_says_so_once() -> None:
    with capture_logs() as logs:
        warn(Exposure(open_to_all="0.0.0.0:5027"))
        warn(Exposure())
    assert [(line["event"], line["log_level"], line["listeners"]) for line in logs] == [
        ("open_to_all", "warning", "0.0.0.0:5027")
    ]


@pytest.mark.parametrize(("mode", "exposed"), [(0o600, False), (0o640, False), (0o644, True), (0o660, True)])
def test_a_key_that_others_may_read_is_found(files: dict[str, Path], mode: int, exposed: bool) -> None:
    files["tls_key"].chmod(mode)
    given = {"tls_cert": files["tls_cert"], "tls_key": files["tls_key"], "tls_client_ca": files["ca"]}
    settings = replace(SETTINGS, **given)  # type: ignore[arg-type]
    tls = load(settings)
    assert tls is not None
    found = exposure_of(settings, (), tls)
    assert found.exposed_key == (str(files["tls_key"]) if exposed else "")
    assert found.certificate_until_ms == datetime(2037, 1, 1, tzinfo=UTC).timestamp() * 1000
    assert found.authority_until_ms > NOW_MS
    with capture_logs() as logs:
        warn(found)
    assert [line["event"] for line in logs] == ["secret_exposed"] * exposed


def test_what_is_published_is_read_back() -> None:
    exposure = Exposure("0.0.0.0:5027", "/etc/key.pem", NOW_MS, NOW_MS + 1)
    fields = Holder("b00t", exposure=exposure).fields()
    found = {name.encode(): value.encode() for name, value in zip(fields[::2], fields[1::2], strict=True)}
    assert Holder.read("b00t", found).exposure == exposure
    assert Holder.read("b00t", {b"boot": b"b00t", b"certificate_until": b"-1"}).exposure == Exposure()


@pytest.mark.parametrize(
    ("exposure", "level", "words"),
    [
        (Exposure(open_to_all="0.0.0.0:5027"), WARNING, "listeners of gw-1: 0.0.0.0:5027: anyone"),
        (Exposure(exposed_key="/etc/key.pem"), WARNING, "key of gw-1: other users"),
        (
            Exposure(certificate_until_ms=NOW_MS),
            CRITICAL,
            "certificate of gw-1: expired at 2026-01-01 00:00 UTC",
        ),
        (
            Exposure(certificate_until_ms=NOW_MS + SOON_MS),
            WARNING,
            "certificate of gw-1: expires at 2026-01-31 00:00 UTC, in 30 days",
        ),
        (Exposure(authority_until_ms=NOW_MS + SOON_MS), WARNING, "client CA of gw-1: expires"),
        (Exposure(certificate_until_ms=NOW_MS + SOON_MS + 1), OK, "certificate of gw-1: valid until"),
        (Exposure(certificate_until_ms=10**18), OK, "certificate of gw-1: valid until 9999-12-31"),
    ],
)
def test_what_a_gateway_exposes_is_a_finding_that_says_what_to_do(
    exposure: Exposure, level: str, words: str
) -> None:
    report = Report()
    fields = Holder("b00t", exposure=exposure).fields()
    found = {name.encode(): value.encode() for name, value in zip(fields[::2], fields[1::2], strict=True)}
    diagnose_exposure(report, "gw-1", Holder.read("b00t", found).exposure, NOW_MS)
    [finding] = report.findings
    assert (finding.level, bool(finding.mend)) == (level, level != OK)
    assert f"{finding.subject}: {finding.found}".startswith(words)


def test_a_gateway_that_exposes_nothing_has_no_finding() -> None:
    report = Report()
    diagnose_exposure(report, "gw-1", Exposure(), NOW_MS)
    assert report.findings == []
