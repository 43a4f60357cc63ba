"""The settings of `telgw run`, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from fsm.networks import Network
from fsm.outbound import Limits
from fsm.takeover import TakeoverPolicy
from transport.teltonika.avl_ids import DEFAULT_FAMILY

Address = tuple[str, int]


class AllowFrom(NamedTuple):
    """Networks that may connect to `listener`; None for each listener that no other item names."""

    networks: tuple[Network, ...]
    listener: Address | None = None


def as_text(address: Address) -> str:
    """An address as ``HOST:PORT``, an IPv6 address as ``[HOST]:PORT`` (RFC 5952, section 6)."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(slots=True, frozen=True, kw_only=True)
class Settings:
    """Settings of one gateway process. Times are in seconds, sizes in bytes, stream lengths in entries.

    Attributes:
        metrics: address of the pages over HTTP, or the path of a Unix socket; None: no pages.
        workers: gateways on the same addresses, one process each.
        worker: the number of this process among them, from 1; 0: it is the only one.
    """

    instance_id: str
    take_over: bool = False
    listen: tuple[Address, ...] = (("0.0.0.0", 5027),)
    redis: str = field(default="embedded", repr=False)  # it may hold a password
    embedded_port: int = 0
    metrics: Address | Path | None = ("127.0.0.1", 9464)
    key_prefix: str = ""
    session_events: str = "commands:responses"
    session_events_rate: int = 10
    payload: str = "json"
    io_names: str = "off"
    avl_family: str = DEFAULT_FAMILY
    avl_ids: Path | None = None
    telemetry_shards: int = 1
    telemetry_maxlen: int = 1_000_000
    messages_maxlen: int = 1_000_000
    responses_maxlen: int = 1_000_000
    telemetry_maxbytes: int = 0
    messages_maxbytes: int = 0
    responses_maxbytes: int = 0
    retention: float = 7 * 86400.0
    commands_limit: int = 10_000
    limits: Limits = field(default_factory=Limits)
    drain_timeout: float = 30.0
    ready_grace: float = 10.0
    reconnect_grace: float = 60.0
    queue_limit: int = 32
    allow_verbs: tuple[str, ...] = ()
    policy: Path | None = None
    handshake_timeout: float = 10.0
    idle_timeout: float = 25 * 3600.0
    max_frame: int = 4096
    proxy_listen: tuple[Address, ...] = ()
    tls_proxy_listen: tuple[Address, ...] = ()
    proxy_trust: tuple[Network, ...] = ()
    tls_listen: tuple[Address, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    tls_crl: Path | None = None
    tls_bind_imei: str = "san"
    tls_min_version: str = "1.2"
    tls_ciphers: str | None = None
    takeover_policy: TakeoverPolicy = "hold"
    takeover_hold: float = 60.0
    allow_list: str = "off"
    allow_list_when_unavailable: str = "closed"
    shutdown_timeout: float = 15.0
    heartbeat_interval: float = 30.0
    heartbeat_ttl: float = 90.0
    janitor_interval: float = 60.0
    janitor_grace: float = 30.0
    janitor_min_uptime: float = 180.0
    max_connections: int = 0
    max_connections_per_ip: int = 1000
    connection_rate: int = 100
    handshake_rate: int = 20
    new_device_rate: int = 10
    refusal_rate: int = 1
    device_rate: int = 262_144
    allow_from: tuple[AllowFrom, ...] = ()
    workers: int = 1
    worker: int = 0
    state_dir: Path | None = None
    log_level: str = "info"
    log_format: str = "auto"

    @property
    def listeners(self) -> tuple[Address, ...]:
        """All addresses that devices or proxies connect to."""
        return self.listen + self.tls_listen + self.proxy_listen + self.tls_proxy_listen

    def allowed_from(self, listener: Address) -> tuple[Network, ...]:
        """The networks that may connect to a listener; empty for any."""
        own = [item for item in self.allow_from if item.listener == listener]
        rest = [item for item in self.allow_from if item.listener is None]
        return tuple(network for item in own or rest for network in item.networks)

    @property
    def speaks_tls(self) -> bool:
        """Whether there is a listener with TLS."""
        return bool(self.tls_listen or self.tls_proxy_listen)
