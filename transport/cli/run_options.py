"""The settings of ``telgw run`` in the order of the help. Each is also a key of the configuration file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from transport.connection.certificate import MODES
from transport.connection.tls import VERSIONS
from transport.teltonika.frame import MESSAGE_LIMIT, PACKET_LIMIT

from .budget_options import BUDGETS
from .cap_options import LOG_CAPS, TELEMETRY_CAPS
from .options import Decorated, Setting, setting, with_redis
from .parameters import (
    AllowList,
    Ciphers,
    Duration,
    HostPort,
    InstanceId,
    Networks,
    NetworksOf,
    StreamName,
    Verbs,
)
from .takeover_options import TAKEOVER
from .telemetry_options import TELEMETRY

PEM = click.Path(dir_okay=False, path_type=Path)
POSITIVE = click.IntRange(min=1)
COUNT = click.IntRange(min=0)

SETTINGS: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...] = (
    setting(
        "Network",
        "--listen",
        HostPort(off=True),
        "Address for devices; repeatable; `off` if only other listeners are wanted.",
        multiple=True,
    ),
    setting(
        "Network",
        "--metrics",
        HostPort(off=True),
        "Address of the Prometheus metrics, or `off`; each gateway on a host needs its own.",
    ),
    setting(
        "Network",
        "--max-connections",
        COUNT,
        "Connections at once; 0: as many as the limit of open files allows.",
    ),
    setting(
        "Network",
        "--max-connections-per-ip",
        COUNT,
        "Connections from one address that have not sent an IMEI yet; 0: no limit.",
    ),
    *BUDGETS,
    setting(
        "Network",
        "--handshake-timeout",
        Duration(0.1, 3600),
        "Time a device has to send its IMEI, TLS included.",
    ),
    setting(
        "Network",
        "--idle-timeout",
        Duration(),
        "Closes a connection that is silent for this long; 0: never.",
    ),
    setting(
        "Network",
        "--max-frame",
        click.IntRange(PACKET_LIMIT, MESSAGE_LIMIT),
        "Longest frame of records, in bytes of its length field; devices send at most 1,280.",
    ),
    setting(
        "Network",
        "--proxy-listen",
        HostPort(),
        "Address for proxies that send a PROXY header, version 1 or 2; repeatable.",
        multiple=True,
    ),
    setting(
        "Network",
        "--proxy-trust",
        Networks(),
        "Networks of these proxies, separated by commas; connections from elsewhere are refused.",
        default="off",
    ),
    setting(
        "Security",
        "--allow-from",
        NetworksOf(),
        "Networks from which devices may connect, to the listener HOST:PORT or to all others; repeatable.",
        multiple=True,
        show_default="any",
    ),
    setting(
        "Security",
        "--tls-proxy-listen",
        HostPort(),
        "Address for proxies that send a PROXY header and pass TLS through; repeatable.",
        multiple=True,
    ),
    setting(
        "Security", "--tls-listen", HostPort(), "Address for devices with TLS; repeatable.", multiple=True
    ),
    setting(
        "Security", "--tls-cert", PEM, "Certificate and its chain, PEM.", default=None, show_default="none"
    ),
    setting(
        "Security",
        "--tls-key",
        PEM,
        "Private key of the certificate, PEM.",
        default=None,
        show_default="in the same file",
    ),
    setting(
        "Security",
        "--tls-client-ca",
        PEM,
        "Devices need a certificate of this CA, PEM.",
        default=None,
        show_default="none",
    ),
    setting(
        "Security",
        "--tls-crl",
        PEM,
        "Revocation list of that CA, PEM; devices whose certificate is on it are refused.",
        default=None,
        show_default="none",
    ),
    setting(
        "Security", "--tls-bind-imei", click.Choice(MODES), "Name of its certificate that is a device's IMEI."
    ),
    setting("Security", "--tls-min-version", click.Choice(list(VERSIONS)), "Lowest TLS version."),
    setting(
        "Security",
        "--tls-ciphers",
        Ciphers(),
        "Ciphers of TLS 1.2, as an OpenSSL string.",
        default=None,
        show_default="as Python sets them",
    ),
    setting(
        "Security",
        "--allow-list",
        AllowList(),
        "Devices that may connect: a file of lines IMEI [CIDR...] [cert=SHA256...], `redis` for the set "
        "devices:allowed, or `off`; `any` is `off` without a warning.",
    ),
    setting(
        "Security",
        "--allow-list-when-unavailable",
        click.Choice(["closed", "open"]),
        "Whether unlisted devices may connect while the list cannot be read.",
    ),
    *TAKEOVER,
    setting(
        "Security",
        "--allow-verbs",
        Verbs(),
        "First words that commands may have, separated by commas; other commands end as not_allowed. "
        "`off`: any word.",
        default="off",
    ),
    setting(
        "Security",
        "--policy",
        PEM,
        "Rules on commands, TOML; other commands end as not_allowed. See `telgw policy check`.",
        default=None,
        show_default="none",
    ),
    with_redis,
    setting(
        "Redis",
        "--embedded-port",
        click.IntRange(0, 65535),
        "Port of 127.0.0.1 on which the embedded server also listens, with a password; 0: none.",
    ),
    setting(
        "Redis",
        "--instance-id",
        InstanceId(),
        "Name of this gateway; keep it over restarts.",
        default=None,
        show_default="{hostname}-{port}",
    ),
    click.option(
        "--take-over",
        is_flag=True,
        help="Take the instance id from a live gateway, which then stops. For this start only.",
    ),
    setting("Redis", "--session-events", StreamName(), "Stream for session events, or `off`."),
    setting(
        "Redis",
        "--session-events-rate",
        COUNT,
        "Session events of one device in a minute; an address may cause 120 times, the gateway 1,200 times "
        "as many. More wait, or are left out. 0: no limit.",
    ),
    *TELEMETRY,
    *TELEMETRY_CAPS,
    *LOG_CAPS,
    setting("Commands", "--retention", Duration(1.0), "How long a finished command and its events are kept."),
    setting("Commands", "--commands-limit", POSITIVE, "Commands in progress at once; more wait in Redis."),
    setting(
        "Commands", "--command-ttl", Duration(1.0, 86400), "A command without expires_at expires after this."
    ),
    setting("Commands", "--response-timeout", Duration(0.1, 3600), "Time a device has to answer a command."),
    setting("Commands", "--max-payload", click.IntRange(1, 4096), "Longest text of a command, in bytes."),
    setting("Commands", "--queue-limit", POSITIVE, "Commands that may wait for one device."),
    setting(
        "Commands",
        "--drain-timeout",
        Duration(0.1, 86400),
        "How long a command waits behind a late answer; then the connection is closed.",
    ),
    setting(
        "Commands",
        "--ready-grace",
        Duration(0.0, 3600),
        "Delay after which a device that sends no records gets commands.",
    ),
    setting(
        "Commands",
        "--reconnect-grace",
        Duration(0.0, 86400),
        "How long commands wait for a disconnected device. After a crash its registration is kept as long.",
    ),
    setting("Fleet", "--heartbeat-interval", Duration(0.1, 3600), "Time between two heartbeats."),
    setting(
        "Fleet",
        "--heartbeat-ttl",
        Duration(0.2, 86400),
        "A gateway without a heartbeat for this long counts as dead.",
    ),
    setting(
        "Fleet", "--janitor-interval", Duration(0.1, 86400), "Time between two checks for dead gateways."
    ),
    setting(
        "Fleet",
        "--janitor-grace",
        Duration(0.0, 86400),
        "A gateway is dead only if its heartbeat is still missing after this.",
    ),
    setting(
        "Fleet",
        "--janitor-min-uptime",
        Duration(0.0, 86400),
        "No gateway counts as dead while Redis has been up for less than this.",
    ),
    setting(
        "Process",
        "--workers",
        click.IntRange(1, 256),
        "Gateways on the same addresses, one process and one core each; their instance ids end in -1, -2 ...",
    ),
    setting("Process", "--shutdown-timeout", Duration(0.0, 3600), "Time to wait for answers after SIGTERM."),
    setting(
        "Process",
        "--log-level",
        click.Choice(["debug", "info", "warning", "error"]),
        "Lowest severity that is logged.",
    ),
    setting(
        "Process",
        "--log-format",
        click.Choice(["auto", "json", "console"]),
        "`auto`: JSON unless standard error is a terminal.",
    ),
)
"""Decorators in the order of the help."""


def with_settings(function: Decorated) -> Decorated:
    """Add every setting of `telgw run` to a verb."""
    decorated: Any = function
    for decorate in reversed(SETTINGS):
        decorated = decorate(decorated)
    return decorated  # type: ignore[no-any-return]


def settings() -> dict[str, Setting]:
    """The settings by name."""
    run: click.Command = click.command(with_settings(lambda **_: None))
    return {str(option.name): option for option in run.params if isinstance(option, Setting)}
