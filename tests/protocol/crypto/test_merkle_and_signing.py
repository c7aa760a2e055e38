"""Trees, digests and signatures: what they promise, and each way of cheating refused."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.codec.canonical import encode
from protocol.crypto import merkle, signing
from protocol.crypto.hashing import (
    Domain,
    block_digest,
    digest,
    encryption_key_digest,
    keyed_digest,
    operation_digest,
    transaction_digest,
    transaction_id,
)
from protocol.errors import BadProof
from protocol.types.block import Header
from protocol.types.operations import ROLE_OWNER, Disclose, Revoke, SignedOperation
from protocol.types.transaction import TransactionBody
from protocol.types.votes import FINALIZE, NOTARIZE, VoteSubject

leaves_of = st.integers(1, 70).map(lambda count: [digest(Domain.TRANSACTION_LEAF, bytes([i])) for i in range(count)])


@dataclass(frozen=True)
class Shown:
    """A path as a prover would hand it over."""

    leaves: list[bytes]
    index: int

    @property
    def path(self) -> tuple[bytes, ...]:
        return merkle.merkle_path(self.leaves, self.index)

    @property
    def root(self) -> bytes:
        return merkle.merkle_root(self.leaves)


shown_of = leaves_of.flatmap(lambda leaves: st.builds(Shown, st.just(leaves), st.integers(0, len(leaves) - 1)))


@given(shown_of)
def test_every_leaf_has_a_path(shown: Shown) -> None:
    merkle.merkle_check(shown.root, shown.leaves[shown.index], shown.index, len(shown.leaves), shown.path)


@given(shown_of, st.data())
def test_a_path_shows_nothing_else(shown: Shown, data: st.DataObject) -> None:
    leaf, count, path = shown.leaves[shown.index], len(shown.leaves), shown.path
    lies: list[tuple[bytes, int, int, tuple[bytes, ...]]] = [
        (digest(Domain.TRANSACTION_LEAF, b"other"), shown.index, count, path),
        (leaf, shown.index, count + 1, path),
        (leaf, shown.index, count * 2, path),
        (leaf, count, count, path),
        (leaf, -1, count, path),
        (leaf, shown.index, merkle.COUNT_MAX + 1, path),
        (leaf, shown.index, count, (*path, bytes(32))),
        (leaf[:31], shown.index, count, path),
    ]
    if path:
        step = data.draw(st.integers(0, len(path) - 1))
        changed = bytes([path[step][0] ^ 1]) + path[step][1:]
        lies += [
            (leaf, shown.index ^ 1, count, path),
            (leaf, shown.index, count, path[:-1]),
            (leaf, shown.index, count, (*path[:step], changed, *path[step + 1 :])),
            (leaf, shown.index, count, (*path[:step], path[step] + b"\0", *path[step + 1 :])),
        ]
    for lie in lies:
        with pytest.raises(BadProof):
            merkle.merkle_check(shown.root, *lie)


def test_an_inner_node_cannot_pass_for_a_leaf_of_a_shorter_list() -> None:
    leaves = [digest(Domain.TRANSACTION_LEAF, bytes([i])) for i in range(4)]
    right = merkle.merkle_path(leaves, 0)[1]
    inner = digest(Domain.MERKLE_NODE, leaves[0], leaves[1])
    with pytest.raises(BadProof):
        merkle.merkle_check(merkle.merkle_root(leaves), inner, 0, 2, (right,))


def test_bytes_cannot_move_between_a_leaf_and_its_sibling() -> None:
    leaves = [digest(Domain.TRANSACTION_LEAF, bytes([i])) for i in range(2)]
    joined = leaves[0] + leaves[1]
    for cut in (31, 33):
        with pytest.raises(BadProof):
            merkle.merkle_check(merkle.merkle_root(leaves), joined[:cut], 0, 2, (joined[cut:],))


def test_the_root_binds_order_and_number() -> None:
    a, b = bytes(32), bytes([1]) * 32
    roots = [merkle.merkle_root(leaves) for leaves in ([], [a], [b], [a, b], [b, a], [a, b, b], [a, b, b, b])]
    assert len(set(roots)) == len(roots)
    with pytest.raises(BadProof):
        merkle.merkle_path([], 0)


def test_labels_are_distinct_and_fit() -> None:
    labels = [value for value in vars(Domain).values() if isinstance(value, bytes)]
    assert len(set(labels)) == len(labels) > 20
    assert all(0 < len(label) <= 16 and label.isascii() and not label.endswith(b"\0") for label in labels)
    signed = [value for name, value in vars(signing).items() if name.endswith("_LABEL")]
    assert len(signed) == 8
    assert not any(a is not b and a.startswith(b) for a in signed for b in signed)


def test_one_input_has_another_digest_for_each_use() -> None:
    body = TransactionBody(bytes(32), 1, 0, 5, 10, (SignedOperation(Revoke(1, 2)),))
    header = Header(1, bytes(32), 0, 1, bytes(32), 0, 5, bytes(32), bytes(32), None)
    raw = encode(body)
    made = {
        transaction_id(body), transaction_digest(raw), digest(Domain.BLOCK, raw),
        block_digest(header), operation_digest(Revoke(1, 2)), keyed_digest(Domain.TAG, bytes(32), raw),
        encryption_key_digest(1, bytes(32)), encryption_key_digest(2, bytes(32)),
    }  # fmt: skip
    assert len(made) == 8


KEY = signing.SigningKey(bytes(range(32)))


@given(st.binary(max_size=300), st.integers(0, 63), st.integers(1, 255))
def test_a_signature_holds_for_one_message_and_key(message: bytes, place: int, flip: int) -> None:
    signature = KEY.sign(message)
    assert signing.verify(KEY.public, message, signature)
    changed = signature[:place] + bytes([signature[place] ^ flip]) + signature[place + 1 :]
    assert not signing.verify(KEY.public, message, changed)
    assert not signing.verify(KEY.public, message + b"\0", signature)
    assert not signing.verify(signing.SigningKey(bytes(32)).public, message, signature)


@pytest.mark.parametrize(("key", "signature"), [(31, 64), (33, 64), (0, 64), (32, 63), (32, 65), (32, 0)])
def test_wrong_lengths_do_not_verify_and_do_not_raise(key: int, signature: int) -> None:
    assert not signing.verify(bytes(key), b"m", bytes(signature))


def test_bytes_cannot_move_between_signature_and_message() -> None:
    signature = KEY.sign(b"message")
    assert not signing.verify(KEY.public, signature[-1:] + b"message", signature[:-1])


def test_a_message_names_all_that_it_is_about() -> None:
    body = TransactionBody(bytes(32), 1, 0, 5, 10, (SignedOperation(Revoke(1, 2)),))
    subject = VoteSubject(NOTARIZE, bytes(32), 0, 3, 2, bytes(32))
    cosigned = (bytes(32), operation_digest(Revoke(1, 2)), ROLE_OWNER, 0, 7, 99)
    messages = {
        signing.transaction_message(body),
        signing.vote_message(subject),
        signing.vote_message(VoteSubject(FINALIZE, bytes(32), 0, 3, 2, bytes(32))),
        signing.vote_message(VoteSubject(NOTARIZE, bytes(32), 1, 3, 2, bytes(32))),
        signing.cosignature_message(*cosigned),
        signing.cosignature_message(b"\1" * 32, *cosigned[1:]),
        signing.cosignature_message(cosigned[0], operation_digest(Revoke(1, 3)), *cosigned[2:]),
        signing.cosignature_message(*cosigned[:2], 2, 0, 7, 99),
        signing.cosignature_message(*cosigned[:3], 1, 7, 99),
        signing.cosignature_message(*cosigned[:4], 8, 99),
        signing.cosignature_message(*cosigned[:5], 100),
    }
    assert len(messages) == 11


def test_cosignatures_and_votes_verify_as_the_ledger_checks_them() -> None:
    operation = Disclose(1, None, (2,), "TREAT")
    given_by = signing.cosign(KEY, bytes(32), operation, ROLE_OWNER, 7, 99)
    message = signing.cosignature_message(bytes(32), operation_digest(operation), ROLE_OWNER, 0, 7, 99)
    assert signing.verify(KEY.public, message, given_by.signature)
    subject = VoteSubject(NOTARIZE, bytes(32), 0, 3, 2, bytes(32))
    vote = signing.sign_vote(KEY, subject, 4)
    assert vote.index == 4
    assert signing.verify(KEY.public, signing.vote_message(subject), vote.signature)


def test_a_key_keeps_its_secret() -> None:
    assert bytes(range(32)).hex() not in repr(KEY)
    assert repr(KEY) == f"SigningKey(public={KEY.public.hex()})"
    with pytest.raises(TypeError):
        pickle.dumps(KEY)
    with pytest.raises(ValueError):
        signing.SigningKey(bytes(31))
