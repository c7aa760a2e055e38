"""Signed votes, however they come: verified once, counted, and held against each other for evidence.

A vote may come by itself, with a proposal or inside a certificate, which somebody may have put together from votes that
never reached this node: all end up in the tally of their view. Promised: if two signed votes of one authority that
contradict each other reach this machine within one life of it and one epoch, each while its view is admitted (at most
one above this node's view and `EVIDENCE_VIEWS` below it, final or not), then `Equivocation` comes out, once for each
index and view, with both votes verified. For the first valid vote of each kind and index has its place in the tally: a
forged one cannot keep it out, since what was noted unverified gives way to a different signature that verifies.
"""

from __future__ import annotations

from protocol.consensus import quorum
from protocol.consensus.core import Core
from protocol.consensus.effects import Equivocation
from protocol.consensus.votes import Tally
from protocol.types.votes import NOTARIZE, Certificate, Vote, VoteSubject


class Witness(Core):
    """The machine's part that looks at signatures of others."""

    def _see(self, vote: Vote) -> bool:
        """Count a well-formed vote, or keep it as a possible half of evidence; False if its signature is forged or if
        it is not admitted."""
        subject = vote.subject
        tally = self._tally(subject.view)
        if tally is None:
            return False
        if self._needless(vote, tally) or self._forgotten(vote):
            return True
        if self._settled(subject) and tally.noted(vote) is None and not tally.rivals(vote):
            tally.note(vote)
            return True
        if not self._verify(vote):
            return False
        self._changes += 1
        if vote.index == self.me:
            self._halt("another instance signs with this authority's vote key")
            return False
        self._accuse(vote, tally)
        tally.add(vote)
        self._certify(subject)
        return True

    def _needless(self, vote: Vote, tally: Tally) -> bool:
        """Whether the vote is known, or nothing could come of it: an accused authority could otherwise make this node
        verify its further contradictions without end."""
        if tally.counts(vote) or tally.noted(vote) == vote:
            return True
        return vote.index in tally.accused and tally.get(vote.subject.kind, vote.index) is not None

    def _forgotten(self, vote: Vote) -> bool:
        """Whether it may be a vote of this authority's own from before a restart: what is final needs no memory."""
        return vote.index == self.me and vote.subject.view <= self.remembers

    def _settled(self, subject: VoteSubject) -> bool:
        """Whether no certificate needs a vote for this subject any more."""
        certificate = self.chain.held(subject.kind, subject.view)
        known = certificate is not None and certificate.subject == subject
        return known or subject.view <= self.chain.final_view

    def _accuse(self, vote: Vote, tally: Tally) -> None:
        """Report a verified vote that contradicts another of the same authority, once a view and authority."""
        view = vote.subject.view
        for rival, verified in tally.rivals(vote):
            if not verified and not self._verify(rival):
                tally.forget(rival)
                continue
            if vote.subject.kind == NOTARIZE and vote.index == self.leader(view) and view > self.chain.final_view:
                self.round(view).bar()
            if vote.index not in tally.accused:
                tally.accused.add(vote.index)
                self._emit(Equivocation(vote.index, rival, vote))

    def _see_certified(self, certificate: Certificate) -> None:
        """Count what a certificate that was checked shows, before it is held: its view is admitted, however far ahead.
        Nobody else signs with this authority's vote key, or this node is to sign no more."""
        subject = certificate.subject
        tally = self._tally(subject.view, ahead=True)
        if tally is None:
            return
        for vote in tally.unseen(certificate):
            if self._forgotten(vote):
                continue
            if vote.index == self.me:
                self._halt("another instance signs with this authority's vote key")
                return
            self._accuse(vote, tally)
            tally.add(vote)

    def _see_uncertified(self, certificate: Certificate) -> None:
        """Look at the votes in a certificate that is not needed, unchecked: up to the first that is forged."""
        subject = certificate.subject
        if quorum.subject_fault(subject, self.config.chain, self.config.epoch) is not None:
            return
        tally = self._tally(subject.view)
        unseen = [] if tally is None else tally.unseen(certificate)  # of an honest node's copy: nothing, as a rule
        if len(unseen) > self.n or any(vote.index >= self.n for vote in unseen):
            return
        for vote in unseen:
            if not self._see(vote):
                return
