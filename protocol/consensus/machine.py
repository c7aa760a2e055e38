"""The consensus machine: Simplex (Chan and Pass, ePrint 2023/463) by the rules of docs/spec/consensus.md.

`step(event, now_ms) -> effects` is all there is: no sockets, clock, randomness or await. `core` holds the state and is
the only place that signs, `intake` admits what others send, and this module decides what to do next. After each event
it looks at what it holds and does whatever the rules ask for until nothing more follows; so it does not matter in
which order votes, certificates, bodies and verdicts come.

**Why it is safe.** Of n authorities at most f = (n-1)//3 are traitors and q = n-f votes make a certificate, so any two
certificates share an honest signer. Every honest one keeps, across restarts:

- S1: it signs at most one notarize a view, and none after nullify.
- S2: it never signs both nullify and finalize of one view.
- S3: it signs finalize(v, B) only while holding notarization(v, B).
- S4: it signs notarize(v, p, B) only if what it holds to be notarized or final in p is B's parent, which does not end
  the epoch, or is B itself, which does; and it holds nullification(u) for every u in p < u < v.
- S5: it signs nothing whose record is not durable before it leaves, so a restart forgets no vote and S1 to S4 hold for
  the authority's whole life.

(a) At most one block is notarized in a view: two notarizations share an honest signer, who by S1 signed one of them.
(b) If finalization(v) exists, nullification(v) does not: they would share an honest signer, against S2.
(c) If B is finalized in v, each block notarized in a view w > v descends from B or is B. By induction on w: some
honest authority signed notarize(w, p, C), and p >= v, since for p < v it would by S4 have held nullification(v),
against (b). Let P be the block notarized in p (if it held P as final in p, then by S3 P is notarized there). For p =
v, P is B by (a) and S3; for p > v, P descends from B or is B by induction. By S4, C is a child of P or P itself.
(d) Let B be final in v and B' in w >= v. By S3 B' is notarized in w, so B' is B (a), or descends from B or is B (c):
there is one final chain. Nothing here rests on clocks, timers or who leads.

**Why an epoch has one end.** Let E be a block that ends its epoch. By S4 nobody honest votes for a child of E, so E
has no notarized descendant in this epoch. If E is final in v, then by (c) whatever is notarized later in this epoch
is E: a finalization of a later view is of E too, and one of an earlier view is of E or of an ancestor. So whoever
sees E final, in whichever view, sees the same block end the epoch, and the next epoch starts from it as its view 0;
votes name their epoch, so none counts in two.
E notarized and not final binds nobody: where its view is nullified, a leader who does not know E may let the chain go
on beside it, to another end or to none. A second proposal of E names as its parent view the newest in which E itself
was notarized, not that of E's parent: no honest authority has nullifications for the views that E may have become
final in, which is what (c) rests on. To propose E again takes the notarization of that very block (`Chain.footing`),
so no leader brings in a block that is another's: below stands an honest voter who took E's first proposal for good,
its proposer included, since each of these proposals has an earlier parent view. The parent view is part of what is
signed, so two of them for one block in one view are two proposals, against S1.

**Why it is live.** In each view an honest authority that has work either sees a certificate or nullifies when its timer
ends, and whoever sees one passes it on, so views pass as long as a quorum is up. Waits grow until they exceed the
real delay (`timeouts`); then the first honest leader's block is notarized, everybody's finalize follows before
any honest timer ends, and the block and all below it are final. That block may be the epoch's last one again, so an
epoch ends as soon as any block would become final. Who has left the epoch answers who has not with the finalization.
"""

from __future__ import annotations

from protocol.consensus import quorum
from protocol.consensus.chain import FinalHead, Standing
from protocol.consensus.core import Config, Signer
from protocol.consensus.effects import Effect, EpochEnded, Finalized, SetTimer
from protocol.consensus.events import (
    Built,
    CaughtUp,
    Event,
    PeerUp,
    Received,
    Started,
    TimerFired,
    Validated,
    WorkChanged,
)
from protocol.consensus.proposing import Proposing
from protocol.consensus.repair import entrance
from protocol.consensus.round import Round, Status
from protocol.types.block import Header
from protocol.types.votes import FINALIZE, NOTARIZE, NULLIFY, Body, Certificate, Fetch, Vote

__all__ = ["Config", "FinalHead", "Machine", "Signer"]

FINALIZES_RESENT = 4  # of the newest views that are not final: older ones follow from these


