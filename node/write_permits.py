"""What an owner gives an institution that it lets write: the chart's tags of certain labels, and its own envelope key.

A wallet makes and signs a permit, and the writer's node checks and keeps it (`node.records.permits`): whoever carries
it could otherwise give labels each other's tags, or tags of no label, and records would come where the owner's grants
and bars do not reach them. It holds no secret of the chart. It does tell the writer which tags of the chart's present
generation stand for the labels that it lists, so the writer can recognise these among the chart's records on the
ledger; tags of other labels, of other generations and of other charts stay what they were to it. Pure; relies on
`protocol` and on the errors of `node.records`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Final

from msgspec import Meta
from msgspec.structs import replace

from node.records.errors import BeyondPermit, PermitRefused
from protocol import limits
from protocol.crypto.envelopes import check_public
from protocol.crypto.hashing import encryption_key_digest
from protocol.crypto.signing import (
    SIGNATURE_BYTES,
    SigningKey,
    WritePermitSubject,
    verify,
    write_permit_message,
)
from protocol.crypto.tags import CATEGORY, POSITIONS, SENSITIVITY_1, SENSITIVITY_2, YEAR, Label, Labels
from protocol.errors import CryptoError
from protocol.types.base import U16, Number, Signature, Tag, Wire
from protocol.types.operations import GrantTags, Tags4

PERMIT_BYTES: Final = 256 * 1024
"""No permit is larger: four lists of at most 512 labels, and a key."""
KINDS: Final = ("category", "clinical year", "sensitivity", "second sensitivity")

LabelTags = Annotated[tuple[tuple[Label, Tag], ...], Meta(min_length=1, max_length=limits.TAGS_PER_POSITION)]
"""Strictly ascending by label, so that a table has one encoding."""


UNSIGNED: Final = bytes(SIGNATURE_BYTES)
"""In the place of a signature, until `sign_permit`."""


class WritePermit(Wire, frozen=True):
    """For writing under `grant` in the chart's `generation`: the tags of its labels by position, and the owner's public
    envelope key, of which the ledger has the digest. `signature` is the owner's."""

    chart: Number
    grant: Number
    generation: Number
    encryption_suite: U16
    encryption_public: Annotated[bytes, Meta(max_length=4_096)]
    tags: tuple[LabelTags, LabelTags, LabelTags, LabelTags]
    signature: Signature

    def __repr__(self) -> str:
        return f"WritePermit(chart={self.chart}, grant={self.grant}, generation={self.generation})"


class PermittedTags:
    """A permit's table, to look labels up in."""

    def __init__(self, permit: WritePermit) -> None:
        self._tables: tuple[Mapping[str, bytes], ...] = tuple(dict(listed) for listed in permit.tags)

    def __call__(self, labels: Labels) -> Tags4:
        """A record's four tags. Raises `BeyondPermit`, which says what kind of label is not in the table."""
        return (
            self._tag(CATEGORY, labels.category),
            self._tag(YEAR, labels.year),
            self._tag(SENSITIVITY_1, labels.sensitivity_1),
            self._tag(SENSITIVITY_2, labels.sensitivity_2),
        )

    def _tag(self, position: int, label: str) -> bytes:
        found = self._tables[position].get(label)
        if found is None:
            raise BeyondPermit(f"the write permit does not cover this record's {KINDS[position]}")
        return found


def sign_permit(key: SigningKey, chain: bytes, permit: WritePermit) -> WritePermit:
    """The same permit, signed with this owner key of its chart."""
    return replace(permit, signature=key.sign(_message(chain, permit)))


def is_signed(permit: WritePermit, chain: bytes, owner_key: bytes) -> bool:
    """Whether this owner key signed it, for this chain."""
    return verify(owner_key, _message(chain, permit), permit.signature)


def _message(chain: bytes, permit: WritePermit) -> bytes:
    digest = encryption_key_digest(permit.encryption_suite, permit.encryption_public)
    subject = WritePermitSubject(chain, permit.chart, permit.grant, permit.generation, digest, permit.tags)
    return write_permit_message(subject)


def check_permit(permit: WritePermit, chart: int, granted: GrantTags, encryption_key: bytes) -> None:
    """Whether a permit fits its chart and grant on the ledger: `granted` is what the grant covers, `encryption_key` the
    digest of the owner's envelope key. Raises `PermitRefused`.

    Where the grant lists tags, the table may have no other; that a label has the right one among them, and any tag at
    all where the grant says any, is the owner's word, and signed (`is_signed`).
    """
    if permit.chart != chart:
        raise PermitRefused(f"it is for chart {permit.chart}")
    try:
        check_public(permit.encryption_suite, permit.encryption_public)
    except CryptoError as error:
        raise PermitRefused(f"its public key is not usable: {error}") from None
    if encryption_key_digest(permit.encryption_suite, permit.encryption_public) != encryption_key:
        raise PermitRefused("its public key is not the one that the ledger names for the chart's owner")
    for position in range(POSITIONS):
        labels = [label for label, _ in permit.tags[position]]
        tags = {one for _, one in permit.tags[position]}
        if any(one >= other for one, other in pairwise(labels)):
            raise PermitRefused("its labels are not in order")
        if len(tags) != len(labels):
            raise PermitRefused("it has one tag for two labels")
        listed = granted[position]
        if listed is not None and not tags <= set(listed):
            raise PermitRefused(f"it has a tag that the grant does not cover ({KINDS[position]})")
