"""Rule 11: an epoch has one last block, which nothing extends before it is final, and its own members' votes only."""

from __future__ import annotations

from typing import ClassVar

from node.simulation.oracles.base import Oracle
from node.simulation.oracles.chronicle import Chronicle
from node.simulation.oracles.records import (
    BlockFinal,
    BlockStored,
    EpochBegan,
    Healed,
    MessageArrived,
    Record,
    Restarted,
    Scene,
    Sent,
    VoteLeft,
)
from protocol.crypto.hashing import block_digest
from protocol.crypto.signing import vote_message
from protocol.types.block import Block, Header
from protocol.types.votes import NULLIFY, Body, Proposal, Vote


class Epochs(Oracle):
    """Knows every header that any message carried, so that it can say what a vote is for."""

    name: ClassVar[str] = "epochs"
    wants: ClassVar[tuple[type[Record], ...]] = (
        BlockFinal,
        BlockStored,
        EpochBegan,
        MessageArrived,
        Restarted,
        Sent,
        VoteLeft,
    )

    def __init__(self, scene: Scene, chronicle: Chronicle) -> None:
        super().__init__(scene, chronicle)
        self._headers: dict[bytes, Header] = {}
        self._last: dict[int, bytes] = {}
        self._stored: dict[int, int] = {}
        self._epoch: dict[int, int] = {}
        self._checked: set[tuple[int, bytes]] = set()

    def event(self, record: Record) -> None:
        """Learn headers; judge votes and finality."""
        if isinstance(record, MessageArrived | Sent):
            if isinstance(record.message, Proposal | Body):
                self._learn(record.message.block)
        elif isinstance(record, Healed) or record.host not in self.scene.honest:
            return
        elif isinstance(record, VoteLeft):
            self._vote(record.host, record.vote, record.at_ms)
        elif isinstance(record, BlockFinal):
            self._learn(record.block)
            self._final(record)
        elif isinstance(record, BlockStored):
            self._stored[record.host] = record.height
        elif isinstance(record, Restarted):
            self._stored[record.host] = record.head.height
        elif isinstance(record, EpochBegan):
            self._began(record)

    def _learn(self, block: Block) -> None:
        self._headers[block_digest(block.header)] = block.header

    def _final(self, record: BlockFinal) -> None:
        header, at_ms = record.block.header, record.at_ms
        here = f"height {header.height} at host {record.host}"
        epoch = self._epoch_at(header.height)
        self.demand(epoch in (None, header.epoch), f"{here} is of epoch {header.epoch}, not {epoch}", at_ms)
        if header.ends_epoch:
            digest = block_digest(header)
            last = self._last.setdefault(header.epoch, digest)
            self.demand(last == digest, f"{here} is a second last block of epoch {header.epoch}", at_ms)
        subject = record.certificate.subject
        self.demand(subject.epoch == header.epoch, f"{here} is final by votes of epoch {subject.epoch}", at_ms)

    def _epoch_at(self, height: int) -> int | None:
        """By counting last blocks below, as far as they are known."""
        below = self.chronicle.blocks.get(height - 1)
        if height == 1:
            return 0
        return None if below is None else below.header.epoch + below.header.ends_epoch

    def _began(self, record: EpochBegan) -> None:
        epoch = self._epoch[record.host] = record.authorities.epoch
        if epoch == 0:
            return
        end = self.chronicle.ends.get(epoch - 1)
        ended = end is not None and self._stored.get(record.host, 0) >= end[0]
        sentence = f"host {record.host} began epoch {epoch} without the last block of the one before in storage"
        self.demand(ended, sentence, record.at_ms)

    def _vote(self, host: int, vote: Vote, at_ms: int) -> None:
        subject = vote.subject
        message = vote_message(subject)
        if (vote.index, message) in self._checked:
            return
        self._checked.add((vote.index, message))
        here = f"host {host} in view {subject.epoch}/{subject.view}"
        seat = self.chronicle.member(subject.epoch, vote.index)
        institution = self.scene.institutions[host]
        if not self.demand(seat is not None and seat[0] == institution, f"{here} has no seat {vote.index}", at_ms):
            return
        assert seat is not None
        signed = self.scene.verify(seat[1], message, vote.signature)
        self.demand(signed, f"{here} signed with a key that is not the epoch's", at_ms)
        self.demand(subject.epoch == self._epoch.get(host), f"{here} votes in an epoch that it is not in", at_ms)
        if subject.kind != NULLIFY:
            self._place(here, subject.epoch, self._headers.get(subject.block), at_ms)

    def _place(self, here: str, epoch: int, header: Header | None, at_ms: int) -> None:
        """What is voted for belongs to the epoch, and does not stand on the epoch's last block."""
        if header is None:
            return
        self.demand(header.epoch == epoch, f"{here} voted for a block of epoch {header.epoch}", at_ms)
        parent = self._headers.get(header.parent)
        beyond = parent is not None and parent.ends_epoch and parent.epoch == epoch
        self.demand(not beyond, f"{here} voted for a block beyond the last of its epoch", at_ms)
