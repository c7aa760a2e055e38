"""The nuller: nullifies each view as early as it can, and never finalizes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from node.simulation.traitors.base import Lies, Traitor, nullify, vote_of
from protocol.types.base import ZERO_DIGEST
from protocol.types.votes import FINALIZE, NOTARIZE, NULLIFY, Certificate, ConsensusMessage, VoteSubject


class Nuller(Traitor):
    """Would stop the chain if it could: as leader it nullifies instead of proposing, as voter instead of voting."""

    kind = "nuller"

    def outgoing(self, message: ConsensusMessage, to: Sequence[int]) -> Lies:
        """Nullify instead of any own vote or proposal; keeps finalizations to itself."""
        vote = vote_of(message)
        if vote is not None and vote.index == self.host.index and vote.subject.kind in (NOTARIZE, FINALIZE):
            instead = self.host.sign(nullify(vote.subject))
            self.lie()
            return [] if instead is None else [(address, instead) for address in to]
        if isinstance(message, Certificate) and message.subject.kind != NULLIFY:
            self.lie()
            return []
        return super().outgoing(message, to)

    def tick(self, now_ms: int) -> None:
        """Nullify the view that the machine is in, and the next, before anybody has timed out."""
        index = self.host.index
        if index is None or self.rng.random() < 0.5:
            return
        here = VoteSubject(NULLIFY, self.host.chain, self.host.epoch, self.host.view, 0, ZERO_DIGEST)
        self.lie()
        for view in (here.view, here.view + 1):
            self.tell(self.host.peers(), self.host.sign(msgspec.structs.replace(here, view=view)))
