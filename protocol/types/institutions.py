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


class Institution(Wire, frozen=True):
    """An accredited organisation. Its number outlives its keys.

    `network_certificate` is the DER of its self-signed Ed25519 certificate; `encryption_key` is the digest of the
    public key that envelopes are sealed to (suite `encryption_suite`), which itself travels beside the ledger.
    """

    name: Name
    status: U16
    operation_keys: Annotated[
        tuple[PublicKey, ...], Meta(min_length=1, max_length=limits.OPERATION_KEYS_PER_INSTITUTION)
    ]
    vote_key: PublicKey
    network_certificate: Annotated[bytes, Meta(min_length=1, max_length=limits.CERTIFICATE_DER_BYTES)]
    encryption_suite: U16
    encryption_key: Digest


class Authority(Wire, frozen=True):
    """One seat of an epoch's set. Its index in the set is how votes name it."""

    institution: Number
    vote_key: PublicKey


class AuthoritySet(Wire, frozen=True):
    """The authorities of one epoch, in order of index."""

    epoch: Number
    members: Annotated[tuple[Authority, ...], Meta(min_length=1, max_length=limits.AUTHORITIES)]


class Genesis(Wire, frozen=True):
    """What a chain starts from; its digest is the chain's id. Institutions are numbered by position."""

    name: Name
    created_at: TimeMs
    params: Params
    institutions: Annotated[tuple[Institution, ...], Meta(min_length=1, max_length=limits.INSTITUTIONS)]
    authorities: Annotated[tuple[Number, ...], Meta(min_length=1, max_length=limits.AUTHORITIES)]
