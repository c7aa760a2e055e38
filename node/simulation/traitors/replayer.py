"""The replayer: what was said in old views and epochs, said again, as it was or with the place changed."""

from __future__ import annotations

from collections import deque
from random import Random

import msgspec

from node.simulation.traitors.base import SEEN_MAX, Conspiracy, HostFacade, Traitor, vote_of
from protocol.types.votes import Certificate, ConsensusMessage, Fetch, Proposal, Vote


class Replayer(Traitor):
    """Remembers messages, its own allies' among them, of all epochs."""

    kind = "replayer"

    def __init__(self, host: HostFacade, rng: Random, allies: Conspiracy) -> None:
        super().__init__(host, rng, allies)
        self.seen: deque[ConsensusMessage] = deque(maxlen=SEEN_MAX)

    def incoming(self, sender: int, message: ConsensusMessage) -> bool:
        """Remember it, one in three, so that old ones stay longer."""
        if not isinstance(message, Fetch) and self.rng.random() < 0.3:
            self.seen.append(message)
        return False

    def tick(self, now_ms: int) -> None:
        """A few old messages to everybody."""
        for _ in range(min(3, len(self.seen))):
            if self.rng.random() < 0.5:
                old = self.seen[self.rng.randrange(len(self.seen))]
                self.lie()
                self.tell(self.host.peers(), old if self.rng.random() < 0.6 else self._moved(old))

    def _moved(self, message: ConsensusMessage) -> ConsensusMessage | None:
        """The same said of today: with the signature of then, or, of its own, signed again."""
        said = message if isinstance(message, Certificate) else vote_of(message)
        if said is None:
            return message
        moved = msgspec.structs.replace(said.subject, epoch=self.host.epoch, view=self.host.view)
        if moved.parent_view >= moved.view:
            moved = msgspec.structs.replace(moved, parent_view=moved.view - 1)
        if isinstance(said, Certificate):
            return Certificate(moved, said.signatures)
        vote = self.host.sign(moved) if self.rng.random() < 0.5 else Vote(moved, said.index, said.signature)
        return Proposal(message.block, vote) if vote is not None and isinstance(message, Proposal) else vote
