"""Messages from others: what is admitted, passed on to be counted (`witness`), or answered.

Nothing is believed before its signature verifies, and no signature is verified twice: a certificate's are skipped where
the same votes were, a vote that no certificate needs any more is kept unverified. What is not needed, not due or not
well formed is dropped without a word; the driver throttles whoever sends too much of it.
"""

from __future__ import annotations

from protocol.consensus import quorum
from protocol.consensus.effects import Behind
from protocol.consensus.repair import answers, entrance
from protocol.consensus.votes import scope
from protocol.consensus.witness import Witness
from protocol.crypto.hashing import block_digest, transaction_digest
from protocol.crypto.merkle import merkle_root
from protocol.errors import BadCertificate
from protocol.types.block import Block
from protocol.types.votes import (
    FINALIZE,
    NOTARIZE,
    NULLIFY,
    Body,
    Certificate,
    ConsensusMessage,
    Fetch,
    Proposal,
    Vote,
)


class Intake(Witness):
    """The receiving side of the machine."""

    def _receive(self, sender: int | None, message: ConsensusMessage) -> None:
        if isinstance(message, Fetch):
            epoch = message.epoch
        else:
            named = scope(message)
            epoch = named.epoch
            if named.chain != self.config.chain:
                return
        if epoch != self.config.epoch or self.ended is not None:
            self._elsewhere(sender, message, epoch)
            return
        if self.me is None:  # a follower needs to know what is final, and nothing else
            if isinstance(message, Certificate) and message.subject.kind == FINALIZE:
                self._on_certificate(message, sender)
            return
        if isinstance(message, Vote):
            self._sign_of(sender, message)
            self._on_vote(message, sender)
        elif isinstance(message, Certificate):
            self._on_certificate(message, sender)
        elif isinstance(message, Proposal):
            self._sign_of(sender, message.vote)
            self._on_proposal(message, sender)
        elif isinstance(message, Body):
            self._on_body(message.block)
        elif isinstance(message, Fetch):
            self._on_fetch(message, sender)

    def _sign_of(self, sender: int | None, vote: Vote) -> None:
        if sender is not None and sender == vote.index and sender < self.n:
            self.presence.sign(sender, self.view, self.now_ms)

    # --- votes ---------------------------------------------------------------------------------------------------

    def _on_vote(self, vote: Vote, sender: int | None) -> bool:
        """Returns whether the vote is now, or was before, counted as verified in a view that is not final."""
        subject = vote.subject
        if vote.index >= self.n or quorum.subject_fault(subject, self.config.chain, self.config.epoch) is not None:
            return False
        if subject.view < self.view:
            self._help(vote, sender)
        elif subject.view > self.view + 1:
            self._catch_up(subject.view, sender)
            return False
        if not self._see(vote) or self.halted is not None or subject.view <= self.chain.final_view:
            return False
        return self.round(subject.view).votes.counts(vote)

    # --- other epochs --------------------------------------------------------------------------------------------

    def _elsewhere(self, sender: int | None, message: ConsensusMessage, epoch: int) -> None:
        """Rule 11: who speaks of an epoch that has ended is told what ended it, or the last one; of a later epoch
        nothing can be checked, so its sender is to be asked."""
        if epoch > self.config.epoch:
            if self.ended is None and self.repair.may_warn(sender, self.now_ms, self.config.delta_ms):
                self._emit(Behind(self.chain.final_view, None, sender))
        elif epoch == self.config.epoch:
            self._tell_end(sender, message)
        elif self.former is not None and not self._merely_late(message):
            self._inform(sender, message, self.former)

    def _tell_end(self, sender: int | None, message: ConsensusMessage) -> None:
        """Rule 11: this epoch has ended, and there is nothing else to say in it."""
        if isinstance(message, Certificate) and self.me is not None:
            self._see_uncertified(message)
        elif isinstance(message, Vote | Proposal) and self.me is not None:
            vote = message if isinstance(message, Vote) else message.vote
            if vote.index < self.n and quorum.subject_fault(vote.subject, self.config.chain, self.config.epoch) is None:
                self._see(vote)
        if self.ended is not None and not self._merely_late(message):
            self._inform(sender, message, self.ended.certificate)

    def _inform(self, sender: int | None, message: ConsensusMessage, end: Certificate) -> None:
        if sender is None or sender == self.me:
            return
        knows = isinstance(message, Certificate) and (message.subject.kind, message.subject.block) == (
            FINALIZE,
            end.subject.block,
        )
        if not knows and self.repair.may_help(sender, self.now_ms, self.config.delta_ms):
            self._send(end, sender)

    def _merely_late(self, message: ConsensusMessage) -> bool:
        """Whether the sender may well know by now what this message does not show: it is no sign of lagging that a
        quorum did not wait for it. Who nullifies or asks does lag."""
        asks = isinstance(message, Fetch) or (isinstance(message, Vote) and message.subject.kind == NULLIFY)
        return not asks and self.now_ms - self._entered_ms < self.config.delta_ms // 2

    def _help(self, vote: Vote, sender: int | None) -> None:
        """A vote for a view that this node has left: its sender may lag. Votes that are merely late are let pass: a
        quorum does not wait for all."""
        if sender is None or sender == self.me:
            return
        if not self._merely_late(vote) and self.repair.may_help(sender, self.now_ms, self.config.delta_ms):
            for certificate in entrance(self.chain, self.view, self.former):
                self._send(certificate, sender)

    def _catch_up(self, view: int, sender: int | None) -> None:
        """A vote from beyond what is admitted: its sender may hold certificates that this node lacks."""
        if sender is not None and self.repair.may_help(sender, self.now_ms, self.config.delta_ms):
            self._send(Fetch(self.config.epoch, self.view, view - 1), sender)

    # --- certificates --------------------------------------------------------------------------------------------

    def _on_certificate(self, certificate: Certificate, sender: int | None) -> None:
        subject = certificate.subject
        held = self.chain.held(subject.kind, subject.view)
        if subject.view <= self.chain.final_view or (held is not None and held.subject == subject):
            if self.me is not None:
                self._see_uncertified(certificate)
            return
        tally = self.rounds.get(subject.view)
        known = frozenset(tally.votes.signatures(subject).items()) if tally is not None else frozenset()
        try:
            quorum.check_certificate(
                certificate,
                self.config.chain,
                self.config.epoch,
                self.config.vote_keys,
                self._verifier,
                known=known,
            )
        except BadCertificate:
            return
        self._informant = sender
        if self.me is not None:
            self._see_certified(certificate)
        if self.halted is None:
            self._hold(certificate)

    # --- bodies --------------------------------------------------------------------------------------------------

    def _on_proposal(self, proposal: Proposal, sender: int | None) -> None:
        vote, subject = proposal.vote, proposal.vote.subject
        view = self.view
        verified = self._on_vote(vote, sender)  # counts it, and answers or asks its sender where views differ
        digest = block_digest(proposal.block.header)
        led = subject.kind == NOTARIZE and vote.index == self.leader(subject.view) and digest == subject.block
        if not led or self.halted is not None or not self.chain.final_view < subject.view <= self.view + 1:
            return
        held = self.round(subject.view)
        fresh = digest not in self.chain.blocks and (subject.view >= view or digest in self.chain.certified)
        if (fresh or held.proposal is None) and not transactions_match(proposal.block):
            return
        leads = held.votes.get(NOTARIZE, vote.index)
        leading = verified and leads is not None and leads.subject == subject
        if fresh and (leading or digest in self.chain.certified):
            self.chain.hold(proposal.block, digest, subject.view)
            self._changes += 1
        if leading and held.proposal is None and digest in self.chain.blocks:
            self.chain.hold(proposal.block, digest, subject.view)
            held.proposal = proposal
            self._changes += 1

    def _on_body(self, block: Block) -> None:
        """A body is taken only if it lacks: a certified block's, or that of a proposal of which the vote is here."""
        digest = block_digest(block.header)
        held = self.round(self.view)
        lead = held.votes.get(NOTARIZE, self.leader(self.view))
        proposed = lead is not None and held.proposal is None and lead.subject.block == digest
        if digest in self.chain.blocks and not proposed:
            return
        if not (proposed or digest in self.chain.certified) or not transactions_match(block):
            return
        self.chain.hold(block, digest, self.view)
        if proposed and lead is not None:
            held.proposal = Proposal(block, lead)
        self._changes += 1

    def _on_fetch(self, fetch: Fetch, sender: int | None) -> None:
        if sender is None or sender == self.me:
            return
        if self.repair.may_serve(sender, self.now_ms, self.config.delta_ms):
            for message in answers(fetch, self.chain):
                self._send(message, sender)

    def _report_behind(self) -> None:
        if self.chain.finalization is not None:
            subject = self.chain.finalization.subject
            self._emit(Behind(subject.view, subject.block, self._informant))

    _informant: int | None = None
    """Who sent the last certificate that was news: the first to ask."""


def transactions_match(block: Block) -> bool:
    """Whether the body's transactions are those of its header: a digest names the header only, and whoever relays
    a body could put other transactions behind it."""
    leaves = [transaction_digest(raw) for raw in block.transactions]
    return merkle_root(leaves) == block.header.transactions_root
