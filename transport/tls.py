"""TLS for the listeners: certificates and keys, checked before anything is started."""

from __future__ import annotations

import ssl
from pathlib import Path

from fsm.errors import GatewayFault
from transport.settings import Settings


class BadTlsFiles(GatewayFault):
    """A certificate or a key cannot be used; the sentence names the file."""


class _Protected(Exception):
    """The key is encrypted."""


def context_for(settings: Settings) -> ssl.SSLContext | None:
    """The TLS side of the listeners; None when none of them speaks TLS.

    Raises:
        BadTlsFiles: a file is missing or is not what it should be.
    """
    if not settings.tls_listen:
        return None
    if settings.tls_cert is None:
        raise BadTlsFiles("A TLS listener needs a certificate: --tls-cert FILE.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_certificate(context, settings.tls_cert, settings.tls_key or settings.tls_cert)
    if settings.tls_client_ca is not None:
        _require_clients_of(context, settings.tls_client_ca)
    return context


def _load_certificate(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    for path in (cert, key):
        _readable(path)

    def protected() -> bytes:
        raise _Protected  # without this OpenSSL would ask on the terminal of a daemon

    try:
        context.load_cert_chain(cert, key, password=protected)
    except _Protected:
        raise BadTlsFiles(f"{key} is protected by a passphrase: the gateway needs it without one.") from None
    except ssl.SSLError as error:
        if "MISMATCH" in str(error.reason):
            raise BadTlsFiles(f"{key} is not the key of the certificate in {cert}.") from None
        raise BadTlsFiles(f"{cert} and {key} do not hold a certificate and its key in PEM.") from None


def _require_clients_of(context: ssl.SSLContext, authority: Path) -> None:
    _readable(authority)
    try:
        context.load_verify_locations(authority)
    except ssl.SSLError:
        raise BadTlsFiles(f"{authority} does not hold certificates in PEM.") from None
    context.verify_mode = ssl.CERT_REQUIRED


def _readable(path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise BadTlsFiles(f"{path} cannot be read: {error.strerror}.") from None
