"""Votes, certificates and the messages of consensus.

A vote names its authority by the index in the epoch's set. What is signed is `VoteSubject` under its own domain
label, so a certificate is a subject and q distinct (index, signature) pairs over it.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocol import limits
from protocol.types.base import U16, Digest, Number, Signature, Wire
from protocol.types.block import Block

NOTARIZE = 1
NULLIFY = 2
FINALIZE = 3


class VoteSubject(Wire, frozen=True):
    """What is voted on. `parent_view` is 0 and `block` zero where the kind has none.

    notarize(view, parent_view, block), nullify(view), finalize(view, block): design, section 5.
    """

    kind: U16
    chain: Digest
    epoch: Number
    view: Number
    parent_view: Number
    block: Digest


class Vote(Wire, frozen=True, tag=1):
    """One authority's signature over one subject."""

    subject: VoteSubject
    index: U16
    signature: Signature


class Certificate(Wire, frozen=True, tag=2):
    """A quorum's signatures over one subject, ascending by index: a notarization, nullification or finalization."""

    subject: VoteSubject
    signatures: Annotated[tuple[tuple[U16, Signature], ...], Meta(min_length=1, max_length=limits.AUTHORITIES)]


class Proposal(Wire, frozen=True, tag=3):
    """A leader's block with its own notarize vote, which names view and parent view."""

    block: Block
    vote: Vote


class Fetch(Wire, frozen=True, tag=4):
    """Ask a peer for what is lacking: certificates of views from `first` to `last`, and bodies by digest."""

    epoch: Number
    first: Number
    last: Number
    blocks: Annotated[tuple[Digest, ...], Meta(max_length=limits.UNFINALIZED_DEPTH)] = ()


class Body(Wire, frozen=True, tag=5):
    """A block, in answer to a `Fetch`."""

    block: Block


ConsensusMessage = Vote | Certificate | Proposal | Fetch | Body
