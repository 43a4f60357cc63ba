"""Redis URLs: what they may say, how they are read, and how they are shown.

A URL can hold passwords in several places, and a mistyped one can hold a part of a password anywhere. So
nothing is taken out of a URL that is shown: it is put together from the parts that are known to be harmless,
which are the scheme, the hosts, the ports, and the path. Of a URL that cannot be read the scheme is shown.

One server is ``redis://``, ``rediss://`` or ``unix://``. More than one is

    redis+sentinel://[user:password@]host[:26379][,host[:port]...]/service[/db][?sentinel_password=...]
    redis+cluster://[user:password@]host[:6379][,host[:port]...]

and the same with ``rediss+``, which speaks TLS to every server, the sentinels included.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlencode

from fsm.errors import GatewayFault

SENTINEL, CLUSTER = "sentinel", "cluster"
SINGLE = ("redis", "rediss", "unix")
SEVERAL = {f"{scheme}+{kind}": kind for kind in (SENTINEL, CLUSTER) for scheme in ("redis", "rediss")}
SCHEMES = (*SINGLE, *SEVERAL)
PORTS = {"": 6379, SENTINEL: 26379, CLUSTER: 6379}
LONGEST_SOCKET_PATH = 107
"""Bytes that the kernel takes for the path of a Unix socket."""

Address = tuple[str, int]

_PARTS = re.compile(
    r"(?P<scheme>[A-Za-z+]+)://(?P<authority>[^/?#]*)(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?"
)
_NODE = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[^\s:\[\]%,@]+))(?::(?P<port>\d{1,5}))?", re.ASCII
)
_HASH_TAG = re.compile(r"[^{]*\{[^}]+\}")
_UNREADABLE = "The Redis URL cannot be read: "
_ENCODE = _UNREADABLE + "in a name or password write %40 for @, %2F for /, %3A for :, %3F for ?, %23 for #."


class BadRedisUrl(GatewayFault):
    """A URL that names no Redis server; the sentence repeats nothing of it but its scheme."""


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
        shown: the URL as it may be shown: without logins and options.
    """

    server: str = field(repr=False)
    kind: str = ""
    nodes: tuple[Address, ...] = ()
    service: str = ""
    login: dict[str, str] = field(default_factory=dict, repr=False)
    shown: str = field(default="", compare=False)

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
    """`url` as it may be logged: where the server is, and nothing else."""
    try:
        return read_url(url).shown
    except BadRedisUrl:
        scheme = _scheme(url)
        return f"{scheme}://***" if scheme in SCHEMES else "***"


def read_url(url: str) -> RedisUrl:
    """What `url` says.

    Raises:
        BadRedisUrl: it names no server, or sets what the gateway chooses.
    """
    scheme = _scheme(url)
    if not url.isprintable() or scheme not in SCHEMES:
        raise _nowhere()
    parts = _PARTS.fullmatch(url)
    if parts is None:
        raise BadRedisUrl(_ENCODE) if "#" in url else _nowhere()
    login, at, hosts = parts["authority"].rpartition("@")
    path = parts["path"] or ""
    if "@" in path and (scheme != "unix" or at):
        raise BadRedisUrl(_ENCODE)
    read = _several if scheme in SEVERAL else _socket if scheme == "unix" else _single
    return read(_Parts(url, scheme, login + at, hosts, path, parts["query"] or ""))


def without_login(url: str) -> str:
    """`url` as somebody has it who knows no user and no password of the servers of data.

    Raises:
        BadRedisUrl: it names no server.
    """
    read_url(url)
    scheme, _, rest = url.partition("://")
    address, question, query = rest.partition("?")
    authority, slash, path = address.partition("/")
    kept = [(name, value) for name, value in parse_qsl(query) if name not in ("username", "password")]
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}{question * bool(kept)}{urlencode(kept)}"


@dataclass(slots=True, frozen=True)
class _Parts:
    """The pieces of a URL; `login` ends with its ``@`` if there is one."""

    url: str
    scheme: str
    login: str
    hosts: str
    path: str
    query: str

    def shown(self, path: str = "") -> str:
        """The harmless ones; call it when hosts and path are known to be what they should."""
        return f"{self.scheme}://{'***@' * bool(self.login)}{self.hosts}{path}"


