"""What a traitor is, what it can reach, and how traitors act in concert.

A traitor sits between an otherwise honest machine and the network: it alters, withholds or adds to what that machine
would send, tampers with what it builds, swallows what arrives, and acts by itself when the clock ticks. It has its own
keys of all epochs and those of its allies, and no others: nobody forges a signature. Relies on the host for delivery;
addresses are whatever the host calls its peers, and a traitor only hands them back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import Protocol

import msgspec

from node.simulation.patients.standing import Standing
from protocol.crypto.hashing import block_digest, transaction_digest
from protocol.crypto.merkle import merkle_root
from protocol.sync.messages import FinalRange
from protocol.types.base import ZERO_DIGEST
from protocol.types.block import Block, Header
from protocol.types.institutions import AuthoritySet
from protocol.types.operations import Operation
from protocol.types.votes import (
    FINALIZE,
    NOTARIZE,
    NULLIFY,
    Certificate,
    ConsensusMessage,
    Proposal,
    Vote,
    VoteSubject,
)

Lies = Iterable[tuple[int, ConsensusMessage]]
"""(address, message): what goes out instead of the honest message."""

SEEN_MAX = 400  # messages that a traitor remembers, the oldest go first


class HostFacade(Protocol):
    """What a traitor sees of the node that it has taken over. Times are milliseconds of virtual time."""

    @property
    def number(self) -> int:
        """The host's address, as others send to it."""

    @property
    def institution(self) -> int:
        """Its institution's number."""

    @property
    def chain(self) -> bytes:
        """The chain's id."""

    @property
    def epoch(self) -> int:
        """The epoch of its machine."""

    @property
    def index(self) -> int | None:
        """Its index in that epoch's set, None without authority."""

    @property
    def authorities(self) -> AuthoritySet:
        """That epoch's set."""

    @property
    def view(self) -> int:
        """Its machine's current view."""

    @property
    def final_view(self) -> int:
        """The newest final view that its machine knows, 0 at the start of an epoch."""

    @property
    def head(self) -> Header:
        """The final head of its machine."""

    @property
    def now_ms(self) -> int:
        """Virtual time."""

    def peers(self) -> Sequence[int]:
        """Addresses of all others."""

    def sign(self, subject: VoteSubject) -> Vote | None:
        """Sign any subject whatever with the key that its institution has, or had, in the subject's epoch, in which
        it may have another index; with the current index if it has none there. None if it never had a vote key."""

    def send(self, to: int, message: ConsensusMessage) -> None:
        """Send now, past the hooks, over the same links as everybody."""

    def misjudged(self, block: Block) -> Block | None:
        """A block that its machine built, with every asking to read decided the other way; None if there is none."""

    def standings(self) -> Sequence[Standing]:
        """Patients' charts, as they stand at its final head."""

    def submit(self, operations: Sequence[Operation]) -> None:
        """Put a transaction of these operations, signed by its institution, under way."""


class Conspiracy:
    """What allied traitors know together: who they are, which camp each honest host is put into, which block is the
    fork of a view. Created once a history, with its own randomness."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.members: list[HostFacade] = []
        self.forks: dict[tuple[int, int], list[Proposal]] = {}
        self._camps: dict[int, int] = {}

    def join(self, host: HostFacade) -> None:
        """A traitor is made; after a restart of its host it is the same member."""
        if host not in self.members:
            self.members.append(host)

    def allied(self, address: int) -> bool:
        """Whether this host is a traitor's."""
        return any(member.number == address for member in self.members)

    def camp(self, address: int) -> int:
        """0 or 1: all allies tell one camp one story and the other another. Drawn anew with `reshuffle`."""
        camp = self._camps.get(address)
        if camp is None:
            camp = self._camps[address] = self.rng.randrange(2)
        return camp

    def reshuffle(self) -> None:
        """Draw the camps again."""
        self._camps.clear()

    def add_fork(self, proposal: Proposal) -> None:
        """Remember the blocks that an ally proposed in one view, at most two."""
        subject = proposal.vote.subject
        forks = self.forks.setdefault((subject.epoch, subject.view), [])
        if len(forks) < 2 and all(fork.vote.subject != subject for fork in forks):
            forks.append(proposal)
        while len(self.forks) > 32:
            del self.forks[next(iter(self.forks))]

    def votes(self, subject: VoteSubject) -> list[Vote]:
        """Every member's vote for this subject."""
        votes = (member.sign(subject) for member in self.members if member.epoch == subject.epoch)
        return [vote for vote in votes if vote is not None]


