"""The withholder: sends each thing to some only, or never: votes, blocks or certificates, as drawn. Who catches up gets
no blocks of it either."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from node.simulation.traitors.base import Conspiracy, HostFacade, Lies, Traitor
from protocol.sync.messages import FinalRange
from protocol.types.votes import Body, Certificate, ConsensusMessage, Proposal, Vote

WHAT = ("votes", "blocks", "certificates", "everything")


class Withholder(Traitor):
    """`what` it withholds, and from what share of the others, is drawn once."""

    kind = "withholder"

    def __init__(self, host: HostFacade, rng: Random, allies: Conspiracy) -> None:
        super().__init__(host, rng, allies)
        self.what = rng.choice(WHAT)
        self.share = rng.choice((0.3, 0.6, 1.0))

    def outgoing(self, message: ConsensusMessage, to: Sequence[int]) -> Lies:
        """Drop it for some; where it is the block that is withheld, the leader's vote for it still goes out."""
        lies: list[tuple[int, ConsensusMessage]] = []
        for address in to:
            if not self._withheld(message) or self.rng.random() >= self.share:
                lies.append((address, message))
                continue
            self.lie()
            if self.what == "blocks" and isinstance(message, Proposal):
                lies.append((address, message.vote))
        return lies

    def answering(self, answer: FinalRange) -> FinalRange:
        """Who withholds blocks has none for whoever catches up, and says that it has more than anybody."""
        if self.what not in ("blocks", "everything") or self.rng.random() >= self.share:
            return answer
        self.lie()
        return FinalRange(answer.height + self.rng.randrange(1_000), (), None)

    def _withheld(self, message: ConsensusMessage) -> bool:
        kinds: dict[str, tuple[type, ...]] = {
            "votes": (Vote,),
            "blocks": (Proposal, Body),
            "certificates": (Certificate,),
            "everything": (Vote, Proposal, Body, Certificate),
        }
        return isinstance(message, kinds[self.what])
