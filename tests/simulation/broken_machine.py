"""Broken machines: the safety rules S1 to S5, the numbered rules of docs/spec/consensus.md, quorums and signatures."""

from __future__ import annotations

from collections.abc import Iterable

from node.sansio.terms import VotingKeyCore
from protocol.consensus import intake, quorum
from protocol.consensus.chain import Chain, FinalHead, Footing
from protocol.consensus.core import Core
from protocol.consensus.effects import Equivocation, Persist, Record
from protocol.consensus.journal import Restored
from protocol.consensus.machine import Machine
from protocol.consensus.repair import Repair
from protocol.consensus.round import _NEXT, Round, Status
from protocol.consensus.timeouts import Timeouts
from protocol.crypto.signing import vote_message
from protocol.types.block import Header
from protocol.types.votes import NOTARIZE, NULLIFY, Certificate, ConsensusMessage, Proposal, Vote, VoteSubject
from tests.simulation.mutant import Patch, mutant

# --- S1 to S5 ----------------------------------------------------------------------------------------------------


@mutant("S1: no notarize after nullify")
def votes_after_nullify(patch: Patch) -> None:
    patch.setitem(_NEXT, Status.NULLIFIED, {Status.NOTARIZED, Status.FINALIZED})


@mutant("S1: one notarize a view")
def notarizes_twice(patch: Patch) -> None:
    see = Machine._see

    def eager(self: Machine, vote: Vote) -> bool:
        seen = see(self, vote)
        subject, held = vote.subject, self.rounds.get(vote.subject.view)
        own = None if held is None else held.own.get(NOTARIZE)
        if subject.kind == NOTARIZE and own is not None and own.subject != subject and self.halted is None:
            another = self._signer(subject)
            self._record(another)
            self._send(another)
        return seen

    patch.setattr(Machine, "_see", eager)


@mutant("S2: no nullify after finalize")
def nullifies_after_finalize(patch: Patch) -> None:
    patch.setitem(_NEXT, Status.NOTARIZED, {Status.NULLIFIED, Status.FINALIZED})
    signed, turn = Round.signed, Machine._turn

    def forgetful(self: Round, vote: Vote) -> None:
        signed(self, vote)
        if self.status is Status.FINALIZED:
            self.status = Status.NOTARIZED

    def every_view(self: Machine) -> None:
        turn(self)
        for view in list(self.rounds):
            held = self.rounds.get(view)
            if held is not None and len(held.own) == 2 and NULLIFY not in held.own and held.may(NULLIFY):
                self._vote(quorum.nullify(self.config.chain, self.config.epoch, view))

    patch.setattr(Round, "signed", forgetful)
    patch.setattr(Machine, "_turn", every_view)


@mutant("S3: finalize only what is notarized")
def finalizes_what_it_notarizes(patch: Patch) -> None:
    def hasty(self: Machine, proposal: Proposal) -> None:
        subject = proposal.vote.subject
        self._send(self._sign(subject, proposal))
        self._vote(quorum.finalize(subject.chain, subject.epoch, subject.view, subject.block))

    patch.setattr(Machine, "_notarize", hasty)


@mutant("S4: a parent that is notarized or final", "misled")
def ignores_parents(patch: Patch) -> None:
    patch.setattr(Chain, "footing", lambda self, header, subject: Footing.EXTENDS)


@mutant("S4: nullifications for the whole gap")
def ignores_gaps(patch: Patch) -> None:
    patch.setattr(Chain, "lacking", lambda self, parent_view, view: None)


@mutant("S5: durable before sent")
def syncs_nothing(patch: Patch) -> None:
    patch.setattr(Core, "_record", lambda self, record, sync=True: self._records.append(Persist(record, False)))


# --- rules 1 to 11 -----------------------------------------------------------------------------------------------


@mutant("rule 3: the body's transactions are the header's")
def believes_bodies(patch: Patch) -> None:
    patch.setattr(intake, "transactions_match", lambda block: True)


@mutant("rule 4: a certificate is passed on, to all or to whom it helps")
def passes_no_certificate_on(patch: Patch) -> None:
    send = Core._send

    def keeps_it(self: Core, message: object, to: int | None = None) -> None:
        if not isinstance(message, Certificate):
            send(self, message, to)  # type: ignore[arg-type]

    patch.setattr(Core, "_send", keeps_it)


@mutant("rule 7: replay restores own votes")
def forgets_its_journal(patch: Patch) -> None:
    patch.setattr(Restored, "_replay", lambda self, record: None)


@mutant("rule 7: replay restores nullify")
def forgets_its_nullify(patch: Patch) -> None:
    replay = Restored._vote

    def forgetful(self: Restored, held: Round, vote: Vote) -> None:
        if vote.subject.kind != NULLIFY:
            replay(self, held, vote)

    patch.setattr(Restored, "_vote", forgetful)


@mutant("rule 8: what was lost is sent again")
def sends_nothing_again(patch: Patch) -> None:
    patch.setattr(Machine, "_resend", lambda self, to: None)


@mutant("rule 8: what lacks is asked for")
def asks_for_nothing(patch: Patch) -> None:
    patch.setattr(Repair, "want", lambda self, fetch, waits, now_ms: None)


@mutant("rule 8: contradicting votes are reported")
def ignores_evidence(patch: Patch) -> None:
    patch.setattr(Core, "_emit", lambda self, effect: isinstance(effect, Equivocation) or self._effects.append(effect))


@mutant("rule 8: who asks is answered")
def answers_nobody(patch: Patch) -> None:
    patch.setattr(intake, "answers", lambda fetch, chain: [])


