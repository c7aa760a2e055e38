"""Quorums, well-formed votes and certificates."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.consensus.quorum import check_certificate, check_vote, faults, quorum
from protocol.crypto.signing import verify
from protocol.errors import BadCertificate, BadVote
from protocol.types.votes import Certificate, Vote, VoteSubject
from tests.protocol.consensus.bench import CHAIN, GENESIS, PUBLIC, block, certificate, finalize_of, nullify_of, vote

B = block(GENESIS, 1)
SUBJECT = finalize_of(B, 1)


@given(st.integers(1, 256))
def test_two_quorums_share_an_honest_authority_and_the_honest_are_a_quorum(n: int) -> None:
    f, q = faults(n), quorum(n)
    assert 2 * q - n >= f + 1
    assert n - f >= q
    assert 3 * f < n


def test_a_good_vote_and_certificate_pass() -> None:
    check_vote(vote(SUBJECT, 2), CHAIN, 0, PUBLIC, verify)
    check_certificate(certificate(SUBJECT), CHAIN, 0, PUBLIC, verify)
    check_certificate(certificate(SUBJECT, 0, 1, 2, 3), CHAIN, 0, PUBLIC, verify)


@pytest.mark.parametrize(
    "subject",
    [
        msgspec.structs.replace(SUBJECT, chain=bytes(32)),
        msgspec.structs.replace(SUBJECT, epoch=1),
        msgspec.structs.replace(SUBJECT, view=0),
        msgspec.structs.replace(SUBJECT, kind=4),
        msgspec.structs.replace(SUBJECT, kind=0),
        msgspec.structs.replace(SUBJECT, parent_view=1),
        msgspec.structs.replace(nullify_of(1), block=b"\x01" * 32),
        msgspec.structs.replace(nullify_of(1), parent_view=1),
        VoteSubject(1, CHAIN, 0, 3, 3, bytes(32)),
    ],
)
def test_a_subject_has_one_form(subject: VoteSubject) -> None:
    with pytest.raises(BadVote):
        check_vote(vote(subject, 0), CHAIN, 0, PUBLIC, verify)
    with pytest.raises(BadCertificate):
        check_certificate(certificate(subject), CHAIN, 0, PUBLIC, verify)


def test_a_vote_counts_only_for_the_key_at_its_index() -> None:
    good = vote(SUBJECT, 2)
    for index in (0, 1, 3, 4, 65_535):
        with pytest.raises(BadVote):
            check_vote(Vote(SUBJECT, index, good.signature), CHAIN, 0, PUBLIC, verify)


def test_a_certificate_needs_a_quorum_of_distinct_good_signatures() -> None:
    good = certificate(SUBJECT).signatures
    for signatures in (
        good[:2],
        (good[0], good[0], good[1]),
        (good[1], good[0], good[2]),
        (*good[:2], (3, good[2][1])),
        (*good[:2], (4, good[2][1])),
        (*good, (3, bytes(64))),
    ):
        with pytest.raises(BadCertificate):
            check_certificate(Certificate(SUBJECT, signatures), CHAIN, 0, PUBLIC, verify)


def test_known_signatures_are_not_verified_again_and_others_are() -> None:
    good = certificate(SUBJECT)
    check_certificate(good, CHAIN, 0, PUBLIC, lambda *_: False, known=frozenset(good.signatures))
    with pytest.raises(BadCertificate):
        check_certificate(good, CHAIN, 0, PUBLIC, lambda *_: False, known=frozenset(good.signatures[:2]))
