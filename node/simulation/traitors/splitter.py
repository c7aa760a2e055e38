"""The selective sender: gives one camp the votes that notarize a view and the other those that nullify it.

So that some enter the next view with a block and others without, some can finalize and others cannot, again and again.
"""

from __future__ import annotations

from collections.abc import Sequence

from node.simulation.traitors.base import Lies, Traitor, finalize, notarize, nullify, vote_of
from protocol.types.votes import FINALIZE, NOTARIZE, NULLIFY, Certificate, ConsensusMessage

SHUFFLE = 0.05


class Splitter(Traitor):
    """Camp 0 is told of notarizes, camp 1 of nullifies; finalizes go to one host alone."""

    kind = "splitter"

    def outgoing(self, message: ConsensusMessage, to: Sequence[int]) -> Lies:
        """To each camp its own story, backed by all allies' votes."""
        if self.rng.random() < SHUFFLE:
            self.allies.reshuffle()
        vote = vote_of(message)
        if isinstance(message, Certificate):
            wanted = 1 if message.subject.kind == NULLIFY else 0
            self.lie()
            return [(address, message) for address in to if self.allies.camp(address) == wanted]
        if vote is None or vote.index != self.host.index:
            return super().outgoing(message, to)
        self.lie()
        subject = vote.subject
        lies: list[tuple[int, ConsensusMessage]] = []
        if subject.kind == FINALIZE:
            return [(self.rng.choice(list(to)), message)] if to else []
        for address in to:
            if self.allies.camp(address) == 1:
                lies += [(address, other) for other in self.allies.votes(nullify(subject))]
            elif subject.kind == NOTARIZE:
                lies.append((address, message))
                lies += [(address, other) for other in self.allies.votes(notarize(subject, subject.block))]
                if self.rng.random() < 0.3:
                    lies += [(address, other) for other in self.allies.votes(finalize(subject))]
        return lies
