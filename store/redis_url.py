"""Redis URLs: what they may say, how they are read, and how they are shown.

One server is ``redis://``, ``rediss://`` or ``unix://``. More than one is

    redis+sentinel://[user:password@]host[:26379][,host[:port]...]/service[/db][?sentinel_password=...]
    redis+cluster://[user:password@]host[:6379][,host[:port]...]

and the same with ``rediss+``, which speaks TLS to every server, the sentinels included.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from fsm.errors import GatewayFault

SENTINEL, CLUSTER = "sentinel", "cluster"
SINGLE = ("redis", "rediss", "unix")
SEVERAL = {f"{scheme}+{kind}": kind for kind in (SENTINEL, CLUSTER) for scheme in ("redis", "rediss")}
SCHEMES = (*SINGLE, *SEVERAL)
PORTS = {SENTINEL: 26379, CLUSTER: 6379}

Address = tuple[str, int]

_PASSWORD = re.compile(r"(://[^:/?#@]*:).*@")
_PASSWORD_OPTION = re.compile(r"([?&](?:sentinel_)?password=)[^&#]*")
_PARTS = re.compile(r"(?P<scheme>[A-Za-z+]+)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?")
_NODE = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s:\[\]]+))(?::(?P<port>\d{1,5}))?")
_HASH_TAG = re.compile(r"[^{]*\{[^}]+\}")


class BadRedisUrl(GatewayFault):
    """A URL that names no Redis server; the sentence never holds the password."""


@dataclass(slots=True, frozen=True)
class RedisUrl:
    """Where Redis is.

    Attributes:
        server: the URL of a server of data, as redis-py reads it. For several it says how to speak to each of
            them, and its host means nothing.
        kind: ``sentinel`` or ``cluster``; empty for one server, whose address is in `server`.
        nodes: the sentinels, or nodes of the cluster.
        service: the name under which the sentinels know the servers.
        login: what the sentinels want to hear: ``username``, ``password``.
    """

    server: str = field(repr=False)
    kind: str = ""
    nodes: tuple[Address, ...] = ()
    service: str = ""
    login: dict[str, str] = field(default_factory=dict, repr=False)

    def check_prefix(self, key_prefix: str) -> None:
        """Whether every key behind `key_prefix` can be reached here.

        Raises:
            BadRedisUrl: a cluster would scatter them over its nodes, and no script could reach them all.
        """
        if self.kind == CLUSTER and not _HASH_TAG.match(key_prefix):
            raise BadRedisUrl(
                "A cluster keeps the keys of a fleet together only behind a --key-prefix with a hash tag, "
                "for example {fleet}: (braces and all)."
            )


def redacted(url: str) -> str:
    """`url` as it may be logged: without its passwords."""
    return _PASSWORD.sub(r"\1***@", _PASSWORD_OPTION.sub(r"\1***", url))


def read_url(url: str) -> RedisUrl:
    """What `url` says.

    Raises:
        BadRedisUrl: it names no server, or sets what the gateway chooses.
    """
    scheme = url.partition(":")[0].lower()
    if not url.isprintable() or scheme not in SCHEMES:
        raise _nowhere(url)
    return _several(url, SEVERAL[scheme]) if scheme in SEVERAL else _single(url)


def _nowhere(url: str) -> BadRedisUrl:
    return BadRedisUrl(
        f"{redacted(url)!r} names no Redis server: write redis://, rediss://, unix://, redis+sentinel:// or "
        "redis+cluster:// and where it is."
    )


def _single(url: str) -> RedisUrl:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadRedisUrl("The Redis URL cannot be read: its host or port is malformed.") from None
    database = parts.path.strip("/")
    if parts.scheme == "unix":
        usable = bool(parts.path)
    else:
        usable = bool(parts.hostname) and port != 0 and (not database or database.isdigit())
    if not usable:
        raise _nowhere(url)
    _options(parts.query, "db", "username", "password")
    return RedisUrl(url)


def _several(url: str, kind: str) -> RedisUrl:
    parts = _PARTS.fullmatch(url)
    if parts is None:
        raise _nowhere(url)
    login, at, hosts = parts["authority"].rpartition("@")
    nodes = tuple(_node(text, PORTS[kind]) for text in hosts.split(","))
    service, database = _path(parts["path"], kind)
    told = ("sentinel_username", "sentinel_password") if kind == SENTINEL else ()
    options = _options(parts["query"] or "", "username", "password", *told)
    server = f"{parts['scheme'].lower().partition('+')[0]}://{login}{at}server/{database}"
    kept = {name: value for name, value in options.items() if name not in told}
    return RedisUrl(
        server=f"{server}?{urlencode(kept)}" if kept else server,
        kind=kind,
        nodes=nodes,
        service=service,
        login={name.removeprefix("sentinel_"): options[name] for name in told if name in options},
    )


def _node(text: str, port: int) -> Address:
    found = _NODE.fullmatch(text)
    if found is None or not 0 < int(found["port"] or port) < 65536:
        raise BadRedisUrl("The Redis URL cannot be read: one of its hosts or ports is malformed.")
    return unquote(found["v6"] or found["host"]), int(found["port"] or port)


def _path(path: str, kind: str) -> tuple[str, str]:
    """The service and the number of the database."""
    steps = path.strip("/").split("/") if path.strip("/") else []
    service = unquote(steps.pop(0)) if kind == SENTINEL and steps else ""
    database = steps.pop(0) if steps else "0"
    if kind == SENTINEL and not service:
        raise BadRedisUrl(
            "The Redis URL has to name the service that the sentinels watch: redis+sentinel://host/mymaster."
        )
    if steps or not database.isdigit():
        raise BadRedisUrl("The Redis URL cannot be read: its path is malformed.")
    if kind == CLUSTER and int(database):
        raise BadRedisUrl("A cluster has no database but 0.")
    return service, database


def _options(query: str, *known: str) -> dict[str, str]:
    """The options of a URL; besides those `known` it may have the ``ssl_`` ones."""
    options = dict(parse_qsl(query))
    for name in options:
        if name not in known and not name.startswith("ssl_"):
            raise BadRedisUrl(f"The Redis URL cannot set {name!r}: the gateway chooses it.")
    return options
