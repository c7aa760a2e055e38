"""A range of blocks is believed only as far as certificates and links carry it."""

from __future__ import annotations

import hashlib
from functools import partial

import msgspec
import pytest

from protocol.codec.canonical import decode, encode
from protocol.consensus.quorum import check_certificate, finalize, notarize
from protocol.crypto.hashing import block_digest, transaction_digest
from protocol.crypto.merkle import merkle_root
from protocol.crypto.signing import SigningKey, sign_vote, verify
from protocol.errors import BadCertificate, ChartledgerError, DecodeError
from protocol.sync.messages import FinalRange, RangeBlock, Rest
from protocol.sync.ranges import BadRange, check_range
from protocol.types.base import ZERO_DIGEST
from protocol.types.block import Block, Header
from protocol.types.votes import Certificate, VoteSubject

CHAIN = bytes(32)
KEYS = [SigningKey(hashlib.blake2b(bytes([n]), digest_size=32).digest()) for n in range(4)]
CHECK = partial(check_certificate, chain=CHAIN, epoch=0, vote_keys=[key.public for key in KEYS], verifier=verify)
GENESIS = Header(1, CHAIN, 0, 0, ZERO_DIGEST, 0, 1, merkle_root([]), ZERO_DIGEST, None)


def block(parent: Header, *transactions: bytes) -> Block:
    root = merkle_root([transaction_digest(raw) for raw in transactions])
    below = block_digest(parent)
    header = Header(1, CHAIN, 0, parent.height + 1, below, 0, parent.timestamp + 1, root, ZERO_DIGEST, None)
    return Block(header, transactions)


def certify(subject: VoteSubject, signers: int = 3) -> bytes:
    votes = [sign_vote(key, subject, index) for index, key in enumerate(KEYS[:signers])]
    return encode(Certificate(subject, tuple((vote.index, vote.signature) for vote in votes)))


def chain(certified: list[bool]) -> tuple[list[Block], list[RangeBlock]]:
    blocks, parts = [], []
    below = GENESIS
    for view, final in enumerate(certified, 1):
        one = block(below, bytes([view]))
        certificate = certify(finalize(CHAIN, 0, view, block_digest(one.header))) if final else None
        blocks.append(one)
        parts.append(RangeBlock(encode(one), certificate))
        below = one.header
    return blocks, parts


def test_runs_that_end_with_a_certificate_come_out_as_segments() -> None:
    blocks, parts = chain([True, False, False, True])
    segments, held = check_range(GENESIS, FinalRange(9, tuple(parts), None), CHECK)
    assert held == ()
    assert [list(one.blocks) for one in segments] == [blocks[:1], blocks[1:]]
    assert check_range(GENESIS, FinalRange(9, (), None), CHECK) == ([], ())


def test_nothing_is_believed_that_no_certificate_vouches_for() -> None:
    _, parts = chain([True, False])
    with pytest.raises(BadRange, match="vouches"):
        check_range(GENESIS, FinalRange(9, tuple(parts), None), CHECK)


def cut(blocks: list[Block], parts: list[RangeBlock], first: int, last: int) -> FinalRange:
    """Blocks `first` to `last`, the first being 0, and what vouches for them if they end without a certificate."""
    if parts[last].certificate is not None:
        return FinalRange(9, tuple(parts[first : last + 1]), None)
    end = next(n for n in range(last, len(parts)) if parts[n].certificate is not None)
    rest = Rest(tuple(encode(one.header) for one in blocks[last + 1 : end + 1]), parts[end].certificate or b"")
    return FinalRange(9, tuple(parts[first : last + 1]), rest)


def test_a_run_too_long_for_one_answer_is_proven_by_headers_and_comes_out_whole() -> None:
    blocks, parts = chain([True, False, False, False, False, True, True])
    segments, held = check_range(GENESIS, cut(blocks, parts, 0, 1), CHECK)
    assert ([list(one.blocks) for one in segments], list(held)) == ([blocks[:1]], blocks[1:2])
    head = blocks[0].header
    segments, held = check_range(head, cut(blocks, parts, 2, 3), CHECK, held)
    assert (segments, list(held)) == ([], blocks[1:4])
    segments, held = check_range(head, cut(blocks, parts, 4, 6), CHECK, held)
    assert ([list(one.blocks) for one in segments], held) == ([blocks[1:6], blocks[6:]], ())


