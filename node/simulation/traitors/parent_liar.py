"""Lies about parents: of which view, of which block, and beyond an epoch's last block before it is final."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import msgspec

from node.simulation.traitors.base import Conspiracy, HostFacade, Lies, proposal, with_header, with_transactions
from node.simulation.traitors.false_proposer import FalseProposer
from protocol.crypto.hashing import block_digest
from protocol.types.block import Block
from protocol.types.votes import NOTARIZE, Body, Certificate, ConsensusMessage, Proposal

BODIES = 24
NOTARIZED = 24


class ParentLiar(FalseProposer):
    """Knows the blocks and the notarizations that passed by, and puts its own where they do not belong."""

    kind = "parent_liar"

    def __init__(self, host: HostFacade, rng: Random, allies: Conspiracy) -> None:
        super().__init__(host, rng, allies)
        self.bodies: dict[bytes, Block] = {}
        self.notarized: dict[int, bytes] = {}
        self._epoch = -1

    def outgoing(self, message: ConsensusMessage, to: Sequence[int]) -> Lies:
        """As leader; and it learns from what its own machine sends."""
        self._learn(message)
        return super().outgoing(message, to)

    def incoming(self, sender: int, message: ConsensusMessage) -> bool:
        """Learn what is notarized."""
        self._learn(message)
        return super().incoming(sender, message)

    def falsify(self, honest: Proposal) -> Proposal | None:
        """One of several lies, of those that can be told now."""
        last = self._unfinal_last()
        if last is not None and self.rng.random() < 0.7:
            return self._beyond(honest, *last)
        shapes = (self._other_view, self._on_final_head, self._same_again, self._unknown_parent)
        return self.rng.choice(shapes)(honest)

    def _other_view(self, honest: Proposal) -> Proposal | None:
        """The right block, but its parent is said to be of another view."""
        subject = honest.vote.subject
        views = {0, subject.view - 1, self.host.final_view, self.rng.randrange(subject.view)} - {subject.parent_view}
        return proposal(self.host, honest.block, subject, self.rng.choice(sorted(views))) if views else None

    def _on_final_head(self, honest: Proposal) -> Proposal | None:
        """A fork on the final head, whatever was notarized since."""
        head, subject = self.host.head, honest.vote.subject
        forked = with_header(honest.block, parent=block_digest(head), height=head.height + 1)
        parent_view = self.rng.choice((self.host.final_view, subject.parent_view, subject.view - 1))
        return proposal(self.host, forked, subject, parent_view)

    def _same_again(self, honest: Proposal) -> Proposal | None:
        """A notarized block proposed once more, which only an epoch's last one may be; or that one, with a lie."""
        known = [(view, self.bodies[digest]) for view, digest in self.notarized.items() if digest in self.bodies]
        known = [(view, block) for view, block in known if view < honest.vote.subject.view]
        if not known:
            return None
        view, block = self.rng.choice(known)
        return proposal(self.host, block, honest.vote.subject, self.rng.choice((view, self.host.final_view)))

    def _unknown_parent(self, honest: Proposal) -> Proposal | None:
        """On a block that nobody has."""
        orphan = with_header(honest.block, parent=self.rng.randbytes(32))
        return proposal(self.host, orphan, honest.vote.subject)

    def _beyond(self, honest: Proposal, view: int, last: Block) -> Proposal | None:
        """An extension of the epoch's last block, which is notarized and not final: in its epoch or in the next."""
        empty = with_transactions(last, ())
        extension = msgspec.structs.replace(
            empty.header,
            parent=block_digest(last.header),
            height=last.header.height + 1,
            timestamp=last.header.timestamp + 1,
            proposer=self.host.institution,
            epoch=last.header.epoch + self.rng.randrange(2),
            next_authorities=None if self.rng.random() < 0.7 else last.header.next_authorities,
        )
        return proposal(self.host, Block(extension, ()), honest.vote.subject, view)

    def _unfinal_last(self) -> tuple[int, Block] | None:
        for view, digest in sorted(self.notarized.items(), reverse=True):
            block = self.bodies.get(digest)
            if block is not None and block.header.ends_epoch and block.header.epoch == self.host.epoch:
                return view, block
        return None

    def _learn(self, message: ConsensusMessage) -> None:
        if self._epoch != self.host.epoch:
            self._epoch = self.host.epoch
            self.notarized.clear()
        if isinstance(message, Proposal | Body):
            self.bodies[block_digest(message.block.header)] = message.block
        elif isinstance(message, Certificate):
            subject = message.subject
            if subject.kind == NOTARIZE and subject.epoch == self._epoch:
                self.notarized[subject.view] = subject.block
        while len(self.bodies) > BODIES:
            del self.bodies[next(iter(self.bodies))]
        while len(self.notarized) > NOTARIZED:
            del self.notarized[min(self.notarized)]
