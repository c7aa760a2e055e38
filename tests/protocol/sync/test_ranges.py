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
from protocol.sync.messages import FinalRange, RangeBlock
from protocol.sync.ranges import BadRange, check_range
from protocol.types.base import ZERO_DIGEST
from protocol.types.block import Block, Header
from protocol.types.votes import Certificate, VoteSubject

CHAIN = bytes(32)
KEYS = [SigningKey(hashlib.blake2b(bytes([n]), digest_size=32).digest()) for n in range(4)]
CHECK = partial(check_certificate, chain=CHAIN, epoch=0, vote_keys=[key.public for key in KEYS], verifier=verify)
GENESIS = Header(1, CHAIN, 0, 0, ZERO_DIGEST, 0, 1, merkle_root([]), ZERO_DIGEST)


def block(parent: Header, *transactions: bytes) -> Block:
    root = merkle_root([transaction_digest(raw) for raw in transactions])
    header = Header(1, CHAIN, 0, parent.height + 1, block_digest(parent), 0, parent.timestamp + 1, root, ZERO_DIGEST)
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
    segments = check_range(GENESIS, FinalRange(9, tuple(parts)), CHECK)
    assert [list(one.blocks) for one in segments] == [blocks[:1], blocks[1:]]
    assert check_range(GENESIS, FinalRange(9, ()), CHECK) == []


def test_nothing_is_believed_that_no_certificate_vouches_for() -> None:
    _, parts = chain([True, False])
    with pytest.raises(BadRange, match="vouches"):
        check_range(GENESIS, FinalRange(9, tuple(parts)), CHECK)


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
        check_range(GENESIS, FinalRange(9, tuple(parts)), CHECK)