class Machine(Proposing):
    """One authority's, or follower's, part in the consensus of one epoch."""

    _serial = 0
    _timer_ms: int | None = None

    def step(self, event: Event, now_ms: int) -> list[Effect]:
        """What to do about this event, in order, `Persist` first. `now_ms`: monotonic milliseconds."""
        if self.halted is not None:
            return []
        self.now_ms = now_ms
        before = self._changes
        self._take(event)
        due = self._timer_ms is not None and now_ms >= self._timer_ms
        if due or self._changes != before or not isinstance(event, Received):  # most messages say nothing new
            self._advance()
            self._arm()
        return self._flush()

    def _take(self, event: Event) -> None:
        if isinstance(event, Received):
            self._receive(event.sender, event.message)
        elif isinstance(event, Started):
            self._entered_ms = self.now_ms
            self._certify_own()
        elif isinstance(event, PeerUp):
            self._resend(event.index)
        elif self.ended is not None:
            return
        elif isinstance(event, TimerFired):
            if event.serial == self._serial:
                self._timer_ms = None
        elif isinstance(event, Validated):
            self._on_validated(event)
        elif isinstance(event, Built):
            self._on_built(event)
        elif isinstance(event, WorkChanged):
            self._pooled = event.has_work
            self._nothing = False
        elif isinstance(event, CaughtUp):
            self._on_caught_up(event)

    def _certify_own(self) -> None:
        """A sole authority's vote is a quorum: a crash may have kept the vote and lost the certificate made of it, and
        nobody else's vote will come that would make it anew."""
        for vote in [vote for held in self.rounds.values() for vote in held.own.values()]:
            self._certify(vote.subject)

    def _advance(self) -> None:
        """Do what the rules ask for, until nothing more follows. Each round of it signs, enters or settles something,
        of which there is only so much to do without another event."""
        before = -1
        while before != self._changes and self.halted is None and self.ended is None:
            before = self._changes
            self._settle()
            if self.me is None or self.halted is not None or self.ended is not None:
                continue
            self._ask_verdicts()
            self._finalize()
            self._turn()

    # --- finality ------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Rule 6: make final what a finalization covers, once all of it is here and validated."""
        if self.chain.final_view <= self.chain.head.view:
            return
        try:
            path = self.chain.path()
        except ValueError as fork:
            self._halt(f"more than {quorum.faults(self.n)} authorities are traitors: {fork}")
            return
        certificate = self.chain.finalization
        if not path or certificate is None or any(c.standing is not Standing.VALID for c in path):
            return
        gaps = self.chain.gap_nullifications(certificate.subject.view)
        self._emit(Finalized(tuple(c.block for c in path), certificate, gaps))
        self._move(path[-1].block.header, certificate)

    def _move(self, header: Header, certificate: Certificate) -> None:
        """The final head is now this block, which perhaps ends the epoch (rule 11)."""
        self.chain.advance(FinalHead(header, certificate))
        self._changes += 1
        if header.ends_epoch:
            self.ended = EpochEnded(header, certificate)
            self._armed_ms = self._resend_at = None
            self.repair.rest()
            self._emit(self.ended)

    def _on_caught_up(self, event: CaughtUp) -> None:
        head = FinalHead(event.block.header, event.certificate)
        if head.header.epoch != self.config.epoch or head.view <= self.chain.head.view:
            return
        quorum.check_certificate(
            event.certificate, self.config.chain, self.config.epoch, self.config.vote_keys, self._verifier
        )
        if head.view > self.chain.final_view:
            self._hold(event.certificate)
        if self.halted is None:
            self._move(head.header, event.certificate)

    def _finalize(self) -> None:
        """Rule 4: finalize what is notarized and validated here."""
        for view, certificate in sorted(self.chain.notarizations.items()):
            if view <= self.chain.final_view:
                continue
            digest = certificate.subject.block
            candidate = self.chain.blocks.get(digest)
            if candidate is None or candidate.standing is not Standing.VALID:
                continue
            if not candidate.durable:
                self._record(Body(candidate.block))
                candidate.durable = True
            held = self.round(view)
            if NOTARIZE in held.own and held.own[NOTARIZE].subject.block != digest:
                held.bar()
            if held.may(FINALIZE):
                self._vote(quorum.finalize(self.config.chain, self.config.epoch, view, digest))

    # --- the current view ----------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Rules 2, 3 and 5 for the current view."""
        invalid = [c.digest for c in self.chain.blocks.values() if c.standing is Standing.INVALID]
        if any(digest in self.chain.certified for digest in invalid):
            self._halt("a quorum voted for a block that this node holds invalid: rebuild its state from a snapshot")
            return
        held = self.round(self.view)
        work = self._work(held)
        if work and self._armed_ms is None:
            self._begin_view()
            self._armed_ms = self.now_ms
            self._resend_at = self.now_ms + self._resend_gap_ms
        elif not work:
            self._armed_ms = self._resend_at = None
        if held.may(NULLIFY) and self._must_nullify(held):
            self._vote(quorum.nullify(self.config.chain, self.config.epoch, self.view))
        elif held.status is Status.OPEN:
            if held.proposal is not None and self._good(held.proposal):
                self._notarize(held.proposal)
            elif self.leader(self.view) == self.me:
                self._propose(held)

    def _work(self, held: Round) -> bool:
        """Rule 9: whether there is anything for which views should pass."""
        return self._pooled or held.status is not Status.OPEN or self.chain.unfinal() or held.votes.stirred(self.me)

    def _must_nullify(self, held: Round) -> bool:
        """Rule 5. Once f+1 nullified, too few are left to finalize anything of this view, so waiting serves nothing."""
        lead = self.leader(self.view)
        if held.status is Status.BARRED or (lead != self.me and held.votes.get(NULLIFY, lead) is not None):
            return True
        if len(held.votes.voters(NULLIFY)) > quorum.faults(self.n):
            return True
        if self._armed_ms is None:
            return False
        if lead != self.me and held.proposal is None and self.presence.silent(lead):
            return True
        if self.now_ms >= self._armed_ms + (self._waits.leader if held.proposal is None else self._waits.certificate):
            return True
        return held.status is Status.OPEN and held.proposal is not None and self._bad(held.proposal)

    # --- repair and timers ---------------------------------------------------------------------------------------

    def _resend(self, to: int | None) -> None:
        """Rule 8: what lets a laggard enter this view, and own votes, which whoever lacks the body can ask for."""
        if self.me is None or to == self.me:
            return
        for certificate in entrance(self.chain, self.view, self.former):
            self._send(certificate, to)
        unfinal = [self.rounds[view] for view in sorted(self.rounds) if view < self.view]
        own: list[Vote] = [held.own[FINALIZE] for held in unfinal if FINALIZE in held.own][-FINALIZES_RESENT:]
        for vote in [*own, *self.round(self.view).own.values()]:
            self._send(vote, to)

    def _lacking(self) -> Fetch | None:
        """What to ask for: certificates that this view's vote or proposal needs, and bodies certified or proposed."""
        held = self.round(self.view)
        lead = held.votes.get(NOTARIZE, self.leader(self.view))
        first = last = 0
        bodies = [] if self.chain.final_view > self.chain.head.view else self.chain.missing_bodies()
        if held.status is Status.OPEN and self._armed_ms is not None:
            if held.proposal is not None:
                parent_view = held.proposal.vote.subject.parent_view
                gap = self.chain.lacking(parent_view, self.view)
                if self.chain.block_at(parent_view) is None:
                    first, last = parent_view, self.view - 1
                elif gap is not None:
                    first, last = parent_view + 1, gap
            elif lead is not None and lead.subject.block not in self.chain.blocks:
                bodies.append(lead.subject.block)
            elif self.leader(self.view) == self.me and self.chain.extendable(self.view) is None:
                first, last = self.chain.final_view + 1, self.view - 1
        if not last and not bodies:
            return None
        return Fetch(self.config.epoch, first, last, tuple(sorted(set(bodies))[: self.config.depth]))

    def _ask(self) -> None:
        """Ask for what lacks; where it is final, the driver's sync is told instead."""
        behind = self.chain.final_view > self.chain.head.view and self.chain.path() is None
        wanted = Fetch(self.config.epoch, self.chain.final_view, 0) if behind else None
        if wanted is None and self.me is not None:
            wanted = self._lacking()
        fresh = self.me is None and behind and self.repair.ask_at is None
        peer = self.repair.want(wanted, self._waits, self.now_ms)
        if behind and (fresh or peer is not None):
            self._report_behind()
        elif wanted is not None and peer is not None:
            self._send(wanted, peer)

    def _arm(self) -> None:
        """Send again what is due, ask for what lacks, and set the one timer to whatever comes first."""
        if self.halted is None and self.ended is None:
            if self._resend_at is not None and self.now_ms >= self._resend_at:
                self._resend(None)
                self._resend_gap_ms = min(2 * self._resend_gap_ms, self._waits.cap)
                self._resend_at = self.now_ms + self._resend_gap_ms
            self._ask()
        quiet = self.halted is not None or self.ended is not None
        at_ms = None if quiet else self._next_ms()
        if at_ms != self._timer_ms:
            self._serial += 1
            self._timer_ms = at_ms
            self._emit(SetTimer(self._serial, at_ms))

    def _next_ms(self) -> int | None:
        times = [at for at in (self._resend_at, self.repair.ask_at) if at is not None]
        held = self.round(self.view)
        if self._armed_ms is not None:
            if held.may(NULLIFY):
                wait = self._waits.leader if held.proposal is None else self._waits.certificate
                times.append(self._armed_ms + wait)
            lazy = self._armed_ms + self._waits.lazy
            if self.leader(self.view) == self.me and held.status is Status.OPEN and self.now_ms < lazy:
                times.append(lazy)
        return min(times, default=None)
