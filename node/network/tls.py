"""TLS 1.3 with the ledger's own certificates as the only trust: no authorities, no host names, no tickets, no dates.

A listener trusts every member, a dialler only whom it dials; the caller compares the peer's certificate again on every
connection. A session ticket would let a removed peer back in, so none is sent or taken.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509 import load_der_x509_certificate

from node.network.certificates import read_certificate
from protocol.errors import ChartledgerError

_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME: expiry only alarms


class IdentityMismatch(ChartledgerError):
    """The network key is not the one of this institution's certificate."""

    advice = "The keystore belongs to another institution, or the key was rotated: see docs/operators.md."


class Identity:
    """Who this node is on the network: its institution's number, its certificate (DER) and its key's 32-byte seed."""

    def __init__(self, number: int, certificate: bytes, seed: bytes) -> None:
        """Raises `BadNetworkCertificate` or `IdentityMismatch`."""
        key = Ed25519PrivateKey.from_private_bytes(seed)
        if read_certificate(certificate).public_key != key.public_key().public_bytes_raw():
            raise IdentityMismatch
        self.number = number
        self.certificate = certificate
        self._chain = _pem(key, certificate)

    def __repr__(self) -> str:
        return f"Identity({self.number})"

    def listener_context(self, trusted: Iterable[bytes]) -> ssl.SSLContext:
        """For accepting connections of whoever holds the key of one of the `trusted` certificates (DER)."""
        context = self._context(ssl.PROTOCOL_TLS_SERVER, trusted)
        context.num_tickets = 0
        return context

    def dialler_context(self, peer: Iterable[bytes]) -> ssl.SSLContext:
        """For dialling the one peer with these certificates (DER)."""
        return self._context(ssl.PROTOCOL_TLS_CLIENT, peer)

    def _context(self, side: int, trusted: Iterable[bytes]) -> ssl.SSLContext:
        context = ssl.SSLContext(side)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags = ssl.VerifyFlags(context.verify_flags | _NO_CHECK_TIME)
        context.options |= ssl.OP_NO_TICKET
        _load(context, self._chain)
        together = b"".join(trusted)
        if together:
            context.load_verify_locations(cadata=together)
        return context


def _pem(key: Ed25519PrivateKey, certificate: bytes) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + load_der_x509_certificate(certificate).public_bytes(serialization.Encoding.PEM)


def _load(context: ssl.SSLContext, chain: bytes) -> None:
    """Give the context its key. `ssl` takes it from files only, so the file is one that never has a name or a disk."""
    descriptor = os.memfd_create("network-key")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(chain)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
