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
- S4: it signs notarize(v, p, B) only on a parent that is notarized in p or final, holding nullification(u) for
  every u in p < u < v.
- S5: it signs nothing whose record is not durable before it leaves, so a restart forgets no vote and S1 to S4 hold for
  the authority's whole life.

(a) At most one block is notarized in a view: two notarizations share an honest signer, who by S1 signed one of them.
(b) If finalization(v) exists, nullification(v) does not: they would share an honest signer, against S2.
(c) If B is finalized in v, each block notarized in a view w > v descends from B. By induction on w: some honest
authority signed notarize(w, p, C). Were p < v, it would by S4 have held nullification(v), against (b). So p >= v. If
p = v, then C's parent is the block notarized in v, which by (a) and S3 is B. If p > v, C's parent was notarized in p
(or is final, thus by S3 notarized, in p) and descends from B by induction.
(d) Let B be final in v and B' in w >= v. By S3 B' is notarized in w, so B' is B (a) or descends from B (c): there is
one final chain. Nothing here rests on clocks, timers or who leads.

**Why it is live.** In each view an honest authority that has work either sees a certificate or nullifies when its timer
ends, and whoever sees one passes it on, so views pass as long as a quorum is up. Waits grow until they exceed the
real delay (`timeouts`); then the first honest leader's block is notarized, everybody's finalize follows before
any honest timer ends, and the block and all below it are final.
"""

from __future__ import annotations

from protocol.consensus import quorum
from protocol.consensus.chain import Candidate, FinalHead, Standing
from protocol.consensus.core import Config, Signer
from protocol.consensus.effects import Build, Effect, Finalized, Rejected, SetTimer, Validate
from protocol.consensus.events import (
    Built,
    CaughtUp,
    Event,
    PeerUp,
    Received,
    TimerFired,
    Validated,
    Verdict,
    WorkChanged,
)
from protocol.consensus.intake import Intake
from protocol.consensus.repair import entrance
from protocol.consensus.round import Round, Status
from protocol.crypto.hashing import block_digest
from protocol.types.votes import FINALIZE, NOTARIZE, NULLIFY, Body, Fetch, Proposal, Vote

__all__ = ["Config", "FinalHead", "Machine", "Signer"]

FINALIZES_RESENT = 4  # of the newest views that are not final: older ones follow from these


class Machine(Intake):
    """One authority's, or follower's, part in the consensus of one epoch."""

    _serial = 0
    _timer_ms: int | None = None
    _next_empty_ms = 0

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
        elif isinstance(event, PeerUp):
            self._resend(event.index)
        elif isinstance(event, CaughtUp):
            self._on_caught_up(event)

    def _advance(self) -> None:
        """Do what the rules ask for, until nothing more follows. Each round of it signs, enters or settles something,
        of which there is only so much to do without another event."""
        before = -1
        while before != self._changes and self.halted is None:
            before = self._changes
            self._settle()
            if self.me is None or self.halted is not None:
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
        self.chain.advance(FinalHead(path[-1].block.header, certificate))
        self._changes += 1

    def _on_caught_up(self, event: CaughtUp) -> None:
        head = FinalHead(event.block.header, event.certificate)
        if head.view <= self.chain.head.view:
            return
        quorum.check_certificate(
            event.certificate, self.config.chain, self.config.epoch, self.config.vote_keys, self._verifier
        )
        if head.view > self.chain.final_view:
            self._hold(event.certificate)
        self.chain.advance(head)
        self._changes += 1

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

    # --- verdicts ------------------------------------------------------------------------------------------------

    def _ask_verdicts(self) -> None:
        """Have the proposal of this view and all certified blocks validated, parents first."""
        proposal = self.round(self.view).proposal
        sound = proposal is not None and self._malformed(proposal) is None
        proposed = proposal.vote.subject.block if proposal is not None and sound else None
        for candidate in list(self.chain.blocks.values()):
            certified = candidate.digest in self.chain.certified
            waiting = (Standing.HELD, Standing.ASKED, Standing.REFUSED) if certified else (Standing.HELD,)
            if candidate.standing not in waiting or not (certified or candidate.digest == proposed):
                continue
            parent = candidate.block.header.parent
            if not self.chain.valid(parent):
                continue
            if candidate.block.header.height != self.chain.height(parent) + 1:
                self._judge(candidate, Verdict.INVALID)
                continue
            candidate.standing = Standing.ASKED_CERTIFIED if certified else Standing.ASKED
            self._emit(Validate(candidate.view, candidate.block, certified))

    def _on_validated(self, event: Validated) -> None:
        candidate = self.chain.blocks.get(event.block)
        if candidate is not None and candidate.standing in (Standing.ASKED, Standing.ASKED_CERTIFIED):
            self._judge(candidate, event.verdict)

    def _judge(self, candidate: Candidate, verdict: Verdict) -> None:
        if verdict is Verdict.INVALID:
            candidate.standing = Standing.INVALID
        elif verdict is Verdict.VALID:
            candidate.standing = Standing.VALID
        elif candidate.standing is Standing.ASKED:
            candidate.standing = Standing.REFUSED
        self._changes += 1

    # --- the current view ----------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Rules 2, 3 and 5 for the current view."""
        broken = next((c for c in self.chain.blocks.values() if c.standing is Standing.INVALID), None)
        if broken is not None and broken.digest in self.chain.certified:
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

    def _bad(self, proposal: Proposal) -> bool:
        """Whether a proposal can never be voted for here; reports it if its leader signed what is invalid for good.

        The opposite of `_good` is not bad: evidence or verdict may still come."""
        subject, header = proposal.vote.subject, proposal.block.header
        parent = self.chain.block_at(subject.parent_view)
        candidate = self.chain.blocks.get(subject.block)
        reason = self._malformed(proposal)
        if reason is None and parent is not None and parent != header.parent:
            reason = "its header's parent is not the block of its parent view"
        elif reason is None and candidate is not None and candidate.standing is Standing.INVALID:
            reason = "it is not valid on its parent"
        if reason is not None:
            self._emit(Rejected(proposal, reason))
            return True
        if subject.parent_view < self.chain.final_view or (candidate and candidate.standing is Standing.REFUSED):
            return True
        deep = header.height > self.chain.head.header.height + 2 * self.config.depth
        return deep and bool(proposal.block.transactions)

    def _malformed(self, proposal: Proposal) -> str | None:
        """What is wrong with the header whatever the state."""
        header = proposal.block.header
        if header.chain != self.config.chain or header.epoch != self.config.epoch:
            return "its header is of another chain or epoch"
        if header.proposer != self.config.institutions[proposal.vote.index]:
            return "its header names another proposer"
        return None

    def _good(self, proposal: Proposal) -> bool:
        """Rule 3: whether the proposal may be notarized now."""
        subject = proposal.vote.subject
        candidate = self.chain.blocks.get(subject.block)
        return (
            candidate is not None
            and candidate.standing is Standing.VALID
            and self.chain.block_at(subject.parent_view) == proposal.block.header.parent
            and self.chain.lacking(subject.parent_view, subject.view) is None
        )

    def _notarize(self, proposal: Proposal) -> None:
        self._send(self._sign(proposal.vote.subject, proposal))
        self._certify(proposal.vote.subject)

    # --- leading -------------------------------------------------------------------------------------------------

    def _propose(self, held: Round) -> None:
        """Rules 2 and 9: build on the highest valid notarized block, if there is something to propose or a need to."""
        if self._building or self._armed_ms is None:
            return
        own = self._pooled and not self._nothing
        prodded = held.votes.stirred(self.me) and self.now_ms >= self._next_empty_ms
        overdue = self.chain.unfinal() and self.now_ms >= self._armed_ms + self._waits.lazy
        if not (own or prodded or overdue):
            return
        target = self.chain.extendable(self.view)
        if target is None and not self._futile(held):
            return
        if prodded and not own:
            self._next_empty_ms = self.now_ms + self.config.timeout_cap_ms
        if target is None or self._futile(held):
            self._vote(quorum.nullify(self.config.chain, self.config.epoch, self.view))
            return
        parent_view, parent = target
        depth = self.chain.height(parent) - self.chain.head.header.height
        limit = 0 if depth >= self.config.depth else self._waits.size_limit(self.config.block_bytes)
        self._building = True
        # Below the full size an empty block too is worth proposing: what is pending may be larger than the limit, and
        # only finality lifts it.
        self._empty_allowed = prodded or overdue or self._waits.growth > 0
        self._emit(Build(self.view, parent_view, parent, limit, self._empty_allowed))

    def _futile(self, held: Round) -> bool:
        """Whether so many nullified this view, or are silent, that nothing of it can become final any more."""
        nullified = held.votes.voters(NULLIFY)
        silent = [i for i in range(self.n) if i != self.me and i not in nullified and self.presence.silent(i)]
        return bool(nullified) and self.n - len(nullified) - len(silent) < self.quorum

    _empty_allowed = False

    def _on_built(self, event: Built) -> None:
        if event.view != self.view or not self._building:
            return
        self._building = False
        held = self.round(self.view)
        if event.block is None:
            self._nothing = True
            if self._empty_allowed and held.may(NULLIFY):
                self._vote(quorum.nullify(self.config.chain, self.config.epoch, self.view))
            return
        self._changes += 1
        if held.status is not Status.OPEN or event.parent_view < self.chain.final_view:
            return
        digest = block_digest(event.block.header)
        candidate = self.chain.hold(event.block, digest, self.view)
        candidate.standing = Standing.VALID
        subject = quorum.notarize(self.config.chain, self.config.epoch, self.view, event.parent_view, digest)
        vote = self._sign(subject, block=event.block)
        self._send(Proposal(event.block, vote))
        self._certify(subject)

    # --- repair and timers ---------------------------------------------------------------------------------------

    def _resend(self, to: int | None) -> None:
        """Rule 8: what lets a laggard enter this view, and own votes, which whoever lacks the body can ask for."""
        if self.me is None or to == self.me:
            return
        for certificate in entrance(self.chain, self.view):
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
        if self.halted is None:
            if self._resend_at is not None and self.now_ms >= self._resend_at:
                self._resend(None)
                self._resend_gap_ms = min(2 * self._resend_gap_ms, self._waits.cap)
                self._resend_at = self.now_ms + self._resend_gap_ms
            self._ask()
        at_ms = None if self.halted is not None else self._next_ms()
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