@pytest.mark.parametrize("spoil", ["drop", "swap", "few", "notarization", "another", "no need", "garbage", "held"])
def test_headers_that_lead_to_no_certificate_prove_nothing(spoil: str) -> None:
    blocks, parts = chain([False, False, False, True])
    last = blocks[3].header
    good = cut(blocks, parts, 0, 0)
    assert good.rest is not None
    headers, certificate, held = list(good.rest.headers), good.rest.certificate, tuple[Block, ...]()
    subject = finalize(CHAIN, 0, 4, block_digest(last))
    if spoil == "drop":
        del headers[1]
    elif spoil == "swap":
        headers[0], headers[1] = headers[1], headers[0]
    elif spoil == "few":
        certificate = certify(subject, signers=2)
    elif spoil == "notarization":
        certificate = certify(notarize(CHAIN, 0, 4, 3, block_digest(last)))
    elif spoil == "another":  # of a block above, which is final, but nobody sees that it is above
        certificate = certify(finalize(CHAIN, 0, 5, block_digest(block(last).header)))
    elif spoil == "garbage":
        headers[0] = b"\xc1"
    elif spoil == "no need":
        good = cut(blocks, parts, 0, 3)
        headers = [encode(block(last).header)]
        certificate = certify(finalize(CHAIN, 0, 5, block_digest(block(last).header)))
    else:
        held = (block(GENESIS, b"else"),)
    with pytest.raises((BadRange, BadCertificate, DecodeError)):
        check_range(GENESIS, FinalRange(9, good.blocks, Rest(tuple(headers), certificate)), CHECK, held)


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        ("drop", BadRange),
        ("swap", BadRange),
        ("transactions", BadRange),
        ("foreign", BadRange),
        ("parent", BadRange),
        ("few", BadCertificate),
        ("notarization", BadRange),
        ("other block", BadRange),
        ("forged", BadCertificate),
        ("garbage", DecodeError),
        ("bit", ChartledgerError),
    ],
)
def test_each_way_of_lying_is_seen(spoil: str, error: type[Exception]) -> None:
    blocks, parts = chain([False, False, True])
    last = blocks[2].header
    subject = finalize(CHAIN, 0, 3, block_digest(last))
    if spoil == "drop":
        del parts[1]
    elif spoil == "swap":
        parts[0], parts[1] = parts[1], parts[0]
    elif spoil == "transactions":
        parts[1] = RangeBlock(encode(msgspec.structs.replace(blocks[1], transactions=(b"else",))), None)
    elif spoil == "foreign":
        header = msgspec.structs.replace(blocks[0].header, chain=bytes([1]) * 32)
        parts[0] = RangeBlock(encode(Block(header, blocks[0].transactions)), None)
    elif spoil == "parent":  # a chain of its own: all is well but where it hangs
        header = msgspec.structs.replace(blocks[0].header, parent=bytes(32))
        one = Block(header, blocks[0].transactions)
        alone = certify(finalize(CHAIN, 0, 1, block_digest(header)))
        parts[:] = [RangeBlock(encode(one), alone)]
    elif spoil == "few":
        parts[2] = RangeBlock(parts[2].block, certify(subject, signers=2))
    elif spoil == "notarization":
        parts[2] = RangeBlock(parts[2].block, certify(notarize(CHAIN, 0, 3, 2, block_digest(last))))
    elif spoil == "other block":
        parts[2] = RangeBlock(parts[2].block, certify(finalize(CHAIN, 0, 3, bytes(32))))
    elif spoil == "forged":
        certificate = decode(Certificate, certify(subject))
        wrong = tuple((index, bytes(64)) for index, _ in certificate.signatures)
        parts[2] = RangeBlock(parts[2].block, encode(Certificate(subject, wrong)))
    elif spoil == "garbage":
        parts[1] = RangeBlock(b"\xc1", None)
    else:
        parts[0] = RangeBlock(parts[0].block[:-1] + bytes([parts[0].block[-1] ^ 1]), None)
    with pytest.raises(error):
        check_range(GENESIS, FinalRange(9, tuple(parts), None), CHECK)