@mutant("rule 9: the last block becomes final, too")
def leaves_the_last_block_unfinal(patch: Patch) -> None:
    patch.setattr(Chain, "unfinal", lambda self: False)
    patch.setattr(Machine, "_work", lambda self, held: self._pooled)


@mutant("rule 9: no chatter without work")
def is_never_quiet(patch: Patch) -> None:
    patch.setattr(Machine, "_work", lambda self, held: True)


@mutant("rule 10: waits are capped")
def doubles_its_timers_without_end(patch: Patch) -> None:
    begin = Timeouts.__init__

    def endless(self: Timeouts, delta_ms: int, cap_ms: int, unfinal_views: int) -> None:
        begin(self, delta_ms << min(unfinal_views, 30), delta_ms << 40, 0)

    patch.setattr(Timeouts, "__init__", endless)


@mutant("memory: what is final is forgotten")
def keeps_rounds_that_are_final(patch: Patch) -> None:
    hold = Core._hold

    def hoarding(self: Core, certificate: Certificate) -> None:
        before = dict(self.rounds)
        hold(self, certificate)
        self.rounds = {**before, **self.rounds}

    patch.setattr(Core, "_hold", hoarding)


@mutant("memory: certificates below the head are forgotten")
def keeps_certificates_that_are_settled(patch: Patch) -> None:
    advance = Chain.advance

    def hoarding(self: Chain, head: FinalHead) -> None:
        before = dict(self.notarizations), dict(self.nullifications)
        advance(self, head)
        self.notarizations = {**before[0], **self.notarizations}
        self.nullifications = {**before[1], **self.nullifications}

    patch.setattr(Chain, "advance", hoarding)


@mutant("memory: bodies below the head are forgotten")
def keeps_bodies_that_are_settled(patch: Patch) -> None:
    advance = Chain.advance

    def hoarding(self: Chain, head: FinalHead) -> None:
        before = dict(self.blocks)
        advance(self, head)
        self.blocks = {**before, **self.blocks}

    patch.setattr(Chain, "advance", hoarding)
    patch.setattr(Chain, "_shed", lambda self, view: None)


@mutant("memory: votes below the views of evidence are forgotten")
def keeps_votes_for_ever(patch: Patch) -> None:
    patch.setattr(Core, "_thin", lambda self, view: None)


# --- quorums, signatures, epochs ---------------------------------------------------------------------------------


@mutant("a quorum is n - f")
def counts_one_too_few(patch: Patch) -> None:
    patch.setattr(quorum, "quorum", lambda n: max(1, n - (n - 1) // 3 - 1))


@mutant("a vote is signed")
def checks_no_signature(patch: Patch) -> None:
    patch.setattr(Core, "_verify", lambda self, vote: True)


@mutant("a vote is signed by the authority that it names")
def takes_any_authoritys_signature(patch: Patch) -> None:
    def lax(self: Core, vote: Vote) -> bool:
        message = vote_message(vote.subject)
        return any(self._verifier(key, message, vote.signature) for key in self.config.vote_keys)

    patch.setattr(Core, "_verify", lax)


@mutant("a certificate's signers are distinct")
def counts_signers_twice(patch: Patch) -> None:
    patch.setattr(quorum, "pairwise", lambda indexes: [])


@mutant("a certificate's signatures verify")
def believes_certificates(patch: Patch) -> None:
    check = quorum.check_certificate

    def credulous(certificate, chain, epoch, vote_keys, verifier, **known):  # type: ignore[no-untyped-def]
        check(certificate, chain, epoch, vote_keys, lambda *_: True)

    patch.setattr(quorum, "check_certificate", credulous)


@mutant("a message of another epoch does not count")
def accepts_any_epoch(patch: Patch) -> None:
    fault, receive = quorum.subject_fault, Machine._receive

    def credulous(self: Machine, sender: int | None, message: ConsensusMessage) -> None:
        if isinstance(message, Certificate) and self.ended is None and self.me is not None:
            self._on_certificate(message, sender)
        elif isinstance(message, Vote) and self.ended is None and self.me is not None:
            self._on_vote(message, sender)
        else:
            receive(self, sender, message)

    patch.setattr(quorum, "subject_fault", lambda subject, chain, epoch: fault(subject, chain, subject.epoch))
    patch.setattr(Machine, "_receive", credulous)


@mutant("rule 7: replay takes this epoch's records alone")
def replays_every_epoch(patch: Patch) -> None:
    def mixed_up(
        self: Restored, records: Iterable[Record], chain: Chain, me: int | None, chain_id: bytes, epoch: int
    ) -> None:
        begin(self, (), chain, me, chain_id, epoch)
        for record in records:
            self._replay(record)
        self.rounds = {view: held for view, held in self.rounds.items() if view > chain.final_view}

    begin = Restored.__init__
    patch.setattr(Restored, "__init__", mixed_up)
    # Nothing of an epoch that is over is in a journal either, and nothing but this epoch's is handed in: three guards.
    patch.setattr(VotingKeyCore, "begin", lambda self, epoch: None)
    patch.setattr(VotingKeyCore, "records_of", lambda self, epoch: list(self._records))


@mutant("rule 11: nothing extends the epoch's last block")
def extends_the_epochs_last_block(patch: Patch) -> None:
    patch.setattr(Chain, "closes", lambda self, digest: False)


@mutant("rule 11: the epoch's last block is proposed again")
def never_proposes_again(patch: Patch) -> None:
    footing = Chain.footing

    def once(self: Chain, header: Header, subject: VoteSubject) -> Footing:
        found = footing(self, header, subject)
        return Footing.NONE if found is Footing.AGAIN else found

    patch.setattr(Chain, "footing", once)
