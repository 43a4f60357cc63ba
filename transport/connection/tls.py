"""TLS for the listeners: builds one context from the files of the operator.

All errors in a file are found here, before a listener uses it: at the start, and when the files are read
again. A context is never changed, so a handshake uses the former files or the new ones, never a mixture.
Reading can block in the file system; `TlsFiles` limits its time.

An expired certificate or revocation list does not prevent a start: there is no better one, devices may ignore
dates, and other listeners still work. But files with an expired one do not replace files in use.
"""

from __future__ import annotations

import re
import ssl
import stat
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fsm.errors import GatewayFault
from transport.connection.authentication import auth_of
from transport.connection.file_reader import READ_TIMEOUT, FileReader, regular
from transport.connection.x509_dates import CERTIFICATE, REVOCATION_LIST, Validity, blocks, validities
from transport.settings import Settings

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
BY_OTHERS = stat.S_IRWXO | stat.S_IWGRP
"""Rights on a key file that are too many. A group may read it, because a service is often in one."""
NEVER = "!aNULL:!eNULL"
"""Excludes ciphers without authentication or encryption, whatever the operator's string says."""


class BadTlsFiles(GatewayFault):
    """A certificate, key, CA file or revocation list cannot be used; the message names the file."""


class _Protected(Exception):
    """The key is encrypted."""


@dataclass(slots=True, frozen=True)
class Tls:
    """A context, and the validity periods of its files.

    Attributes:
        exposed_key: the file of the key if other users may read or write it; else empty.
        files: every file that was read.
        auth: the certificate of the gateway, as `transport.connection.authentication` names one.
        validity: file and validity period of the certificate, of the CA, and of each revocation list. Of
            several CAs in the file, the one that expires last counts.
    """

    context: ssl.SSLContext
    auth: str
    exposed_key: str
    files: tuple[Path, ...]
    validity: tuple[tuple[Path, Validity], ...]

    @property
    def until(self) -> datetime:
        """When the first of them expires. A certificate always has an end."""
        return min(until for _, until in self.ends)

    @property
    def ends(self) -> list[tuple[Path, datetime]]:
        """File and end of each certificate, CA and revocation list that has an end."""
        return [(path, validity.until) for path, validity in self.validity if validity.until is not None]

    def faults(self, now: datetime) -> list[str]:
        """A sentence for each certificate or list that is not valid at `now`."""
        faults = [(path, validity.fault(now)) for path, validity in self.validity]
        return [f"{path} {fault}." for path, fault in faults if fault]


class TlsFiles:
    """The TLS files that the settings name; reading them takes `timeout` seconds at most."""

    def __init__(self, settings: Settings, timeout: float = READ_TIMEOUT) -> None:
        self._settings = settings
        self._reader = FileReader("The TLS files", timeout)

    def load_now(self) -> Tls | None:
        """Read them, before there is an event loop; None if there is no listener with TLS.

        Raises:
            BadTlsFiles: a file is missing or cannot be used.
            NotRead: the file system does not answer.
        """
        if not self._settings.speaks_tls:
            return None
        return self._reader.read_now(lambda: load(self._settings))

    async def load(self) -> Tls | None:
        """Read them again in a thread; raises what `load_now` raises."""
        if not self._settings.speaks_tls:
            return None
        return await self._reader.read(lambda: load(self._settings))


