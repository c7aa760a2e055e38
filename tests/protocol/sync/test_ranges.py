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
NEXT_KEYS = KEYS[::-1]
NEXT_CHECK = partial(
    check_certificate, chain=CHAIN, epoch=1, vote_keys=[key.public for key in NEXT_KEYS], verifier=verify
)
GENESIS = Header(1, CHAIN, 0, 0, ZERO_DIGEST, 0, 1, merkle_root([]), ZERO_DIGEST, None)


def block(parent: Header, *transactions: bytes, ends: bool = False) -> Block:
    root = merkle_root([transaction_digest(raw) for raw in transactions])
    height, epoch, following = parent.height + 1, parent.child_epoch, bytes([1]) * 32 if ends else None
    below, time = block_digest(parent), parent.timestamp + 1
    return Block(Header(1, CHAIN, epoch, height, below, 0, time, root, ZERO_DIGEST, following), transactions)


def certify(subject: VoteSubject, signers: int = 3) -> bytes:
    keys = NEXT_KEYS if subject.epoch else KEYS
    votes = [sign_vote(key, subject, index) for index, key in enumerate(keys[:signers])]
    return encode(Certificate(subject, tuple((vote.index, vote.signature) for vote in votes)))


def chain(certified: list[bool], end: int | None = None) -> tuple[list[Block], list[RangeBlock]]:
    """Blocks above the genesis, of which the one at height `end` ends epoch 0."""
    blocks, parts = [], []
    below = GENESIS
    for view, final in enumerate(certified, 1):
        one = block(below, bytes([view]), ends=view == end)
        epoch = one.header.epoch
        certificate = certify(finalize(CHAIN, epoch, view, block_digest(one.header))) if final else None
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


# --- epochs ----------------------------------------------------------------------------------------------------


def test_a_range_ends_with_its_epoch_and_the_next_is_checked_by_the_next_authorities() -> None:
    blocks, parts = chain([True, False, True, False, True], end=3)
    segments, held = check_range(GENESIS, FinalRange(9, tuple(parts[:3]), None), CHECK)
    assert ([len(one.blocks) for one in segments], held) == ([1, 2], ())
    head = segments[-1].blocks[-1].header
    assert head.ends_epoch
    above = FinalRange(9, tuple(parts[3:]), None)
    segments, held = check_range(head, above, NEXT_CHECK)
    assert ([list(one.blocks) for one in segments], held) == ([blocks[3:]], ())
    with pytest.raises(BadCertificate, match="is of epoch 1, not 0"):
        check_range(head, above, CHECK)
    with pytest.raises(BadRange, match="height 4 stands above the end of epoch 0"):
        check_range(GENESIS, FinalRange(9, tuple(parts), None), CHECK)


def test_headers_of_the_next_epoch_vouch_for_nothing_in_this_one() -> None:
    """The end of an epoch is final by itself or not at all: nothing extends it before."""
    blocks, parts = chain([False, False, True], end=2)
    with pytest.raises(BadRange, match="height 3 stands above the end of epoch 0"):
        check_range(GENESIS, cut(blocks, parts, 0, 0), NEXT_CHECK)
    with pytest.raises(BadRange, match="height 3 stands above the end of epoch 0"):
        check_range(GENESIS, cut(blocks, parts, 0, 1), NEXT_CHECK)
    with pytest.raises(BadRange, match="height 3 stands above the end of epoch 0"):
        check_range(GENESIS, FinalRange(9, tuple(parts), None), NEXT_CHECK)


@pytest.mark.parametrize("spoil", ["early", "late", "vote"])
def test_a_block_of_an_epoch_that_is_not_its_own(spoil: str) -> None:
    blocks, _ = chain([True, True], end=None if spoil == "early" else 1)
    head = GENESIS if spoil == "early" else blocks[0].header
    one = blocks[0 if spoil == "early" else 1]
    epoch = {"early": 1, "late": 0, "vote": 1}[spoil]
    header = msgspec.structs.replace(one.header, epoch=epoch)
    signed = 0 if spoil == "vote" else epoch
    certificate = certify(finalize(CHAIN, signed, 1, block_digest(header)))
    answer = FinalRange(9, (RangeBlock(encode(Block(header, one.transactions)), certificate),), None)
    expected = "the certificate at height 2 is of another epoch" if spoil == "vote" else f"is of epoch {epoch}, not"
    with pytest.raises(BadRange, match=expected):
        check_range(head, answer, NEXT_CHECK if signed else CHECK)