class Traitor:
    """The base: passes everything on. `lies` counts what it did that no honest node does."""

    kind = "traitor"

    def __init__(self, host: HostFacade, rng: Random, allies: Conspiracy) -> None:
        self.host = host
        self.rng = rng
        self.allies = allies
        self.lies = 0
        allies.join(host)

    def outgoing(self, message: ConsensusMessage, to: Sequence[int]) -> Lies:
        """What goes out instead of `message` to these addresses."""
        return [(address, message) for address in to]

    def incoming(self, sender: int, message: ConsensusMessage) -> bool:
        """Look at what arrived; True swallows it, so that the machine beneath never sees it."""
        return False

    def tick(self, now_ms: int) -> None:
        """Act without occasion: the host calls this a few times a second of virtual time."""

    def answering(self, answer: FinalRange) -> FinalRange:
        """What goes out instead of final blocks that somebody asked for."""
        return answer

    def build(self, block: Block) -> Block:
        """Tamper with a block that the machine is about to propose and to hold valid."""
        return block

    # --- what most kinds need ------------------------------------------------------------------------------------

    def lie(self) -> None:
        """Count one."""
        self.lies += 1

    def tell(self, addresses: Iterable[int], message: ConsensusMessage | None) -> None:
        """Send one message to several, if there is one."""
        if message is not None:
            for address in addresses:
                self.host.send(address, message)


def vote_of(message: ConsensusMessage) -> Vote | None:
    """The vote that a message carries, if it is one or a proposal."""
    if isinstance(message, Proposal):
        return message.vote
    return message if isinstance(message, Vote) else None


def notarize(like: VoteSubject, block: bytes, parent_view: int | None = None) -> VoteSubject:
    """A notarize in the view of `like` for this block's digest."""
    parent = like.parent_view if parent_view is None else parent_view
    return VoteSubject(NOTARIZE, like.chain, like.epoch, like.view, parent, block)


def nullify(like: VoteSubject) -> VoteSubject:
    """A nullify of the view of `like`."""
    return VoteSubject(NULLIFY, like.chain, like.epoch, like.view, 0, ZERO_DIGEST)


def finalize(like: VoteSubject, block: bytes | None = None) -> VoteSubject:
    """A finalize in the view of `like`, of its block if none is named."""
    return VoteSubject(FINALIZE, like.chain, like.epoch, like.view, 0, like.block if block is None else block)


def with_header(block: Block, **fields: object) -> Block:
    """The block with other values in its header."""
    return Block(msgspec.structs.replace(block.header, **fields), block.transactions)


def with_transactions(block: Block, transactions: Sequence[bytes]) -> Block:
    """The block with other transactions, and the root that they have."""
    root = merkle_root([transaction_digest(raw) for raw in transactions])
    return Block(msgspec.structs.replace(block.header, transactions_root=root), tuple(transactions))


def twin_of(block: Block) -> Block:
    """Another block at the same place which is as valid: a moment later, or without the last millisecond's worth.

    Only the time differs, so a voter finds nothing wrong with either.
    """
    return with_header(block, timestamp=block.header.timestamp + 1)


def proposal(host: HostFacade, block: Block, like: VoteSubject, parent_view: int | None = None) -> Proposal | None:
    """This block proposed in the view of `like`, signed by the host; None if it cannot sign."""
    vote = host.sign(notarize(like, block_digest(block.header), parent_view))
    return None if vote is None else Proposal(block, vote)


def quorum_of(members: int) -> int:
    """Votes that make a certificate among so many authorities (docs/spec/consensus.md)."""
    return members - (members - 1) // 3


def certificate_of(subject: VoteSubject, votes: Iterable[Vote]) -> Certificate:
    """A certificate over `subject` from whatever votes there are, valid or not."""
    signatures = {vote.index: vote.signature for vote in votes}
    return Certificate(subject, tuple(sorted(signatures.items())) or ((0, bytes(64)),))