def load(settings: Settings) -> Tls | None:
    """Build a context from the files; None if there is no listener with TLS.

    Raises:
        BadTlsFiles: a file is missing or cannot be used.
    """
    if not settings.speaks_tls:
        return None
    if settings.tls_cert is None:
        raise BadTlsFiles("A TLS listener needs a certificate: --tls-cert FILE.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[settings.tls_min_version]
    if settings.tls_ciphers:
        context.set_ciphers(f"{settings.tls_ciphers}:{NEVER}")
    load_certificate(context, settings.tls_cert, settings.tls_key or settings.tls_cert)
    validity = [(settings.tls_cert, _validities(settings.tls_cert, CERTIFICATE)[0])]
    if settings.tls_client_ca is not None:
        _require_clients_of(context, settings.tls_client_ca)
        validity.append((settings.tls_client_ca, _last(_validities(settings.tls_client_ca, CERTIFICATE))))
    if settings.tls_crl is not None:
        _refuse_revoked(context, settings.tls_crl)
        validity += [(settings.tls_crl, each) for each in _validities(settings.tls_crl, REVOCATION_LIST)]
    named = (settings.tls_cert, settings.tls_key, settings.tls_client_ca, settings.tls_crl)
    key, files = settings.tls_key or settings.tls_cert, tuple(path for path in named if path is not None)
    return Tls(context, _auth(settings.tls_cert), _exposed(key), files, tuple(validity))


def load_certificate(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    """Give a context its own certificate.

    Raises:
        BadTlsFiles: a file is missing or cannot be used.
    """
    for path in (cert, key):
        _readable(path)

    def protected() -> bytes:
        raise _Protected  # otherwise OpenSSL would ask for a passphrase on the terminal

    try:
        context.load_cert_chain(cert, key, password=protected)
    except _Protected:
        raise BadTlsFiles(f"{key} has a passphrase; a key without one is needed.") from None
    except ssl.SSLError as error:
        if "MISMATCH" in str(error.reason):
            raise BadTlsFiles(f"{key} is not the key of the certificate in {cert}.") from None
        if "TOO_SMALL" in str(error.reason) or "TOO_WEAK" in str(error.reason):
            raise BadTlsFiles(
                f"OpenSSL finds the certificate in {cert} too weak; --tls-ciphers with @SECLEVEL=0 allows it."
            ) from None
        subject = f"{cert} does" if cert == key else f"{cert} and {key} do"
        raise BadTlsFiles(f"{subject} not hold a certificate and its key in PEM.") from None


def _auth(cert: Path) -> str:
    """The certificate of the gateway, the first in its file."""
    return auth_of(blocks(cert.read_bytes(), CERTIFICATE)[0])


def _exposed(key: Path) -> str:
    return str(key) if key.stat().st_mode & BY_OTHERS else ""


def _require_clients_of(context: ssl.SSLContext, authority: Path) -> None:
    load_authority(context, authority)
    context.verify_mode = ssl.CERT_REQUIRED


def load_authority(context: ssl.SSLContext, authority: Path) -> None:
    """Give a context the certificates that those of its peers are checked against.

    Raises:
        BadTlsFiles: the file is missing or cannot be used.
    """
    _readable(authority)
    try:
        context.load_verify_locations(authority)
    except ssl.SSLError:
        raise BadTlsFiles(f"{authority} does not hold certificates in PEM.") from None


def _refuse_revoked(context: ssl.SSLContext, revoked: Path) -> None:
    """Check the certificate of each device against the revocation list of its CA.

    OpenSSL also refuses a certificate if the list of its CA is missing or expired.
    """
    _readable(revoked)
    alone = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        alone.load_verify_locations(revoked)
    except ssl.SSLError:
        raise BadTlsFiles(f"{revoked} does not hold a revocation list in PEM.") from None
    if alone.cert_store_stats()["x509"]:
        # OpenSSL would trust them as CAs.
        raise BadTlsFiles(f"{revoked} holds certificates; it may hold only revocation lists.")
    context.load_verify_locations(revoked)
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def _validities(path: Path, kind: str) -> list[Validity]:
    try:
        return validities(path.read_bytes(), kind)
    except (OSError, ValueError):
        raise BadTlsFiles(f"The dates in {path} cannot be read.") from None


def _last(authorities: list[Validity]) -> Validity:
    """The validity of the CA that expires last: devices of any of them may connect."""
    return max(authorities, key=lambda validity: validity.until or validity.since)


def _readable(path: Path) -> None:
    try:
        open(path, "rb", opener=regular).close()
    except OSError as error:
        raise BadTlsFiles(f"{path} cannot be read: {error.strerror}.") from None


def cipher_fault(text: str) -> str:
    """What is wrong with a cipher string of OpenSSL, as a sentence; empty if it is right.

    OpenSSL ignores names that it does not know. Here an unknown name is an error.
    """
    for element in re.split(r"[:,; ]+", text):
        name = element.partition("@")[0]
        if ("-" in name.lstrip("-") or "_" in name) and name[0] not in "!-+" and not _selects(name):
            return f"OpenSSL has no cipher {name!r} for TLS 1.2; suites of TLS 1.3 cannot be selected."
    return "" if _selects(text) else f"OpenSSL finds no cipher in {text!r} that authenticates and encrypts."


def _selects(text: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(f"{text}:{NEVER}")
    except (ssl.SSLError, ValueError):  # the latter for a zero byte
        return False
    return True
