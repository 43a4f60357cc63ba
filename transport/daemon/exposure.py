"""What of a gateway is open to others: listeners that any peer may use, and a key that others may read.

An IMEI is no secret, so at a listener that anybody can reach, without an allow-list, networks or certificates
of devices, anybody is any device. A first start is easily such a start, so it is said at once, and published
for `telgw check`.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import NamedTuple

import structlog

from store.fleet.exposure import Exposure
from transport.connection.allow_list import OFF
from transport.connection.tls import Tls
from transport.settings import Address, Settings, as_text

log = structlog.get_logger("telgw")


class Listening(NamedTuple):
    """A listener: its address as the operator wrote it, as it is bound, and whether it has TLS."""

    name: Address
    bound: Address
    tls: bool


def exposure_of(settings: Settings, listeners: Iterable[Listening], tls: Tls | None) -> Exposure:
    """What is open now."""
    opened = [as_text(one.bound) for one in listeners if _is_open(settings, one)]
    ends = {path: round(until.timestamp() * 1000) for path, until in tls.ends} if tls else {}
    return Exposure(
        ",".join(opened),
        tls.exposed_key if tls else "",
        ends.get(settings.tls_cert, 0) if settings.tls_cert else 0,
        ends.get(settings.tls_client_ca, 0) if settings.tls_client_ca else 0,
    )


def _is_open(settings: Settings, listener: Listening) -> bool:
    """Whether any peer may say any IMEI there, without that the operator has said so."""
    if settings.allow_list != OFF or settings.allowed_from(listener.name):
        return False
    return _is_public(listener.bound[0]) and not (listener.tls and settings.tls_client_ca)


def _is_public(host: str) -> bool:
    """Whether an address may be one of the internet: all addresses of a host, or a global one."""
    address = ip_address(host.partition("%")[0])
    return address.is_unspecified or address.is_global


def warn(exposure: Exposure) -> None:
    """Log what is open, once, at the start."""
    if exposure.open_to_all:
        log.warning(
            "open_to_all",
            listeners=exposure.open_to_all,
            meaning="anyone who reaches the port can say any IMEI, and gets the commands for that device",
            advice="use --allow-list FILE, --allow-from or --tls-client-ca; --allow-list any if it is meant",
        )
    if exposure.exposed_key:
        log.warning("secret_exposed", file=exposure.exposed_key, mend=f"chmod 600 {exposure.exposed_key}")
