"""Types of option values: how each is read, checked and shown."""

from __future__ import annotations

import os
import re
import time
from datetime import datetime
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import click

from fsm.networks import Network
from store.client.url import BadRedisUrl, read_url
from transport.connection.tls import cipher_fault
from transport.settings import Address, AllowFrom, as_text

if TYPE_CHECKING:
    Kind = click.ParamType[Any]
else:  # only recent releases of click make it generic
    Kind = click.ParamType

ENTRY_ID = re.compile(r"\d{1,20}(-\d{1,20})?", re.ASCII)
"""The id of an entry of a stream."""

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
SIZE_UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
LEAST_SIZE = 2**20
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(KiB|MiB|GiB|TiB)?")
_INSTANCE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_FAMILY = re.compile(r"[A-Z][A-Z0-9x]{1,31}")
_VERB = re.compile(r"[!-+\--~]+")  # printable, without a blank or a comma


class Duration(Kind):
    """A number of seconds, or a number with a unit (ms, s, m, h, d), from `least` to `most` seconds."""

    name = "seconds"

    def __init__(self, least: float = 0.0, most: float = 366 * 86400.0) -> None:
        self.least, self.most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = _DURATION.fullmatch(str(value).strip())
        if isinstance(value, bool) or match is None:
            self.fail(
                f"{value!r} is not a number of seconds or a number with a unit: ms, s, m, h, d.", param, ctx
            )
        seconds = float(match[1]) * UNITS[match[2] or "s"]
        if not self.least <= seconds <= self.most:
            self.fail(f"{value!r} is not in {show(self.least)} to {show(self.most)} seconds.", param, ctx)
        return seconds


class Size(Kind):
    """A number of bytes, or a number with a unit (KiB, MiB, GiB, TiB); or ``auto``, which is 0."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int) or str(value).strip() == "auto":
            return 0 if str(value).strip() == "auto" else int(value)
        match = _SIZE.fullmatch(str(value).strip())
        if match is None:
            self.fail(
                f"{value!r} is not auto, a number of bytes, or a number with a unit: MiB, GiB.", param, ctx
            )
        found = int(float(match[1]) * SIZE_UNITS[match[2] or ""])
        if found < LEAST_SIZE:
            self.fail(f"{value!r} is less than 1 MiB.", param, ctx)
        return found


class AvlFamily(Kind):
    """A family of devices, or a model of a known family."""

    name = "family"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not _FAMILY.fullmatch(text):
            self.fail(f"{value!r} is not the name of a family or model, such as FMB or FMC130.", param, ctx)
        return text


class Moment(Kind):
    """A time, in epoch milliseconds.

    It is written as ``2026-11-29T10:00`` (local time, unless it has an offset), or as how long ago: ``1h``.
    """

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        text = str(value).strip()
        if _DURATION.fullmatch(text) and text[-1].isalpha():
            return round((time.time() - Duration().convert(text, param, ctx)) * 1000)
        try:
            return max(0, round(datetime.fromisoformat(text).timestamp() * 1000))
        except (ValueError, OverflowError):
            self.fail(
                f"{text!r} is neither a time such as 2026-11-29T10:00 nor how long ago, such as 1h.",
                param,
                ctx,
            )


class HostPort(Kind):
    """``HOST:PORT``, with an IPv6 address in brackets. If `off` is true, the word ``off`` becomes None."""

    name = "HOST:PORT"

    def __init__(self, *, off: bool = False) -> None:
        self.off = off

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address | None:
        if isinstance(value, tuple):
            return value
        text = str(value)
        if self.off and text == "off":
            return None
        match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s:\[\]]+)):(\d{1,5})", text)
        if match is None:
            self.fail(f"{text!r} is not HOST:PORT{' or off' * self.off}.", param, ctx)
        if int(match[3]) > 65535:
            self.fail(f"{text!r} has a port above 65535.", param, ctx)
        return (match[1] or match[2], int(match[3]))


class InstanceId(Kind):
    """1 to 64 of ``A-Za-z0-9._-``."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not _INSTANCE_ID.fullmatch(str(value)):
            self.fail(f"{value!r} is not 1 to 64 of A-Z a-z 0-9 . _ -", param, ctx)
        return str(value)


class RedisUrl(Kind):
    """A URL of Redis, or ``embedded``. A URL may hold a password, so no error repeats it."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if text != "embedded":
            try:
                read_url(text)
            except BadRedisUrl as error:
                self.fail(str(error), param, ctx)
        return text


class StreamName(Kind):
    """The name of a stream: printable, without blanks; or ``off``."""

    name = "stream"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not text.isprintable() or not text or " " in text:
            self.fail("A stream name has printable characters without blanks.", param, ctx)
        return text


class AllowList(Kind):
    """A file, or one of the words ``redis``, ``off`` and ``any``."""

    name = "FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not text or not text.isprintable():
            self.fail(f"{text!r} is not a file, nor one of redis, off, any.", param, ctx)
        if os.path.isdir(text):
            self.fail(f"{text!r} is a directory.", param, ctx)
        return text


class Verbs(Kind):
    """Words separated by commas, or ``off`` for none."""

    name = "VERB,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        words = value.split(",") if isinstance(value, str) else [str(word) for word in value]
        verbs = tuple(word.strip() for word in words)
        if verbs == ("off",):
            return ()
        for verb in verbs:
            if not _VERB.fullmatch(verb):
                self.fail(f"{verb!r} is not one word of printable ASCII.", param, ctx)
        return verbs


class Ciphers(Kind):
    """A cipher string of OpenSSL that selects one cipher or more."""

    name = "CIPHERS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if fault := cipher_fault(text):
            self.fail(fault, param, ctx)
        return text


class Networks(Kind):
    """Networks in CIDR notation, or addresses, separated by commas; or ``off`` for none."""

    name = "CIDR,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Network, ...]:
        if isinstance(value, tuple):
            return value
        words = [word.strip() for word in str(value).split(",")]
        return () if words == ["off"] else tuple(self._network(word, param, ctx) for word in words)

    def _network(self, word: str, param: click.Parameter | None, ctx: click.Context | None) -> Network:
        try:
            return ip_network(word)
        except ValueError:
            self.fail(f"{word!r} is not a network such as 10.0.0.0/8 or fd00::/8.", param, ctx)


class NetworksOf(Kind):
    """Networks as `Networks` reads them, after ``HOST:PORT=`` if they are for one listener only."""

    name = "[HOST:PORT=]CIDR,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> AllowFrom:
        if isinstance(value, AllowFrom):
            return value
        listener, separator, networks = str(value).rpartition("=")
        if networks.strip() == "off":
            self.fail("'off' is not a network; leave the option out to allow any.", param, ctx)
        return AllowFrom(
            Networks().convert(networks, param, ctx),
            HostPort().convert(listener.strip(), param, ctx) if separator else None,
        )


class KeyPrefix(Kind):
    """The text that every key in Redis begins with; may be empty."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not text.isprintable() or " " in text or len(text) > 128:
            self.fail("A key prefix has up to 128 printable characters without blanks.", param, ctx)
        return text


def show(value: Any) -> Any:
    """A value as an operator writes it: 7 days as ``7d``, an address as ``HOST:PORT``."""
    match value:
        case None:
            return "off"
        case (str(host), int(port)):
            return as_text((host, port))
        case tuple() | list():
            return [show(item) for item in value]
        case float() if value >= 86400 and value % 86400 == 0:
            return f"{value / 86400:.0f}d"
        case float() if value.is_integer():
            return int(value)
    return value
