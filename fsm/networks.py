"""Whether an address is in one of several networks."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network


@lru_cache(maxsize=4096)
def _address(host: str) -> IPv4Address | IPv6Address | None:
    """The address, without a zone; of an IPv4 address in IPv6 the IPv4 address; None if it is no address."""
    try:
        found = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped if isinstance(found, IPv6Address) else None) or found


def is_within(host: str, networks: Iterable[Network]) -> bool:
    """Whether an address is in one of `networks`; what is no address is in none."""
    address = _address(host)
    return address is not None and any(address in network for network in networks)
