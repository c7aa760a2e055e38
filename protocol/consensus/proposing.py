"""What is made of proposals: verdicts, whether one may be voted for (rule 3), and one's own (rules 2, 9 and 11).

Relies on the driver for verdicts and blocks, and on `core` for refusing whatever would break S1 to S5.
"""

from __future__ import annotations

from protocol.consensus import quorum
from protocol.consensus.chain import Candidate, Footing, Standing
from protocol.consensus.effects import Build, Rejected, Validate
from protocol.consensus.events import Built, Validated, Verdict
from protocol.consensus.intake import Intake
from protocol.consensus.round import Round, Status
from protocol.crypto.hashing import block_digest
from protocol.types.block import Block
from protocol.types.votes import NULLIFY, Proposal


class Proposing(Intake):
    """The machine's part that judges blocks and proposes them."""

    _next_empty_ms = 0
    _empty_allowed = False

    # --- verdicts ------------------------------------------------------------------------------------------------

    def _ask_verdicts(self) -> None:
        """Have the proposal of this view and all certified blocks validated, parents first."""
        proposal = self.round(self.view).proposal
        sound = proposal is not None and self._fault(proposal) is None and self._authored(proposal)
        proposed = proposal.vote.subject.block if proposal is not None and sound else None
        for candidate in list(self.chain.blocks.values()):
            certified = candidate.digest in self.chain.certified
            waiting = (Standing.HELD, Standing.ASKED, Standing.REFUSED) if certified else (Standing.HELD,)
            if candidate.standing not in waiting or not (certified or candidate.digest == proposed):
                continue
            parent = candidate.block.header.parent
            if not self.chain.valid(parent):
                continue
            if candidate.block.header.height != self.chain.height(parent) + 1 or self.chain.closes(parent):
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

    # --- rule 3 --------------------------------------------------------------------------------------------------

    def _bad(self, proposal: Proposal) -> bool:
        """Whether a proposal can never be voted for here; reports it if its leader signed what is invalid for good.

        The opposite of `_good` is not bad: evidence or verdict may still come."""
        subject, header = proposal.vote.subject, proposal.block.header
        candidate = self.chain.blocks.get(subject.block)
        reason = self._fault(proposal)
        if reason is None and candidate is not None and candidate.standing is Standing.INVALID:
            reason = "it is not valid on its parent"
        if reason is not None:
            self._emit(Rejected(proposal, reason))
            return True
        if subject.parent_view < self.chain.final_view or (candidate and candidate.standing is Standing.REFUSED):
            return True
        deep = header.height > self.chain.head.header.height + 2 * self.config.depth
        return deep and bool(proposal.block.transactions) and subject.block not in self.chain.certified

    def _fault(self, proposal: Proposal) -> str | None:
        """What is wrong for good with the header, or with what it stands on, as far as that is known."""
        header = proposal.block.header
        if header.chain != self.config.chain or header.epoch != self.config.epoch:
            return "its header is of another chain or epoch"
        footing = self.chain.footing(header, proposal.vote.subject)
        perhaps_again = footing is Footing.AGAIN or (footing is Footing.UNKNOWN and header.ends_epoch)
        if not perhaps_again and not self._authored(proposal):
            return "its header names another proposer"
        if footing is Footing.NONE:
            ended = self.chain.closes(header.parent)
            return f"its header's parent {'ends the epoch' if ended else 'is not the block of its parent view'}"
        return None

    def _authored(self, proposal: Proposal) -> bool:
        """Whether the header names the institution of the leader that proposes it; the epoch's last block, once
        notarized, may be proposed again by any."""
        footing = self.chain.footing(proposal.block.header, proposal.vote.subject)
        proposer = self.config.institutions[proposal.vote.index]
        return footing is Footing.AGAIN or proposal.block.header.proposer == proposer

    def _good(self, proposal: Proposal) -> bool:
        """Rule 3: whether the proposal may be notarized now."""
        subject = proposal.vote.subject
        candidate = self.chain.blocks.get(subject.block)
        return (
            candidate is not None
            and candidate.standing is Standing.VALID
            and self._authored(proposal)
            and self.chain.footing(proposal.block.header, subject) in (Footing.EXTENDS, Footing.AGAIN)
            and self.chain.lacking(subject.parent_view, subject.view) is None
        )

    def _notarize(self, proposal: Proposal) -> None:
        self._send(self._sign(proposal.vote.subject, proposal))
        self._certify(proposal.vote.subject)

    # --- leading -------------------------------------------------------------------------------------------------

    def _propose(self, held: Round) -> None:
        """Rules 2, 9 and 11: build on the highest valid notarized block, if there is something to propose or a need
        to; if that block ends the epoch, propose it again, but only if its finality is overdue."""
        if self._building is not None or self._armed_ms is None:
            return
        target = self.chain.extendable(self.view)
        again = target is not None and self.chain.closes(target[1])
        own = self._pooled and not self._nothing and not again
        prodded = held.votes.stirred(self.me) and self.now_ms >= self._next_empty_ms
        overdue = self.chain.unfinal() and self.now_ms >= self._armed_ms + self._waits.lazy
        if not (own or prodded or overdue):
            return
        if target is None and not self._futile(held):
            return
        if prodded and not own:
            self._next_empty_ms = self.now_ms + self.config.timeout_cap_ms
        if target is None or self._futile(held):
            self._vote(quorum.nullify(self.config.chain, self.config.epoch, self.view))
            return
        parent_view, parent = target
        if again:
            self._put_forward(self.chain.blocks[parent].block, parent_view)
            return
        depth = self.chain.height(parent) - self.chain.head.header.height
        limit = 0 if depth >= self.config.depth else self._waits.size_limit(self.config.block_bytes)
        # Below the full size an empty block too is worth proposing: what is pending may be larger than the limit, and
        # only finality lifts it.
        self._empty_allowed = prodded or overdue or self._waits.growth > 0
        self._building = Build(self.view, parent_view, parent, limit, self._empty_allowed)
        self._emit(self._building)

    def _futile(self, held: Round) -> bool:
        """Whether so many nullified this view, or are silent, that nothing of it can become final any more."""
        nullified = held.votes.voters(NULLIFY)
        silent = [i for i in range(self.n) if i != self.me and i not in nullified and self.presence.silent(i)]
        return bool(nullified) and self.n - len(nullified) - len(silent) < self.quorum

    def _on_built(self, event: Built) -> None:
        wanted, block = self._building, event.block
        if wanted is None or (event.view, event.parent_view) != (wanted.view, wanted.parent_view):
            return
        if block is not None and (block.header.parent, block.header.epoch) != (wanted.parent, self.config.epoch):
            return  # an answer to the machine of the epoch before
        self._building = None
        held = self.round(self.view)
        if block is None:
            self._nothing = True
            if self._empty_allowed and held.may(NULLIFY):
                self._vote(quorum.nullify(self.config.chain, self.config.epoch, self.view))
            return
        self._changes += 1
        if held.status is Status.OPEN and event.parent_view >= self.chain.final_view:
            candidate = self.chain.hold(block, block_digest(block.header), self.view)
            candidate.standing = Standing.VALID
            self._put_forward(block, event.parent_view)

    def _put_forward(self, block: Block, parent_view: int) -> None:
        """Propose a block that is valid here, and vote for it."""
        digest = block_digest(block.header)
        self.chain.hold(block, digest, self.view)
        subject = quorum.notarize(self.config.chain, self.config.epoch, self.view, parent_view, digest)
        vote = self._sign(subject, block=block)
        self._send(Proposal(block, vote))
        self._certify(subject)
