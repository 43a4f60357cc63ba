"""Turns the options of ``telgw run`` into settings, and refuses options that contradict each other."""

from __future__ import annotations

import re
import socket
from dataclasses import fields
from typing import Any

import click

from fsm.outbound import Limits
from store.client.url_check import check_url
from transport.connection.tls import TlsFiles
from transport.settings import Address, AllowFrom, Settings, as_text
from transport.teltonika.avl_ids import DEFAULT_FAMILY

MAX_INSTANCE_ID = 64
_LISTENERS = ("tls_listen", "proxy_listen", "tls_proxy_listen")


def settings_of(values: dict[str, Any]) -> Settings:
    """The settings that the options of `run` give.

    Raises:
        click.UsageError: two options contradict each other.
        BadRedisUrl: a cluster cannot hold a fleet with this --key-prefix.
        BadTlsFiles: a certificate, a key or a revocation list cannot be used.
        NotRead: one of these files could not be read in time.
    """
    if values["heartbeat_ttl"] <= values["heartbeat_interval"]:
        raise click.UsageError("--heartbeat-ttl must be longer than --heartbeat-interval.")
    values["listen"] = _addresses(values["listen"])
    listeners = [values["listen"], *(values[name] for name in _LISTENERS)]
    if not any(listeners):
        raise click.UsageError("Without --listen, --tls-listen or --proxy-listen no device could connect.")
    _check_proxies(values)
    _check_sources(values["allow_from"], sum(listeners, ()))
    if values["redis"] != "embedded":
        check_url(values["redis"], values["key_prefix"])
    if values["embedded_port"] and values["redis"] != "embedded":
        raise click.UsageError("--embedded-port is for the embedded server, but --redis names another one.")
    given = dict(values)
    limits = Limits(**{field.name: given.pop(field.name) for field in fields(Limits)})
    given["instance_id"] = given["instance_id"] or default_instance_id(sum(listeners, ()))
    settings = Settings(limits=limits, **given)
    _check_workers(settings)
    _check_tls(settings)
    _check_names(settings)
    TlsFiles(settings).load_now()  # to report a bad file before anything is started
    return settings


def _check_proxies(values: dict[str, Any]) -> None:
    """A peer that may send a PROXY header can claim any address: the operator has to name such peers.

    Raises:
        click.UsageError: there is a listener for proxies without `--proxy-trust`, or the reverse.
    """
    listens = bool(values["proxy_listen"] or values["tls_proxy_listen"])
    if listens and not values["proxy_trust"]:
        raise click.UsageError("A listener for proxies needs --proxy-trust: the networks they connect from.")
    if values["proxy_trust"] and not listens:
        raise click.UsageError("--proxy-trust does nothing without --proxy-listen or --tls-proxy-listen.")


def _check_sources(allow_from: tuple[AllowFrom, ...], listeners: tuple[Address, ...]) -> None:
    """Refuse networks for an address that is no listener: a misspelled one would leave the listener open.

    Raises:
        click.UsageError: there is no such listener.
    """
    for _, listener in allow_from:
        if listener is not None and listener not in listeners:
            known = ", ".join(as_text(address) for address in listeners)
            raise click.UsageError(
                f"--allow-from: {as_text(listener)} is not a listener; these are: {known}."
            )


def _check_workers(settings: Settings) -> None:
    longest = f"{settings.instance_id}-{settings.workers}"
    if settings.workers > 1 and len(longest) > MAX_INSTANCE_ID:
        raise click.UsageError(
            f"--instance-id is too long: with --workers it becomes {longest}, and {MAX_INSTANCE_ID}"
            " characters are allowed."
        )


def _addresses(given: tuple[Address | None, ...]) -> tuple[Address, ...]:
    """The addresses of a repeatable option; empty if it is `off`.

    Raises:
        click.UsageError: `off` and an address are both given.
    """
    found = tuple(address for address in given if address is not None)
    if found and len(found) < len(given):
        raise click.UsageError("--listen off cannot be combined with an address.")
    return found


def _check_tls(settings: Settings) -> None:
    files = (settings.tls_cert, settings.tls_key, settings.tls_client_ca, settings.tls_crl)
    if not settings.speaks_tls and any((*files, settings.tls_ciphers)):
        raise click.UsageError("The options --tls-... do nothing without --tls-listen or --tls-proxy-listen.")
    if settings.tls_crl and not settings.tls_client_ca:
        raise click.UsageError("--tls-crl does nothing without --tls-client-ca.")
    if settings.tls_ciphers and settings.tls_min_version == "1.3":
        raise click.UsageError("--tls-ciphers is about TLS 1.2, which --tls-min-version 1.3 rules out.")


def _check_names(settings: Settings) -> None:
    if settings.policy and settings.allow_verbs:
        raise click.UsageError("--allow-verbs and --policy exclude each other: a policy says more.")
    if settings.io_names == "on":
        return
    if settings.avl_ids or (settings.avl_family != DEFAULT_FAMILY and not settings.policy):
        raise click.UsageError("--avl-family and --avl-ids do nothing without --io-names on.")


def default_instance_id(listen: tuple[Address, ...]) -> str:
    """``{hostname}-{port}``; characters that an instance id may not have become ``-``."""
    port = str(listen[0][1])
    host = re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname()).strip("-") or "gateway"
    return f"{host[: 63 - len(port)]}-{port}"
