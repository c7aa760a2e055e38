"""From journal records back to what was signed and held, and which records must outlive a compaction.

The journal is this node's own, framed and checked by the driver, so signatures are not verified again; but records that
contradict each other, or another chain's, are refused: who signed on top of them might sign differently (rule 7).
"""

from __future__ import annotations

from collections.abc import Iterable

from protocol.consensus.chain import Chain
from protocol.consensus.effects import Record
from protocol.consensus.round import Round
from protocol.consensus.votes import scope
from protocol.crypto.hashing import block_digest
from protocol.errors import JournalBroken
from protocol.types.votes import FINALIZE, Body, Certificate, Proposal, Vote


class Restored:
    """What a journal says of one epoch: rounds by view, and the view to go on with. Certificates and bodies go into
    `chain`. `me`: this authority's index in that epoch; what it signed in another is none of this one's concern."""

    def __init__(self, records: Iterable[Record], chain: Chain, me: int | None, chain_id: bytes, epoch: int) -> None:
        self.chain = chain
        self.me = me
        self.rounds: dict[int, Round] = {}
        self.view = chain.head.view + 1
        for record in records:
            named = scope(record)
            if named.chain != chain_id:
                raise JournalBroken("the journal is of another chain")
            if named.epoch == epoch:
                self._replay(record)
        self.rounds = {view: held for view, held in self.rounds.items() if view > chain.final_view}

    def _replay(self, record: Record) -> None:
        if isinstance(record, Certificate):
            self._certificate(record)
        elif isinstance(record, Body):
            self._body(record, 0)
        elif isinstance(record, Proposal):
            view = record.vote.subject.view
            if view > self.chain.head.view:
                self._body(Body(record.block), view)
                held = self._round(view)
                held.proposal = record
                self._vote(held, record.vote)
        elif record.subject.view > self.chain.head.view:
            self._vote(self._round(record.subject.view), record)

    def _round(self, view: int) -> Round:
        return self.rounds.setdefault(view, Round(view))

    def _certificate(self, certificate: Certificate) -> None:
        subject = certificate.subject
        if subject.view <= (self.chain.final_view if subject.kind == FINALIZE else self.chain.head.view):
            return
        broken = self.chain.admit(certificate)
        if broken is not None:
            raise JournalBroken(f"the journal holds certificates that contradict each other: {broken}")
        self.view = max(self.view, subject.view + 1)

    def _body(self, body: Body, view: int) -> None:
        if body.block.header.height > self.chain.head.header.height:
            self.chain.hold(body.block, block_digest(body.block.header), view, durable=True).durable = True

    def _vote(self, held: Round, vote: Vote) -> None:
        if vote.index != self.me:
            held.votes.add(vote)
            return
        before = held.own.get(vote.subject.kind)
        if before is not None and before.subject == vote.subject:
            return
        if before is not None or not held.may(vote.subject.kind):
            raise JournalBroken(f"the journal holds votes of view {held.view} that contradict each other")
        held.signed(vote)
        self.view = max(self.view, held.view)


def snapshot(chain: Chain, rounds: dict[int, Round]) -> list[Record]:
    """What must survive when the driver compacts the journal, in an order that `Restored` replays: the newest
    finalization, and all certificates, bodies and own votes above the final head."""
    records: list[Record] = [] if chain.finalization is None else [chain.finalization]
    proposed: set[bytes] = set()
    for view in sorted(set(chain.notarizations) | set(chain.nullifications) | set(rounds)):
        held = rounds.get(view)
        proposal = None if held is None else held.proposal
        if proposal is not None and proposal.vote.subject.block in chain.blocks:
            records.append(proposal)
            proposed.add(proposal.vote.subject.block)
        if held is not None:
            records += held.own.values()
        records += [c for c in (chain.notarizations.get(view), chain.nullifications.get(view)) if c is not None]
    records += [Body(c.block) for c in chain.blocks.values() if c.durable and c.digest not in proposed]
    return records
