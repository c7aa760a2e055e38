"""What must hold, written again from the rules and independent of the machine.

It sees every vote at the moment it leaves its node, together with what that node has durably stored, and every block
at the moment that a node holds it to be final.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from protocol.consensus.effects import Record
from protocol.crypto.hashing import block_digest
from protocol.crypto.signing import vote_message
from protocol.types.block import Block
from protocol.types.votes import FINALIZE, NOTARIZE, NULLIFY, Body, Certificate, Proposal, Vote


class Violation(AssertionError):
    """A promise was broken."""


def demand(condition: bool, sentence: str) -> None:
    if not condition:
        raise Violation(sentence)


class Oracle:
    """One history's witness. `honest`: indexes whose votes are held to the rules."""

    def __init__(
        self,
        keys: tuple[bytes, ...],
        honest: set[int],
        verifier: Callable[[bytes, bytes, bytes], bool],
        members: Callable[[int], tuple[int, ...]],
    ) -> None:
        self.members = members
        self.keys = keys
        self.honest = honest
        self.verifier = verifier
        self.notarized: dict[tuple[int, int, int], Vote] = {}
        self.nullified: set[tuple[int, int, int]] = set()
        self.finalized: dict[tuple[int, int, int], Vote] = {}
        self.final: dict[int, bytes] = {}
        self.heads: dict[int, int] = {}
        self.accused: set[int] = set()
        self.votes_seen = 0

    def vote_left(self, node: int, vote: Vote, durable: Iterable[Record], head_view: int, head_digest: bytes) -> None:
        """S1 to S5 of one vote, when it first leaves."""
        if node not in self.honest:
            return
        subject = vote.subject
        slot = (node, subject.epoch, subject.view)
        before = self.notarized.get(slot), self.finalized.get(slot), slot in self.nullified
        if subject.kind == NOTARIZE and before[0] is not None:
            demand(before[0].subject == subject, f"S1: two notarizes of {slot}")
            return
        if subject.kind == FINALIZE and before[1] is not None:
            demand(before[1].subject == subject, f"two finalizes of {slot}")
            return
        if subject.kind == NULLIFY and before[2]:
            return
        self.votes_seen += 1
        records = list(durable)
        own = [r.vote if isinstance(r, Proposal) else r for r in records if isinstance(r, Vote | Proposal)]
        demand(vote in own, f"S5: {slot} kind {subject.kind} left before it was durable")
        if subject.kind == NOTARIZE:
            demand(not before[2], f"S1: notarize after nullify of {slot}")
            self._parent(vote, records, head_view, head_digest)
            self.notarized[slot] = vote
        elif subject.kind == NULLIFY:
            demand(before[1] is None, f"S2: nullify after finalize of {slot}")
            self.nullified.add(slot)
        else:
            demand(not before[2], f"S2: finalize after nullify of {slot}")
            held = [r for r in records if isinstance(r, Certificate) and r.subject.kind == NOTARIZE]
            demand(
                any((c.subject.epoch, c.subject.view, c.subject.block) == (*slot[1:], subject.block) for c in held),
                f"S3: finalize of {slot} without its notarization",
            )
            self.finalized[slot] = vote

    def _parent(self, vote: Vote, records: list[Record], head_view: int, head_digest: bytes) -> None:
        subject = vote.subject
        bodies = [r.block for r in records if isinstance(r, Proposal | Body)]
        body = next((b for b in bodies if block_digest(b.header) == subject.block), None)
        demand(body is not None, f"S5: notarize of view {subject.view} without its body stored")
        assert body is not None
        certificates = [r for r in records if isinstance(r, Certificate) and r.subject.epoch == subject.epoch]
        parents = {
            (c.subject.view, c.subject.block) for c in certificates if c.subject.kind in (NOTARIZE, FINALIZE)
        } | {(head_view, head_digest)}
        again = body.header.next_authorities is not None and (subject.parent_view, subject.block) in parents
        demand(
            again or (subject.parent_view, body.header.parent) in parents,
            f"S4: parent of view {subject.view} not certified",
        )
        below = next((b for b in bodies if block_digest(b.header) == body.header.parent), None)
        extends_last = below is not None and below.header.epoch == body.header.epoch and below.header.next_authorities
        demand(not extends_last, f"view {subject.view} extends the epoch's last block")
        nullified = {c.subject.view for c in certificates if c.subject.kind == NULLIFY}
        gap = set(range(subject.parent_view + 1, subject.view)) - nullified
        demand(not gap, f"S4: notarize of view {subject.view} across {sorted(gap)} without nullification")

    def became_final(self, node: int, blocks: Iterable[Block], certificate: Certificate) -> None:
        """Agreement, and that nothing becomes final without a quorum's valid signatures."""
        if node not in self.honest:
            return
        subject = certificate.subject
        message = vote_message(subject)
        voters = [self.keys[member] for member in self.members(subject.epoch)]
        signers = {i for i, signature in certificate.signatures if self.verifier(voters[i], message, signature)}
        needed = len(voters) - (len(voters) - 1) // 3
        demand(subject.kind == FINALIZE and len(signers) >= needed, "final without a quorum")
        digest = b""
        for block in blocks:
            demand(len(set(block.transactions)) == len(block.transactions), "an invalid block is final")
            digest, height = block_digest(block.header), block.header.height
            demand(block.header.epoch == subject.epoch, "a certificate of another epoch than its blocks")
            demand(height == self.heads.get(node, 0) + 1, f"node {node} makes height {height} final out of order")
            demand(self.final.setdefault(height, digest) == digest, f"FORK at height {height}")
            self.heads[node] = height
        demand(digest == subject.block, "a certificate for another block than the last")

    def restarted(self, node: int, height: int) -> None:
        self.heads[node] = height
