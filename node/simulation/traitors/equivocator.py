"""The equivocating leader: two blocks in one view, one for each camp, and its allies vote for both."""

from __future__ import annotations

from collections.abc import Sequence

from node.simulation.traitors.base import Lies, Traitor, finalize, notarize, proposal, twin_of
from protocol.crypto.hashing import block_digest
from protocol.types.votes import Body, ConsensusMessage, Fetch, Proposal


class Equivocator(Traitor):
    """Proposes twice whenever it leads, most often so that no honest host sees both at first."""

    kind = "equivocator"

    def outgoing(self, message: ConsensusMessage, to: Sequence[int]) -> Lies:
        """One block to one camp, its twin to the other; now and then both to all."""
        if not isinstance(message, Proposal) or message.vote.index != self.host.index or len(to) < 2:
            return super().outgoing(message, to)
        twin = proposal(self.host, twin_of(message.block), message.vote.subject)
        if twin is None:
            return super().outgoing(message, to)
        self.lie()
        forks = (message, twin)
        for fork in forks:
            self.allies.add_fork(fork)
        loud = self.rng.random() < 0.2
        lies: list[tuple[int, ConsensusMessage]] = []
        for address in to:
            lies += [(address, fork) for fork in (forks if loud else forks[self.allies.camp(address) :][:1])]
            lies += [(address, vote) for vote in self._backing(address, forks)]
        return lies

    def _backing(self, address: int, forks: tuple[Proposal, Proposal]) -> list[ConsensusMessage]:
        """Allies' notarizes, and now and then finalizes ahead of time, for the fork of this address's camp."""
        fork = forks[self.allies.camp(address)]
        digest = block_digest(fork.block.header)
        votes: list[ConsensusMessage] = list(self.allies.votes(notarize(fork.vote.subject, digest)))
        if self.rng.random() < 0.5:
            votes += self.allies.votes(finalize(fork.vote.subject))
        return votes

    def incoming(self, sender: int, message: ConsensusMessage) -> bool:
        """Both forks can be had for the asking."""
        if isinstance(message, Fetch) and message.blocks:
            for forks in list(self.allies.forks.values()):
                for fork in forks:
                    if block_digest(fork.block.header) in message.blocks:
                        self.host.send(sender, Body(fork.block))
        return False
