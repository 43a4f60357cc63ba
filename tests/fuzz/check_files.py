"""What operators write: the list of devices, and the configuration file."""

from __future__ import annotations

import re
from functools import cache
from ipaddress import ip_network
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from fsm.device_terms import Absence, Terms
from fsm.errors import GatewayFault
from transport.cli.run import command
from transport.cli.run_settings import settings_of
from transport.connection.allow_list import FileAllowList
from transport.settings import Settings

Met = set[str]


def device_list(data: bytes) -> Met:
    """Whoever a line names may come in, and nobody else; if a line is wrong, nobody."""
    found = FileAllowList(_written(data))
    seen = {match[1] for match in re.finditer(rb"(?=([0-9]{15}))", data)} | {b"999999999999999"}
    try:
        listed = _listed(data)
    except ValueError as error:
        assert found.error
        assert {found.look_up(imei.decode()) for imei in seen} == {Absence.UNKNOWN}
        return {"not UTF-8" if isinstance(error, UnicodeDecodeError) else "a wrong line"}
    for imei in (name.decode() for name in seen):
        assert isinstance(found.look_up(imei), Terms) == (imei in listed)
    return {"some" if listed else "nobody"}


def _listed(data: bytes) -> dict[str, list[str]]:
    """One device a line, with its terms; a line ends where an editor ends it.

    Raises:
        ValueError: a line is wrong, or the file is not UTF-8.
    """
    mark = b"\xef\xbb\xbf"
    if mark.startswith(data):
        return {}  # Python takes the beginning of a mark for a mark
    listed: dict[str, list[str]] = {}
    for line in re.split("\r\n|\r|\n", data.removeprefix(mark).decode()):
        imei, *terms = line.partition("#")[0].split() or [""]
        for term in terms:
            if not re.fullmatch("(?i)cert=[0-9a-f]{64}", term.replace(":", "")):
                ip_network(term)
        if imei and (not re.fullmatch("[0-9]{15}", imei) or listed.setdefault(imei, terms) != terms):
            raise ValueError(line)
    return listed


def config(data: bytes) -> Met:
    """A file gives settings within their bounds, or a sentence that says what is wrong with it."""
    path = _written(data)
    try:
        context = command.make_context("run", ["--config", str(path), "--instance-id", "gw-1"])
        settings = settings_of(_chosen(context.params))
    except (click.UsageError, GatewayFault) as error:
        sentence = error.format_message() if isinstance(error, click.UsageError) else str(error)
        assert sentence
        return {"refused"}
    _check(settings)
    return {"settings" if settings != _defaults() else "defaults"}


def _chosen(values: dict[str, Any]) -> dict[str, Any]:
    """The values without ``redis_file``, which the command has read before it looks at them."""
    return {name: value for name, value in values.items() if name != "redis_file"}


def _check(settings: Settings) -> None:
    limits = settings.limits
    assert 1 <= limits.command_ttl <= 86_400
    assert 0.1 <= limits.response_timeout <= 3600
    assert 1 <= limits.max_payload <= 4096
    assert settings.heartbeat_interval < settings.heartbeat_ttl <= 86_400
    proxied = (*settings.proxy_listen, *settings.tls_proxy_listen)
    assert settings.listen or settings.tls_listen or proxied
    assert bool(proxied) == bool(settings.proxy_trust)
    assert 1280 <= settings.max_frame <= 65_536
    for host, port in (*settings.listen, *settings.tls_listen, *proxied):
        assert isinstance(host, str)
        assert 0 <= port <= 65_535
    numbers = [getattr(settings, name) for name in Settings.__dataclass_fields__]
    assert all(isfinite(number) and number >= 0 for number in numbers if isinstance(number, (int, float)))


@cache
def _defaults() -> Settings:
    return settings_of(_chosen(command.make_context("run", ["--instance-id", "gw-1"]).params))


@cache
def _room() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="telgw-fuzz-")


def _written(data: bytes) -> Path:
    path = Path(_room().name) / "input"
    path.write_bytes(data)
    return path
