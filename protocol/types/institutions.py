"""Institutions, the authority set and the genesis of a chain."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocol import limits
from protocol.params import Params
from protocol.types.base import U16, Digest, Name, Number, PublicKey, TimeMs, Wire

STATUS_ACCREDITED = 1
STATUS_SUSPENDED = 2
STATUS_REMOVED = 3
RETIRED_KEY = bytes(32)


class Institution(Wire, frozen=True):
    """An accredited organisation. Its number outlives its keys.

    An operations key of 32 zero bytes is retired. `network_certificates` are the DER of self-signed Ed25519
    certificates, each of which peers accept; `encryption_key` is the digest of the public key that envelopes are
    sealed to (suite `encryption_suite`), which itself travels beside the ledger. `vote_key_at`: ledger time of the
    block that set the vote key, 0 if the genesis did.
    """

    name: Name
    status: U16
    operation_keys: Annotated[
        tuple[PublicKey, ...], Meta(min_length=1, max_length=limits.OPERATION_KEYS_PER_INSTITUTION)
    ]
    vote_key: PublicKey
    network_certificates: Annotated[
        tuple[Annotated[bytes, Meta(min_length=1, max_length=limits.CERTIFICATE_DER_BYTES)], ...],
        Meta(min_length=1, max_length=limits.CERTIFICATES_PER_INSTITUTION),
    ]
    encryption_suite: U16
    encryption_key: Digest
    vote_key_at: TimeMs = 0


def faults_of(n: int) -> int:
    """How many of n authorities may be traitors: (n-1)//3."""
    return (n - 1) // 3


def quorum_of(n: int) -> int:
    """How many of n authorities decide: n - faults_of(n). Any two quorums share an honest authority."""
    return n - faults_of(n)


class Authority(Wire, frozen=True):
    """One seat of an epoch's set. Its index in the set is how votes name it. `since`: the first epoch of all those in
    a row in which the institution has had authority."""

    institution: Number
    vote_key: PublicKey
    since: Number


class AuthoritySet(Wire, frozen=True):
    """The authorities of one epoch by index, which is the order of their institutions' numbers."""

    epoch: Number
    members: Annotated[tuple[Authority, ...], Meta(min_length=1, max_length=limits.AUTHORITIES)]

    def seat(self, institution: int) -> Authority | None:
        """The seat of the institution of this number, or None."""
        return next((member for member in self.members if member.institution == institution), None)


class Genesis(Wire, frozen=True):
    """What a chain starts from; its digest is the chain's id. Institutions are numbered by position."""

    name: Name
    created_at: TimeMs
    params: Params
    institutions: Annotated[tuple[Institution, ...], Meta(min_length=1, max_length=limits.INSTITUTIONS)]
    authorities: Annotated[tuple[Number, ...], Meta(min_length=1, max_length=limits.AUTHORITIES)]
