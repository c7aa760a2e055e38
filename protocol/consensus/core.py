"""What the machine holds, and the only places where it signs, keeps a certificate and enters a view.

The safety rules S1 to S5 are checked here, at the moment of signing, whatever led there (the argument why they suffice
opens `machine`). Relies on `signer` to sign the subject given and nothing else, and on the driver for syncing what a
step persists before it sends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct

from protocol.consensus import quorum
from protocol.consensus.chain import Chain, FinalHead, Footing, Standing
from protocol.consensus.effects import Build, Effect, EpochEnded, Halted, Persist, Record, Send
from protocol.consensus.journal import Restored, snapshot
from protocol.consensus.presence import Presence
from protocol.consensus.repair import Repair
from protocol.consensus.round import Round
from protocol.consensus.timeouts import Timeouts
from protocol.consensus.votes import EVIDENCE_VIEWS, Tally
from protocol.crypto.signing import Verifier, vote_message
from protocol.types.block import Block
from protocol.types.votes import FINALIZE, NOTARIZE, Certificate, ConsensusMessage, Proposal, Vote, VoteSubject

Signer = Callable[[VoteSubject], Vote]


class Config(Struct, frozen=True):
    """What does not change while an epoch lasts.

    `vote_keys` and `institutions` (numbers, as headers name the proposer) are by index. `index` None: a follower, which
    never votes. Times in milliseconds. `depth`: unfinalized blocks in a row beyond which none carries transactions.
    """

    chain: bytes
    epoch: int
    vote_keys: tuple[bytes, ...]
    institutions: tuple[int, ...]
    index: int | None
    delta_ms: int
    timeout_cap_ms: int
    block_bytes: int
    depth: int


class Core:
    """State and the guarded ways to change it."""

    def __init__(
        self,
        config: Config,
        journal: Iterable[Record],
        final: FinalHead,
        verifier: Verifier,
        signer: Signer,
        former: Certificate | None = None,
    ) -> None:
        """`final`: the head of this epoch, or (the block that ended the one before, None), which `former` finalizes.
        Records of other epochs in the `journal` are passed over. Raises ValueError if these do not belong together,
        `JournalBroken` if the journal contradicts itself or is another chain's."""
        if len(config.institutions) != len(config.vote_keys):
            raise ValueError("each vote key belongs to one institution")
        _check_epoch(config.epoch, final, former)
        self.config = config
        self.former = former
        self.me = config.index
        self.n = len(config.vote_keys)
        self.quorum = quorum.quorum(self.n)
        self.chain = Chain(final, bodies_max=4 * config.depth)
        restored = Restored(journal, self.chain, self.me, config.chain, config.epoch)
        self.remembers = self.chain.final_view
        """Above this view all own votes are known, at or below it those of an earlier life may be forgotten."""
        self.rounds = restored.rounds
        self.view = restored.view
        self.past: dict[int, Tally] = {}
        """Votes of the last views that are final, which may be half of evidence."""
        self.presence = Presence(self.n)
        self.repair = Repair(self.n, self.me)
        self.halted: str | None = None
        self.ended: EpochEnded | None = None
        """Set once the block that ends the epoch is final: nothing is signed any more."""
        self.now_ms = 0
        self._verifier = verifier
        self._signer = signer
        self._records: list[Effect] = []
        self._effects: list[Effect] = []
        self._pooled = False
        self._changes = 0
        self._begin_view()

    def journal_snapshot(self) -> list[Record]:
        """What must survive when the driver compacts the journal; to be taken when no `Persist` is outstanding and
        all that was `Finalized` is stored."""
        return snapshot(self.chain, self.rounds)

    def leader(self, view: int) -> int:
        """The index of the authority whose turn it is."""
        return quorum.leader(view, self.n)

    def round(self, view: int) -> Round:
        """The round of a view that is not final yet."""
        held = self.rounds.get(view)
        if held is None:
            held = self.rounds[view] = Round(view)
        return held

    def load(self) -> dict[str, int]:
        """How much the machine holds; docs/spec/consensus.md says what bounds it. `unsettled` is the number of views
        from the final head to the current one, `unfinal` from the newest final one."""
        chain = self.chain
        return {
            "rounds": len(self.rounds),
            "votes": sum(len(held.votes) for held in self.rounds.values()) + sum(map(len, self.past.values())),
            "past": len(self.past),
            "blocks": len(chain.blocks),
            "certificates": len(chain.notarizations) + len(chain.nullifications),
            "unsettled": self.view - chain.head.view,
            "unfinal": self.view - chain.final_view,
        }

    def _tally(self, view: int, *, ahead: bool = False) -> Tally | None:
        """Where the votes of this view are kept: None if they are not. `ahead`: admit views from beyond the next."""
        if view < self.view - EVIDENCE_VIEWS or (view > self.view + 1 and not ahead):
            return None
        if view > self.chain.final_view:
            return self.round(view).votes
        if view not in self.past:
            self.past[view] = Tally()
        return self.past[view]

    # --- effects -------------------------------------------------------------------------------------------------

    def _emit(self, effect: Effect) -> None:
        self._effects.append(effect)

    def _record(self, record: Record, *, sync: bool = True) -> None:
        self._records.append(Persist(record, sync))

    def _send(self, message: ConsensusMessage, to: int | None = None) -> None:
        """S5: what is sent of this authority's own was recorded by this step or an earlier one, which `own` shows."""
        vote = message.vote if isinstance(message, Proposal) else message
        if isinstance(vote, Vote) and vote.index == self.me:
            own = self.rounds[vote.subject.view].own.get(vote.subject.kind)
            _must(own is not None and own.subject == vote.subject, "S5: sends a vote that is not in the journal")
        self._effects.append(Send(to, message))

    def _halt(self, reason: str) -> None:
        """Rule 4: stop voting for good."""
        if self.halted is None:
            self.halted = reason
            self._changes += 1
            self._emit(Halted(reason))

    def _flush(self) -> list[Effect]:
        effects = self._records + self._effects
        self._records, self._effects = [], []
        return effects

    # --- signing -------------------------------------------------------------------------------------------------

    def _sign(self, subject: VoteSubject, proposal: Proposal | None = None, block: Block | None = None) -> Vote:
        """Sign, record and count one vote. A notarize is recorded with the body that it is for, and after it, since a
        torn write keeps a beginning: of another's `proposal`, or of one's own `block`."""
        held = self.round(subject.view)
        self._check_rules(subject, held)
        vote = self._signer(subject)
        _must(vote.subject == subject and vote.index == self.me, "the signer signed something else")
        if block is not None:
            held.proposal = Proposal(block, vote)
            self._record(held.proposal)
        else:
            if proposal is not None:
                self._record(proposal)
            self._record(vote)
        if subject.kind == NOTARIZE:
            self.chain.blocks[subject.block].durable = True
        held.signed(vote)
        self._changes += 1
        return vote

    def _check_rules(self, subject: VoteSubject, held: Round) -> None:
        """S1 to S4, whatever the rules that led here believed."""
        chain = self.chain
        _must(self.halted is None and self.me is not None, "signs although it may not vote")
        _must(self.ended is None, "signs although the epoch has ended")
        _must(subject.view > chain.final_view, "signs in a view that is final")
        _must(held.may(subject.kind), f"S1, S2: signs kind {subject.kind} in a view that is {held.status.value}")
        if subject.kind == FINALIZE:
            notarization = chain.notarizations.get(subject.view)
            _must(
                notarization is not None and notarization.subject.block == subject.block,
                "S3: finalizes a block whose notarization it does not hold",
            )
            _must(chain.valid(subject.block), "finalizes a block that it has not validated")
            return
        _must(subject.view == self.view, "S1: notarizes or nullifies a view that it is not in")
        if subject.kind == NOTARIZE:
            candidate = chain.blocks.get(subject.block)
            _must(candidate is not None and candidate.standing is Standing.VALID, "notarizes an unvalidated block")
            _must(
                subject.parent_view >= chain.final_view
                and candidate is not None
                and chain.footing(candidate.block.header, subject) in (Footing.EXTENDS, Footing.AGAIN),
                "S4: notarizes a block that neither extends what is notarized or final, nor is the epoch's last again",
            )
            _must(chain.lacking(subject.parent_view, subject.view) is None, "S4: notarizes across a view not nullified")

    def _vote(self, subject: VoteSubject) -> None:
        """Sign, and send to all."""
        self._send(self._sign(subject))
        self._certify(subject)

    # --- certificates and views ----------------------------------------------------------------------------------

    def _verify(self, vote: Vote) -> bool:
        key = self.config.vote_keys[vote.index]
        return self._verifier(key, vote_message(vote.subject), vote.signature)

    def _certify(self, subject: VoteSubject) -> None:
        """Make the certificate over this subject if it now has a quorum."""
        held = self.rounds.get(subject.view)
        if held is not None and self.ended is None and self.chain.held(subject.kind, subject.view) is None:
            certificate = held.votes.certificate(subject, self.quorum)
            if certificate is not None:
                self._hold(certificate)

    def _hold(self, certificate: Certificate) -> None:
        """Keep, record and pass on a verified certificate, and enter the view that it opens (rules 1, 4 and 6)."""
        subject = certificate.subject
        if subject.view <= self.chain.final_view:
            return
        broken = self.chain.admit(certificate)
        if broken is not None:
            self._halt(f"more than {quorum.faults(self.n)} authorities are traitors: {broken}")
            return
        final = subject.kind == FINALIZE
        self._record(certificate, sync=not final)
        if final or subject.view >= self.view - 1:
            self._send(certificate)
        if final:
            for view in [view for view in self.rounds if view <= subject.view]:
                held = self.rounds.pop(view)
                if view >= self.view - EVIDENCE_VIEWS:
                    self.past[view] = held.votes
        self._changes += 1
        if subject.view >= self.view:
            self._enter(subject.view + 1)

    def _enter(self, view: int) -> None:
        """Rule 1."""
        _must(view > self.view, "enters a view backwards")
        if view == self.view + 1:
            self.presence.passed()
        else:
            self.presence.leapt()
        self._thin(view)
        self.view = view
        self._changes += 1
        self._begin_view()

    def _thin(self, view: int) -> None:
        """Drop the votes of others that are too old once `view` is entered; one's own bind for as long as the view is
        not final."""
        for old in range(self.view - EVIDENCE_VIEWS, min(view - EVIDENCE_VIEWS, self.view + 2)):
            self.past.pop(old, None)
            held = self.rounds.get(old)
            if held is not None and not held.thin():
                del self.rounds[old]

    def _begin_view(self) -> None:
        """Waits of a view start when there is work, with what is known then."""
        self._entered_ms = self.now_ms
        self._armed_ms: int | None = None
        self._waits = Timeouts(self.config.delta_ms, self.config.timeout_cap_ms, self._views_without_finality())
        self._resend_at: int | None = None
        self._resend_gap_ms = self._waits.resend
        self._building: Build | None = None
        self._nothing = False
        self.round(self.view)

    def _views_without_finality(self) -> int:
        """Views that passed since the newest final one, those of silent leaders (which are skipped) left out."""
        passed = range(max(self.chain.final_view + 1, self.view - 64), self.view)
        return sum(1 for view in passed if not self.presence.silent(self.leader(view)))


def _check_epoch(epoch: int, final: FinalHead, former: Certificate | None) -> None:
    """Raise ValueError unless the head lies in this epoch or ended the one before."""
    if final.header.child_epoch != epoch:
        raise ValueError(f"what follows the final head is of epoch {final.header.child_epoch}, not {epoch}")
    if final.certificate is not None and final.certificate.subject.epoch != epoch:
        raise ValueError("a head of another epoch is view 0, and its certificate is the `former`")
    if former is not None and (former.subject.kind != FINALIZE or former.subject.epoch + 1 != epoch):
        raise ValueError("`former` is the finalization that ended the epoch before this one")


def _must(condition: bool, rule: str) -> None:
    """A broken rule ends the machine rather than the ledger; not an `assert`, so that no flag turns it off."""
    if not condition:
        raise AssertionError(rule)
