"""Checks an answer to a range request: consecutive blocks that link, each run of them ended by a finalization, or
followed by the headers that lead to one.

What is checked here needs no state but the authorities of the epoch that goes on above the head: encoding, heights,
parents, the root over the transactions, certificates. The caller still checks each transaction's signature, executes
the blocks and compares `state_root`. No answer reaches beyond an epoch's end: who signs above is known only once the
blocks below were executed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from protocol import limits
from protocol.codec.canonical import decode
from protocol.crypto.hashing import block_digest, transaction_digest
from protocol.crypto.merkle import merkle_root
from protocol.errors import ChartledgerError
from protocol.sync.messages import CERTIFICATE_BYTES, HEADER_BYTES, FinalRange, Rest
from protocol.types.block import Block, Header
from protocol.types.votes import FINALIZE, Certificate


class BadRange(ChartledgerError):
    """The blocks that a peer sent do not continue this chain."""

    advice = "The peer is broken or hostile; the blocks are fetched from another."


class Segment(NamedTuple):
    """Blocks that became final together, oldest first, and the certificate that finalizes the last."""

    blocks: tuple[Block, ...]
    certificate: Certificate


Check = Callable[[Certificate], None]
"""Raises `BadCertificate` for what is no certificate of this chain by the authorities of the epoch that it names."""


def check_range(
    head: Header, answer: FinalRange, check: Check, held: Sequence[Block] = ()
) -> tuple[list[Segment], tuple[Block, ...]]:
    """The segments that continue the chain above `head`, oldest first, and what is proven to be final above them
    though its certificate is yet to come: to be `held` and handed in with the answer that follows.

    All of it is of one epoch, `head.child_epoch`; a block that ends it is the last, and carries its own finalization,
    since nothing extends it before. Raises `BadRange`, `BadCertificate` or `DecodeError`. Blocks that nobody vouches
    for are refused, so what is held is as bounded as what a quorum makes final together.
    """
    segments: list[Segment] = []
    blocks = list(held)
    epoch = head.child_epoch
    below = blocks[-1].header if blocks else head
    for part in answer.blocks:
        block = decode(Block, part.block, limits.FRAME_BYTES)
        header = block.header
        _check_link(below, header, epoch)
        if header.transactions_root != merkle_root([transaction_digest(raw) for raw in block.transactions]):
            raise BadRange(f"the block at height {header.height} does not hold the transactions that its header says")
        below = header
        blocks.append(block)
        if part.certificate is not None:
            segments.append(Segment(tuple(blocks), _certificate(header, part.certificate, check)))
            blocks.clear()
    if blocks and answer.rest is None:
        raise BadRange("no certificate vouches for the last blocks")
    if answer.rest is not None:
        if not blocks:
            raise BadRange("headers follow although a certificate vouches for the last block")
        _check_rest(below, answer.rest, epoch, check)
    return segments, tuple(blocks)


def _check_link(below: Header, header: Header, epoch: int) -> None:
    if header.height != below.height + 1 or header.parent != block_digest(below):
        raise BadRange(f"the block at height {header.height} does not continue height {below.height}")
    if header.chain != below.chain:
        raise BadRange(f"the block at height {header.height} is of another chain")
    if below.child_epoch != epoch:
        raise BadRange(f"the block at height {header.height} stands above the end of epoch {epoch}")
    if header.epoch != epoch:
        raise BadRange(f"the block at height {header.height} is of epoch {header.epoch}, not {epoch}")


def _check_rest(below: Header, rest: Rest, epoch: int, check: Check) -> None:
    for raw in rest.headers:
        header = decode(Header, raw, HEADER_BYTES)
        _check_link(below, header, epoch)
        below = header
    _certificate(below, rest.certificate, check)


def _certificate(header: Header, raw: bytes, check: Check) -> Certificate:
    certificate = decode(Certificate, raw, CERTIFICATE_BYTES)
    if certificate.subject.kind != FINALIZE or certificate.subject.block != block_digest(header):
        raise BadRange(f"the certificate at height {header.height} finalizes something else")
    if certificate.subject.epoch != header.epoch:
        raise BadRange(f"the certificate at height {header.height} is of another epoch than its block")
    check(certificate)
    return certificate
