"""The flooder: more of everything than anybody could want, for views that are not due and blocks that do not exist."""

from __future__ import annotations

from node.simulation.traitors.base import Traitor
from protocol.types.base import ZERO_DIGEST
from protocol.types.votes import (
    FINALIZE,
    NOTARIZE,
    NULLIFY,
    Certificate,
    ConsensusMessage,
    Fetch,
    Vote,
    VoteSubject,
)

BURST = 12  # messages to each peer in a tick


class Flooder(Traitor):
    """Each message is cheap to make and properly signed where that takes nothing but its own key."""

    kind = "flooder"

    def tick(self, now_ms: int) -> None:
        """A burst to one peer or to all."""
        if self.rng.random() < 0.6:
            return
        peers = list(self.host.peers())
        if peers and self.rng.random() < 0.5:
            peers = [self.rng.choice(peers)]
        self.lie()
        for _ in range(BURST):
            self.tell(peers, self._message())

    def _message(self) -> ConsensusMessage | None:
        rng, host = self.rng, self.host
        view = max(1, host.view + rng.choice((-5, -1, 0, 1, 1, 2, 3, 50, 10**6)))
        kind = rng.choice((NOTARIZE, NULLIFY, FINALIZE))
        epoch = max(0, host.epoch + rng.choice((-1, 0, 0, 0, 0, 1, 7)))
        block = ZERO_DIGEST if kind == NULLIFY else rng.randbytes(32)
        subject = VoteSubject(kind, host.chain, epoch, view, view - 1 if kind == NOTARIZE else 0, block)
        shape = rng.randrange(4)
        if shape == 0:
            digests = tuple(sorted(rng.randbytes(32) for _ in range(rng.randrange(16))))
            return Fetch(host.epoch, max(0, view - rng.randrange(1_000)), view, digests)
        if shape == 1:
            signatures = tuple((index, rng.randbytes(64)) for index in range(len(host.authorities.members)))
            return Certificate(subject, signatures)
        if shape == 2:
            return Vote(subject, rng.randrange(len(host.authorities.members)), rng.randbytes(64))
        return host.sign(subject)