def _scheme(url: str) -> str:
    return url.partition(":")[0].lower()


def _nowhere() -> BadRedisUrl:
    return BadRedisUrl(
        "The Redis URL names no server: write redis://, rediss://, unix://, redis+sentinel:// or "
        "redis+cluster:// and where it is."
    )


def _socket(parts: _Parts) -> RedisUrl:
    path = unquote(parts.path)
    if not path or parts.hosts:
        raise BadRedisUrl(
            _UNREADABLE + "a socket is unix:// and its whole path, as in unix:///run/redis.sock."
        )
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        raise BadRedisUrl(
            f"The path of a Unix socket has {LONGEST_SOCKET_PATH} bytes at most: use a shorter one."
        )
    options = _options(parts, "db", "username", "password")
    database = _database(options.get("db", "0"))
    return RedisUrl(parts.url, shown=parts.shown(parts.path) + f"?db={database}" * (database != "0"))


def _single(parts: _Parts) -> RedisUrl:
    if not parts.hosts:
        raise _nowhere()
    _node(parts.hosts, PORTS[""])
    _database(_options(parts, "db", "username", "password").get("db", "0"))
    database = parts.path.strip("/")
    return RedisUrl(parts.url, shown=parts.shown(f"/{_database(database)}" if database else ""))


def _several(parts: _Parts) -> RedisUrl:
    kind = SEVERAL[parts.scheme]
    nodes = tuple(_node(text, PORTS[kind]) for text in parts.hosts.split(","))
    service, database = _path(parts.path, kind)
    told = ("sentinel_username", "sentinel_password") if kind == SENTINEL else ()
    options = _options(parts, "username", "password", *told)
    server = f"{parts.scheme.partition('+')[0]}://{parts.login}server/{database}"
    kept = {name: value for name, value in options.items() if name not in told}
    return RedisUrl(
        server=f"{server}?{urlencode(kept)}" if kept else server,
        kind=kind,
        nodes=nodes,
        service=service,
        login={name.removeprefix("sentinel_"): options[name] for name in told if name in options},
        shown=parts.shown(parts.path),
    )


def _node(text: str, port: int) -> Address:
    found = _NODE.fullmatch(text)
    if found is None or not 0 < int(found["port"] or port) < 65536:
        raise BadRedisUrl(_UNREADABLE + "one of its hosts or ports is malformed.")
    return found["v6"] or found["host"], int(found["port"] or port)


def _database(text: str) -> str:
    if not (text.isascii() and text.isdigit()):
        raise BadRedisUrl(_UNREADABLE + "its database is not a number.")
    return text


def _path(path: str, kind: str) -> tuple[str, str]:
    """The service and the number of the database."""
    steps = path.strip("/").split("/") if path.strip("/") else []
    service = unquote(steps.pop(0)) if kind == SENTINEL and steps else ""
    database = _database(steps.pop(0)) if steps else "0"
    if kind == SENTINEL and not service:
        raise BadRedisUrl(
            "The Redis URL has to name the service that the sentinels watch: redis+sentinel://host/mymaster."
        )
    if steps:
        raise BadRedisUrl(_UNREADABLE + "its path is malformed.")
    if kind == CLUSTER and int(database):
        raise BadRedisUrl("A cluster has no database but 0.")
    return service, database


def _options(parts: _Parts, *known: str) -> dict[str, str]:
    """The options of a URL; besides those `known` it may have the ``ssl_`` ones, where it speaks TLS."""
    try:
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise BadRedisUrl(_ENCODE) from None
    others = [name for name in options if name not in known]
    if not all(name.startswith("ssl_") for name in others):
        allowed = ", ".join(known)
        raise BadRedisUrl(f"A Redis URL can set {allowed} and ssl_...: the gateway chooses everything else.")
    if others and not parts.scheme.startswith("rediss"):
        scheme = "rediss" + parts.scheme.removeprefix("redis") if parts.scheme != "unix" else "rediss"
        raise BadRedisUrl(f"Options that begin with ssl_ are for TLS: write {scheme}:// for it.")
    return options
