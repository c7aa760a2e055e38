"""What traitors share that propose something else than their machine built: the lie is kept up afterwards.

The machine beneath goes on believing in its own block. So what it sends again, or answers about that view, is replaced
as well; otherwise each such lie would at once be an equivocation, and only that would be tested.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from random import Random

from node.simulation.traitors.base import Conspiracy, HostFacade, Lies, Traitor
from protocol.crypto.hashing import block_digest
from protocol.types.votes import NOTARIZE, Body, ConsensusMessage, Fetch, Proposal, Vote

KEPT = 16  # false proposals remembered


class FalseProposer(Traitor, ABC):
    """`falsify` says what is proposed instead of a block."""

    chance = 0.7

    def __init__(self, host: HostFacade, rng: Random, allies: Conspiracy) -> None:
        super().__init__(host, rng, allies)
        self.told: dict[tuple[int, int], Proposal] = {}

    @abstractmethod
    def falsify(self, honest: Proposal) -> Proposal | None:
        """What to propose instead; None to tell the truth."""

    def outgoing(self, message: ConsensusMessage, to: Sequence[int]) -> Lies:
        """Replace an own proposal, and the vote for it wherever it is sent again."""
        if isinstance(message, Proposal) and message.vote.index == self.host.index:
            place = (message.vote.subject.epoch, message.vote.subject.view)
            if place not in self.told and self.rng.random() < self.chance:
                false = self.falsify(message)
                if false is not None:
                    self.lie()
                    self.told[place] = false
                    while len(self.told) > KEPT:
                        del self.told[next(iter(self.told))]
            return [(address, self.told.get(place, message)) for address in to]
        if isinstance(message, Vote) and message.subject.kind == NOTARIZE and message.index == self.host.index:
            false = self.told.get((message.subject.epoch, message.subject.view))
            return [(address, message if false is None else false.vote) for address in to]
        return super().outgoing(message, to)

    def incoming(self, sender: int, message: ConsensusMessage) -> bool:
        """Whoever asks for the false block gets it."""
        if isinstance(message, Fetch) and message.blocks:
            for false in self.told.values():
                if block_digest(false.block.header) in message.blocks:
                    self.host.send(sender, Body(false.block))
        return False
