"""Authorities, certificates and revocation lists, made for a test."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LONG_AGO, RECENTLY, FAR_AHEAD = (datetime(year, 1, 1, tzinfo=UTC) for year in (2010, 2020, 2037))


def write_pair(authority: trustme.CA, cert: Path, key: Path, until: datetime = FAR_AHEAD) -> None:
    """Write a certificate for the gateway on this host, and its key."""
    issued = authority.issue_cert("127.0.0.1", not_before=LONG_AGO, not_after=until)
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)


def device_certificate(
    authority: trustme.CA,
    file: Path,
    *names: x509.GeneralName,
    common_name: str = "device",
    usages: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.CLIENT_AUTH,),
) -> Path:
    """Write a certificate for a device, and its key, to `file`; names and usages are as given, or absent."""
    issuer = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    key = generate_private_key(SECP256R1())
    builder = (
        x509.CertificateBuilder(
            issuer.subject, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        )
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(LONG_AGO)
        .not_valid_after(FAR_AHEAD)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    signer = cast(EllipticCurvePrivateKey, load_pem_private_key(authority.private_key_pem.bytes(), None))
    text = builder.sign(signer, SHA256()).public_bytes(Encoding.PEM)
    text += key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(text)
    return file


def revocation_list(
    authority: trustme.CA, *revoked: trustme.LeafCert, since: datetime = LONG_AGO, until: datetime = FAR_AHEAD
) -> bytes:
    """The list in which an authority takes back certificates, in PEM."""
    issuer = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.subject)
    builder = builder.last_update(since).next_update(until)
    for leaf in revoked:
        serial = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes()).serial_number
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(LONG_AGO).build()
        builder = builder.add_revoked_certificate(entry)
    key = cast(EllipticCurvePrivateKey, load_pem_private_key(authority.private_key_pem.bytes(), None))
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)
