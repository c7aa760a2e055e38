"""Quorums: how many, which vote is well formed, and what a certificate proves.

With n authorities at most f = (n-1)//3 are traitors, and a quorum is q = n-f. Two quorums share at least q+q-n =
n-2f >= f+1 authorities, so at least one honest one; that is all that the safety argument in `machine` needs.
Relies on `protocol.crypto.signing` for what exactly a vote signs. Used by proofs and sync too, which hold a
certificate and an authority set and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from protocol.crypto.signing import Verifier, vote_message
from protocol.errors import BadCertificate, BadVote
from protocol.types.base import ZERO_DIGEST
from protocol.types.institutions import faults_of, quorum_of
from protocol.types.votes import FINALIZE, NOTARIZE, NULLIFY, Certificate, Vote, VoteSubject


def faults(n: int) -> int:
    """How many of n authorities may be traitors: (n-1)//3."""
    return faults_of(n)


def quorum(n: int) -> int:
    """How many distinct authorities of n make a certificate: n - faults(n)."""
    return quorum_of(n)


def leader(view: int, n: int) -> int:
    """The index of the authority that proposes in this view: they take turns."""
    return view % n


def notarize(chain: bytes, epoch: int, view: int, parent_view: int, block: bytes) -> VoteSubject:
    """The subject "this block, on what was notarized in `parent_view`, is good in `view`"."""
    return VoteSubject(NOTARIZE, chain, epoch, view, parent_view, block)


def nullify(chain: bytes, epoch: int, view: int) -> VoteSubject:
    """The subject "nothing of this view needs to become final"."""
    return VoteSubject(NULLIFY, chain, epoch, view, 0, ZERO_DIGEST)


def finalize(chain: bytes, epoch: int, view: int, block: bytes) -> VoteSubject:
    """The subject "I saw this block notarized in `view`, and never nullified the view"."""
    return VoteSubject(FINALIZE, chain, epoch, view, 0, block)


def subject_fault(subject: VoteSubject, chain: bytes, epoch: int) -> str | None:
    """Why the subject is not one of this chain and epoch in its one form, or None."""
    if subject.chain != chain:
        return "is of another chain"
    if subject.epoch != epoch:
        return f"is of epoch {subject.epoch}, not {epoch}"
    if subject.view < 1:
        return "is of view 0, which is final by definition"
    forms = {
        NOTARIZE: ("has a parent view that is not below its view", subject.parent_view < subject.view),
        FINALIZE: ("is a finalize with a parent view", subject.parent_view == 0),
        NULLIFY: ("is a nullify that names a block", subject.parent_view == 0 and subject.block == ZERO_DIGEST),
    }
    fault, sound = forms.get(subject.kind, (f"is of the unknown kind {subject.kind}", False))
    return None if sound else fault


def check_vote(vote: Vote, chain: bytes, epoch: int, vote_keys: Sequence[bytes], verifier: Verifier) -> None:
    """Raise `BadVote` unless the vote is well formed and signed by the authority that it names.

    `vote_keys`: the epoch's Ed25519 vote keys (32 bytes each) by index.
    """
    fault = subject_fault(vote.subject, chain, epoch)
    if fault is not None:
        raise BadVote(f"the vote {fault}")
    if vote.index >= len(vote_keys):
        raise BadVote(f"there is no authority {vote.index} among {len(vote_keys)}")
    if not verifier(vote_keys[vote.index], vote_message(vote.subject), vote.signature):
        raise BadVote(f"the vote is not signed by authority {vote.index}")


def check_certificate(
    certificate: Certificate,
    chain: bytes,
    epoch: int,
    vote_keys: Sequence[bytes],
    verifier: Verifier,
    *,
    known: frozenset[tuple[int, bytes]] = frozenset(),
) -> None:
    """Raise `BadCertificate` unless a quorum of distinct authorities signed the subject.

    Indexes ascend strictly, so a certificate has one form and nobody counts twice; every signature must verify, not
    only a quorum of them. `known` holds (index, signature) pairs over this very subject that were verified before.
    """
    subject = certificate.subject
    fault = subject_fault(subject, chain, epoch)
    if fault is not None:
        raise BadCertificate(f"the certificate {fault}")
    n = len(vote_keys)
    indexes = [index for index, _ in certificate.signatures]
    if any(a >= b for a, b in pairwise(indexes)):
        raise BadCertificate("the certificate's indexes do not ascend")
    if len(indexes) < quorum(n):
        raise BadCertificate(f"{len(indexes)} signatures are no quorum of {n}: {quorum(n)} are needed")
    if indexes[-1] >= n:
        raise BadCertificate(f"there is no authority {indexes[-1]} among {n}")
    message = vote_message(subject)
    for number, (index, signature) in enumerate(certificate.signatures, 1):
        if (index, signature) not in known and not verifier(vote_keys[index], message, signature):
            raise BadCertificate(f"signature {number} of {len(indexes)}, that of authority {index}, does not verify")
