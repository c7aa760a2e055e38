"""The double voter: nullifies and finalizes whatever it notarizes, and votes for every fork of its allies."""

from __future__ import annotations

from collections.abc import Sequence

from node.simulation.traitors.base import Lies, Traitor, finalize, notarize, nullify, vote_of
from protocol.types.votes import NOTARIZE, ConsensusMessage, Proposal


class DoubleVoter(Traitor):
    """Breaks S1, S2 and S3 with each vote, towards all or only some."""

    kind = "double_voter"

    def outgoing(self, message: ConsensusMessage, to: Sequence[int]) -> Lies:
        """Besides each own notarize: nullify and finalize of that view."""
        lies = [(address, message) for address in to]
        vote = vote_of(message)
        if vote is None or vote.index != self.host.index or vote.subject.kind != NOTARIZE:
            return lies
        more = [self.host.sign(nullify(vote.subject)), self.host.sign(finalize(vote.subject))]
        for address in to:
            for extra in more:
                if extra is not None and self.rng.random() < 0.7:
                    self.lie()
                    lies.append((address, extra))
        return lies

    def incoming(self, sender: int, message: ConsensusMessage) -> bool:
        """Votes at once for whatever anybody proposes, valid or not, and to finalize it; for an ally's both forks."""
        if not isinstance(message, Proposal) or message.vote.subject.epoch != self.host.epoch:
            return False
        subject = message.vote.subject
        forks = self.allies.forks.get((subject.epoch, subject.view), [])
        for fork in {subject.block} | {fork.vote.subject.block for fork in forks}:
            if self.rng.random() < 0.5:
                self.lie()
                camp = [peer for peer in self.host.peers() if self.rng.random() < 0.6]
                self.tell(camp, self.host.sign(notarize(subject, fork)))
                self.tell(camp, self.host.sign(finalize(subject, fork)))
        return False
