"""The forger: bad signatures in others' names, certificates with repeated, foreign, too few or unwilling signers."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from node.simulation.traitors.base import (
    Lies,
    Traitor,
    certificate_of,
    finalize,
    nullify,
    quorum_of,
    vote_of,
    with_header,
)
from protocol.codec.canonical import decode, encode
from protocol.crypto.hashing import block_digest
from protocol.sync.messages import FinalRange, RangeBlock
from protocol.types.base import ZERO_DIGEST
from protocol.types.block import Block
from protocol.types.votes import (
    FINALIZE,
    NULLIFY,
    Body,
    Certificate,
    ConsensusMessage,
    Proposal,
    Vote,
    VoteSubject,
)


class Forger(Traitor):
    """Holds no key but its own and its allies', and claims votes of everybody."""

    kind = "forger"

    def outgoing(self, message: ConsensusMessage, to: Sequence[int]) -> Lies:
        """With what it would send anyhow, a forgery or two; certificates and bodies are spoilt on the way."""
        lies = [(address, message) for address in to]
        if isinstance(message, Certificate) and self.rng.random() < 0.5:
            self.lie()
            return [(address, self._spoilt(message)) for address in to]
        if isinstance(message, Proposal | Body) and self.rng.random() < 0.3:
            self.lie()
            block = msgspec.structs.replace(message.block, transactions=(*message.block.transactions, b"foreign"))
            return [(address, msgspec.structs.replace(message, block=block)) for address in to]
        vote = vote_of(message)
        if vote is not None:
            for address in to:
                if self.rng.random() < 0.4:
                    self.lie()
                    lies.append((address, self._forged(vote)))
        return lies

    def tick(self, now_ms: int) -> None:
        """Certificates out of nothing: a nullification of this view, a finalization of the head's child."""
        host = self.host
        if host.index is None or self.rng.random() < 0.7:
            return
        view = host.view + self.rng.randrange(3)
        subject = VoteSubject(NULLIFY, host.chain, host.epoch, view, 0, ZERO_DIGEST)
        if self.rng.random() < 0.5:
            subject = VoteSubject(FINALIZE, host.chain, host.epoch, view, 0, self.rng.randbytes(32))
        self.lie()
        self.tell(host.peers(), self._certificate(subject))

    def answering(self, answer: FinalRange) -> FinalRange:
        """Its last block at another time, and a finalization of that by signatures that are none."""
        if not answer.blocks or self.rng.random() < 0.5:
            return answer
        self.lie()
        *parts, last = answer.blocks
        true = decode(Block, last.block)
        block = with_header(true, timestamp=true.header.timestamp + 1)
        header = block.header
        subject = VoteSubject(FINALIZE, header.chain, header.epoch, header.height, 0, block_digest(header))
        members = len(self.host.authorities.members)
        signatures = tuple((index, self.rng.randbytes(64)) for index in range(quorum_of(members)))
        parts.append(RangeBlock(encode(block), encode(Certificate(subject, signatures))))
        return FinalRange(answer.height, tuple(parts), None)

    def _forged(self, vote: Vote) -> ConsensusMessage:
        """Another authority's vote: with this one's signature, a random one, or as a whole certificate."""
        members = len(self.host.authorities.members)
        other = self.rng.randrange(members + 1)  # one of them names no authority
        shape = self.rng.randrange(5)
        if shape == 0:
            return Vote(vote.subject, other, vote.signature)
        if shape == 1:
            return Vote(vote.subject, other, self.rng.randbytes(64))
        if shape == 2:
            return Vote(nullify(vote.subject), other, vote.signature)
        if shape == 3:
            return Vote(finalize(vote.subject), vote.index, vote.signature)
        return self._certificate(vote.subject)

    def _certificate(self, subject: VoteSubject) -> Certificate:
        """As many signatures as a quorum has: allies' valid ones, then repeated, foreign or random ones."""
        members = len(self.host.authorities.members)
        needed = quorum_of(members)
        own = [(vote.index, vote.signature) for vote in self.allies.votes(subject)] or [(0, bytes(64))]
        shape = self.rng.randrange(4)
        if shape == 0:  # too few
            return Certificate(subject, tuple(sorted(dict(own).items())))
        if shape == 1:  # one signer again and again
            return Certificate(subject, (own[0],) * needed)
        if shape == 2:  # signers that are no authorities
            return Certificate(subject, (own[0], *((members + i, own[0][1]) for i in range(needed - 1))))
        signatures = {index: self.rng.randbytes(64) for index in range(members)} | dict(own)
        return Certificate(subject, tuple(sorted(signatures.items())[:needed]))

    def _spoilt(self, certificate: Certificate) -> Certificate:
        """A true certificate of which one thing is wrong."""
        signatures = list(certificate.signatures)
        shape = self.rng.randrange(4)
        if shape == 0:
            signatures[self.rng.randrange(len(signatures))] = (signatures[0][0], self.rng.randbytes(64))
        elif shape == 1:
            signatures = signatures[::-1]
        elif shape == 2:
            signatures = signatures[:-1] or [(0, bytes(64))]
        else:
            return msgspec.structs.replace(
                certificate, subject=msgspec.structs.replace(certificate.subject, view=certificate.subject.view + 1)
            )
        return (
            certificate_of(certificate.subject, [])
            if not signatures
            else Certificate(certificate.subject, tuple(signatures))
        )
