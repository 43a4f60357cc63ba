"""TLS for the listeners: one context made of the operator's files, all of it or nothing.

Whatever is wrong with a file is found here, before a listener uses it: at the start, and when the files are
read again. A context is never changed after it was made, so a handshake sees the old files or the new ones,
never a mixture. Reading takes as long as the file system does; `TlsFiles` bounds it.

A certificate or revocation list whose time is over is a fault that does not prevent a start: nothing better
is at hand, devices may not look at dates, and the other listeners are of use. It does prevent that the files
are taken in place of others.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fsm.errors import GatewayFault
from transport.connection.file_reader import PATIENCE, FileReader, regular
from transport.connection.x509_dates import CERTIFICATE, REVOCATION_LIST, Validity, validities
from transport.settings import Settings

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
NEVER = "!aNULL:!eNULL"
"""Ciphers without authentication or without encryption, which no string of an operator may let in."""


class BadTlsFiles(GatewayFault):
    """A certificate, key, authority or revocation list cannot be used; the sentence names the file."""


class _Protected(Exception):
    """The key is encrypted."""


@dataclass(slots=True, frozen=True)
class Tls:
    """A context, and from when to when what it was made of is valid.

    Attributes:
        files: every file that was read.
        validity: of the certificate, of the authority, and of each revocation list, with its file. Of several
            authorities it is that of the last one to be over.
    """

    context: ssl.SSLContext
    files: tuple[Path, ...]
    validity: tuple[tuple[Path, Validity], ...]

    @property
    def until(self) -> datetime:
        """When the first of them is over; a certificate always says so."""
        return min(validity.until for _, validity in self.validity if validity.until is not None)

    def faults(self, now: datetime) -> list[str]:
        """A sentence for each certificate or list that is not valid at `now`."""
        judged = [(path, validity.fault(now)) for path, validity in self.validity]
        return [f"{path} {fault}." for path, fault in judged if fault]


class TlsFiles:
    """The files of TLS that the settings name; reading them takes `patience` seconds at most."""

    def __init__(self, settings: Settings, patience: float = PATIENCE) -> None:
        self._settings = settings
        self._reader = FileReader("The files of TLS", patience)

    def load_now(self) -> Tls | None:
        """Read them before there is a loop; None when no listener speaks TLS.

        Raises:
            BadTlsFiles: a file is missing or is not what it should be.
            NotRead: the file system does not answer.
        """
        if not self._settings.speaks_tls:
            return None
        return self._reader.read_now(lambda: load(self._settings))

    async def load(self) -> Tls | None:
        """Read them again, outside of the loop; raises what `load_now` raises."""
        if not self._settings.speaks_tls:
            return None
        return await self._reader.read(lambda: load(self._settings))


def load(settings: Settings) -> Tls | None:
    """Make a context of the files; None when no listener speaks TLS.

    Raises:
        BadTlsFiles: a file is missing or is not what it should be.
    """
    if not settings.speaks_tls:
        return None
    if settings.tls_cert is None:
        raise BadTlsFiles("A TLS listener needs a certificate: --tls-cert FILE.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[settings.tls_min_version]
    if settings.tls_ciphers:
        context.set_ciphers(f"{settings.tls_ciphers}:{NEVER}")
    _load_certificate(context, settings.tls_cert, settings.tls_key or settings.tls_cert)
    validity = [(settings.tls_cert, _validities(settings.tls_cert, CERTIFICATE)[0])]
    if settings.tls_client_ca is not None:
        _require_clients_of(context, settings.tls_client_ca)
        validity.append((settings.tls_client_ca, _last(_validities(settings.tls_client_ca, CERTIFICATE))))
    if settings.tls_crl is not None:
        _refuse_revoked(context, settings.tls_crl)
        validity += [(settings.tls_crl, each) for each in _validities(settings.tls_crl, REVOCATION_LIST)]
    named = (settings.tls_cert, settings.tls_key, settings.tls_client_ca, settings.tls_crl)
    return Tls(context, tuple(path for path in named if path is not None), tuple(validity))


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
        if "TOO_SMALL" in str(error.reason) or "TOO_WEAK" in str(error.reason):
            raise BadTlsFiles(
                f"OpenSSL finds the certificate in {cert} too weak; --tls-ciphers with @SECLEVEL=0 allows it."
            ) from None
        both = f"{cert} does" if cert == key else f"{cert} and {key} do"
        raise BadTlsFiles(f"{both} not hold a certificate and its key in PEM.") from None


def _require_clients_of(context: ssl.SSLContext, authority: Path) -> None:
    _readable(authority)
    try:
        context.load_verify_locations(authority)
    except ssl.SSLError:
        raise BadTlsFiles(f"{authority} does not hold certificates in PEM.") from None
    context.verify_mode = ssl.CERT_REQUIRED


def _refuse_revoked(context: ssl.SSLContext, revoked: Path) -> None:
    """Check each device's certificate against the list of its authority.

    OpenSSL refuses a certificate as well if the list of its authority is missing or its time is over.
    """
    _readable(revoked)
    alone = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        alone.load_verify_locations(revoked)
    except ssl.SSLError:
        raise BadTlsFiles(f"{revoked} does not hold a revocation list in PEM.") from None
    if alone.cert_store_stats()["x509"]:
        # They would be trusted as authorities.
        raise BadTlsFiles(f"{revoked} holds certificates; it may hold revocation lists alone.")
    context.load_verify_locations(revoked)
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def _validities(path: Path, kind: str) -> list[Validity]:
    try:
        return validities(path.read_bytes(), kind)
    except (OSError, ValueError):
        raise BadTlsFiles(f"The dates in {path} cannot be read.") from None


def _last(authorities: list[Validity]) -> Validity:
    """The validity of the authority that is of use for longest; devices of each are let in."""
    return max(authorities, key=lambda validity: validity.until or validity.since)


def _readable(path: Path) -> None:
    try:
        open(path, "rb", opener=regular).close()
    except OSError as error:
        raise BadTlsFiles(f"{path} cannot be read: {error.strerror}.") from None


def cipher_fault(text: str) -> str:
    """What is wrong with a cipher string of OpenSSL, as a sentence; empty if nothing is.

    OpenSSL passes over names that it does not know. A suite that is named and would not be there is a fault.
    """
    for element in re.split(r"[:,; ]+", text):
        name = element.partition("@")[0]
        if ("-" in name.lstrip("-") or "_" in name) and name[0] not in "!-+" and not _selects(name):
            return f"OpenSSL has no cipher {name!r} for TLS 1.2; the suites of TLS 1.3 cannot be chosen."
    return "" if _selects(text) else f"OpenSSL finds no cipher in {text!r} that authenticates and encrypts."


def _selects(text: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(f"{text}:{NEVER}")
    except (ssl.SSLError, ValueError):  # the latter for a zero byte
        return False
    return True
