"""The addresses that devices connect to, before anybody listens on them."""

from __future__ import annotations

from collections.abc import Callable

from fsm.errors import GatewayFault
from transport.settings import Address, Settings, as_text

OnReady = Callable[[list[Address]], None]
"""Called with the addresses when devices can connect."""


class CannotListen(GatewayFault):
    """An address cannot be bound."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        super().__init__(f"Cannot listen on {as_text((host, port))}: {error.strerror or error}.")
        self.host = host
        self.port = port


def shares_port(settings: Settings, host: str, port: int) -> bool:
    """Whether the port of an IPv6 address has a separate listener for IPv4; else IPv6 serves both."""
    return ":" in host and any(other == port and ":" not in name for name, other in settings.listeners)


def overlap(host: str, other: str) -> bool:
    """Whether two addresses, with the same port, overlap. IPv4 and IPv6 are separate."""
    one_family = (":" in host) == (":" in other)
    return host == other or (one_family and not {host, other}.isdisjoint(("0.0.0.0", "::")))
