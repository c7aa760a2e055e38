"""The slanderer: evidence that does not verify, against honest authorities, and motions that the ledger must refuse."""

from __future__ import annotations

from collections import deque
from random import Random

import msgspec

from node.simulation.traitors.base import Conspiracy, HostFacade, Traitor, finalize, notarize, nullify, vote_of
from protocol.codec.canonical import encode
from protocol.types.governance import Ballot, GiveAuthority, Motion, Remove, ReportEquivocation, TakeAuthority
from protocol.types.operations import Operation
from protocol.types.votes import FINALIZE, NOTARIZE, ConsensusMessage, Vote

UNKNOWN = 60_000  # an institution that no simulated chain has


class Slanderer(Traitor):
    """Takes honest votes that it saw and makes a contradiction of each."""

    kind = "slanderer"

    def __init__(self, host: HostFacade, rng: Random, allies: Conspiracy) -> None:
        super().__init__(host, rng, allies)
        self.votes: deque[Vote] = deque(maxlen=32)

    def incoming(self, sender: int, message: ConsensusMessage) -> bool:
        """Collect votes."""
        vote = vote_of(message)
        if vote is not None and self.rng.random() < 0.2:
            self.votes.append(vote)
        return False

    def tick(self, now_ms: int) -> None:
        """Now and then a transaction of slander."""
        if self.rng.random() < 0.03:
            self.lie()
            self.host.submit([self._slander()])

    def _slander(self) -> Operation:
        if self.votes and self.rng.random() < 0.7:
            return self._evidence(self.rng.choice(list(self.votes)))
        expires_at = self.host.head.timestamp + 600_000
        change = self.rng.choice((TakeAuthority(UNKNOWN), Remove(UNKNOWN), GiveAuthority(self.host.institution)))
        if self.rng.random() < 0.3:
            return Ballot(self.rng.randrange(4), change, True)
        return Motion(change, expires_at)

    def _evidence(self, vote: Vote) -> ReportEquivocation:
        """The vote and another that its author never signed, or the vote twice, or two that may well stand together."""
        shape = self.rng.randrange(4)
        other: Vote = vote
        if shape == 0:  # signed by nobody
            subject = notarize(vote.subject, self.rng.randbytes(32))
            other = Vote(subject, vote.index, self.rng.randbytes(64))
        elif shape == 1:  # signed by the slanderer, in the other's name
            contrary = nullify(vote.subject) if vote.subject.kind == FINALIZE else finalize(vote.subject)
            signed = self.host.sign(contrary)
            other = vote if signed is None else msgspec.structs.replace(signed, index=vote.index)
        elif shape == 2:  # two honest votes that do not contradict each other
            same = [held for held in self.votes if held.index == vote.index and held != vote]
            other = self.rng.choice(same) if same else vote
            if {other.subject.kind, vote.subject.kind} == {NOTARIZE} and other.subject.view == vote.subject.view:
                other = vote
        first, second = sorted((vote, other), key=encode)
        return ReportEquivocation(first, second)
