"""The slanderer: evidence that does not verify, against honest authorities; motions that the ledger must refuse; and
what an institution says about patients' charts without being entitled to.
"""

from __future__ import annotations

from collections import deque
from random import Random

import msgspec

from node.simulation.patients.standing import Standing
from node.simulation.traitors.base import Conspiracy, HostFacade, Traitor, finalize, notarize, nullify, vote_of
from protocol.codec.canonical import encode
from protocol.types.governance import Ballot, GiveAuthority, Motion, Remove, ReportEquivocation, TakeAuthority
from protocol.types.operations import (
    CancelRecovery,
    CompleteRecovery,
    ConfirmBreakGlass,
    EndDelegate,
    Erase,
    ErasureReceipt,
    Hold,
    Operation,
    Policy,
    ReleaseHold,
    ReviewBreakGlass,
    Revoke,
    SetPolicy,
)
from protocol.types.votes import FINALIZE, NOTARIZE, ConsensusMessage, Vote

UNKNOWN = 60_000  # an institution that no simulated chain has


class Slanderer(Traitor):
    """Takes honest votes that it saw and makes a contradiction of each."""

    kind = "slanderer"

    def __init__(self, host: HostFacade, rng: Random, allies: Conspiracy) -> None:
        super().__init__(host, rng, allies)
        self.votes: deque[Vote] = deque(maxlen=32)
        self.presumed = 0

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
        elif self.host.standings() and self.rng.random() < 0.05:  # without patients it draws nothing more
            self.lie()
            self.presumed += 1
            self.host.submit([self._presumption(self.rng.choice(self.host.standings()))])

    def _slander(self) -> Operation:
        if self.votes and self.rng.random() < 0.7:
            return self._evidence(self.rng.choice(list(self.votes)))
        expires_at = self.host.head.timestamp + 600_000
        change = self.rng.choice((TakeAuthority(UNKNOWN), Remove(UNKNOWN), GiveAuthority(self.host.institution)))
        if self.rng.random() < 0.3:
            return Ballot(self.rng.randrange(4), change, True)
        return Motion(change, expires_at)

    def _presumption(self, standing: Standing) -> Operation:
        """A receipt that it does not owe, or gave; its own emergency confirmed or reviewed, or one that is not there;
        a change completed before its time; what only owner, guardians or custodian may do, signed by nobody."""
        chart, own, rng = standing.number, self.host.institution, self.rng
        erasures, emergencies = list(standing.erasures), list(standing.emergencies)
        event = rng.choice(erasures or [rng.randrange(standing.chart.events)])
        emergency = rng.choice(emergencies or [rng.randrange(standing.chart.events)])
        asker = standing.emergencies[emergency].institution if emergencies else own
        false: tuple[Operation, ...] = (
            ErasureReceipt(chart, event),
            ConfirmBreakGlass(chart, emergency, rng.choice((own, asker)), standing.asked_for(emergency)),
            ReviewBreakGlass(chart, emergency, rng.choice((own, asker)), True),
            CompleteRecovery(chart, max(0, standing.recovery.changes - 1)),
            CancelRecovery(chart, max(0, standing.recovery.changes - 1)),
            SetPolicy(chart, Policy()),
            Revoke(chart, 0),
            EndDelegate(chart, 0),
            Hold(chart, None, rng.randbytes(32)),
            ReleaseHold(chart, rng.choice(standing.holds or [0])),
            Erase(chart, tuple(standing.whole[:1]) or (1,), ()),
        )
        return rng.choice(false)

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
