"""Checks an answer to a range request: consecutive blocks that link, each run of them ended by a finalization.

What is checked here needs no state: encoding, heights, parents, the root over the transactions, certificates. The
caller still checks each transaction's signature, executes the blocks and compares `state_root`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from protocol import limits
from protocol.codec.canonical import decode
from protocol.crypto.hashing import block_digest, transaction_digest
from protocol.crypto.merkle import merkle_root
from protocol.errors import ChartledgerError
from protocol.sync.messages import CERTIFICATE_BYTES, FinalRange
from protocol.types.block import Block, Header
from protocol.types.votes import FINALIZE, Certificate


class BadRange(ChartledgerError):
    """The blocks that a peer sent do not continue this chain."""

    advice = "The peer is broken or hostile; the blocks are fetched from another."


class Segment(NamedTuple):
    """Blocks that became final together, oldest first, and the certificate that finalizes the last."""

    blocks: tuple[Block, ...]
    certificate: Certificate


def check_range(head: Header, answer: FinalRange, check: Callable[[Certificate], None]) -> list[Segment]:
    """The segments that continue the chain above `head`, oldest first; perhaps none.

    `check` raises `BadCertificate` for what is no certificate of this chain and epoch. Raises `BadRange`,
    `BadCertificate` or `DecodeError`; blocks after the last certificate are refused too, since nobody vouches for them.
    """
    segments: list[Segment] = []
    blocks: list[Block] = []
    parent, below = block_digest(head), head
    for part in answer.blocks:
        block = decode(Block, part.block, limits.FRAME_BYTES)
        header = block.header
        if header.height != below.height + 1 or header.parent != parent:
            raise BadRange(f"the block at height {header.height} does not continue height {below.height}")
        if header.chain != head.chain:
            raise BadRange(f"the block at height {header.height} is of another chain")
        if header.transactions_root != merkle_root([transaction_digest(raw) for raw in block.transactions]):
            raise BadRange(f"the block at height {header.height} does not hold the transactions that its header says")
        parent, below = block_digest(header), header
        blocks.append(block)
        if part.certificate is None:
            continue
        certificate = decode(Certificate, part.certificate, CERTIFICATE_BYTES)
        if certificate.subject.kind != FINALIZE or certificate.subject.block != parent:
            raise BadRange(f"the certificate at height {header.height} finalizes something else")
        check(certificate)
        segments.append(Segment(tuple(blocks), certificate))
        blocks.clear()
    if blocks:
        raise BadRange("no certificate vouches for the last blocks")
    return segments
