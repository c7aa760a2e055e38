"""The certificate that names an institution on the network: self-signed, Ed25519, the same for the same input.

Nobody vouches for it but the ledger, on which its DER stands; so names and dates in it are for people, and an expiry
date only ever alarms, it never ends a connection. Relies on `cryptography` for X.509 (RFC 5280, RFC 8410).
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import NameOID
from msgspec import Struct

from protocol import limits
from protocol.errors import ChartledgerError

NO_EXPIRY_MS = 253_402_300_799_000  # 9999-12-31T23:59:59Z: "no well-defined expiration date", RFC 5280 4.1.2.5
CERTIFICATES_CACHED = 1_024
"""All are read again whenever one of them changes on the ledger, which any institution can have happen in any block."""
_NAME_BYTES = 64  # ub-organization-name, RFC 5280 appendix A


class BadNetworkCertificate(ChartledgerError):
    """The certificate is not a self-signed Ed25519 certificate with key identifiers of its own."""

    advice = "Make it anew from the network key: see docs/spec/network.md."


class CertificateFacts(Struct, frozen=True):
    """What a certificate says. `public_key` is the raw 32 bytes; times are Unix milliseconds."""

    name: str
    public_key: bytes
    not_before_ms: int
    not_after_ms: int


def make_certificate(
    seed: bytes, name: str, *, serial: int = 1, not_before_ms: int = 0, not_after_ms: int = NO_EXPIRY_MS
) -> bytes:
    """The DER of a self-signed certificate for the Ed25519 key of a 32-byte `seed`, in the name of an institution.

    Deterministic: the same arguments give the same bytes, since Ed25519 signatures are. `serial` (1 to 2^159 - 1) tells
    certificates of one key apart. The subject holds the key's own digest besides the name, and subject and authority
    key identifiers are set, so that OpenSSL never mistakes one trusted certificate for another of the same name.
    """
    key = Ed25519PrivateKey.from_private_bytes(seed)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _cut(name)),
            x509.NameAttribute(NameOID.COMMON_NAME, identifier.digest.hex()),
        ]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(_datetime(not_before_ms))
        .not_valid_after(_datetime(not_after_ms))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    return builder.sign(key, None).public_bytes(serialization.Encoding.DER)


@lru_cache(CERTIFICATES_CACHED)
def read_certificate(der: bytes) -> CertificateFacts:
    """What the certificate says. Raises `BadNetworkCertificate` unless it is of Ed25519, signed by itself, not too
    long, has the identifiers of its own key, and is one that OpenSSL reads.

    An institution puts on the ledger what it likes, and every node hands all of it to OpenSSL together: what that
    cannot read would stop them all, and under another's key identifier it would find the wrong one of two.
    """
    if len(der) > limits.CERTIFICATE_DER_BYTES:
        raise BadNetworkCertificate(f"a network certificate has at most {limits.CERTIFICATE_DER_BYTES} bytes")
    try:
        certificate = x509.load_der_x509_certificate(der)
        key = certificate.public_key()
        if not isinstance(key, Ed25519PublicKey):
            raise BadNetworkCertificate("the network certificate's key is not Ed25519")
        key.verify(certificate.signature, certificate.tbs_certificate_bytes)
        _check_identifiers(certificate.extensions, key)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=der)
        names = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        return CertificateFacts(
            name=str(names[0].value) if names else "",
            public_key=key.public_bytes_raw(),
            not_before_ms=_milliseconds(certificate.not_valid_before_utc),
            not_after_ms=_milliseconds(certificate.not_valid_after_utc),
        )
    except _UNREADABLE as error:
        raise BadNetworkCertificate from error


_UNREADABLE = (
    ValueError,
    TypeError,
    InvalidSignature,
    UnsupportedAlgorithm,
    ssl.SSLError,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


def _check_identifiers(extensions: x509.Extensions, key: Ed25519PublicKey) -> None:
    own = x509.SubjectKeyIdentifier.from_public_key(key)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
    if (
        extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value != own
        or extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value != issuer
    ):
        raise BadNetworkCertificate("the network certificate's key identifiers are not those of its own key")


def _cut(name: str) -> str:
    """As much of the name as fits an organization name, whole characters."""
    return name.encode()[:_NAME_BYTES].decode(errors="ignore")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _datetime(unix_ms: int) -> datetime:
    return _EPOCH + timedelta(seconds=unix_ms // 1000)


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
