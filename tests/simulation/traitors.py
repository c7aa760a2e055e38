"""Authorities that break the rules with their own keys: each turns what an honest machine would send into lies."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import msgspec

from protocol.consensus.quorum import finalize, notarize, nullify
from protocol.crypto.hashing import block_digest, transaction_digest
from protocol.crypto.merkle import merkle_root
from protocol.types.block import Block, Header
from protocol.types.votes import FINALIZE, NOTARIZE, ConsensusMessage, Proposal, Vote, VoteSubject

Sign = Callable[[VoteSubject], Vote]
Head = tuple[Header, int]
Lies = list[tuple[int, ConsensusMessage]]


def _another(block: Block, note: bytes) -> Block:
    transactions = (*block.transactions, note)
    root = merkle_root([transaction_digest(raw) for raw in transactions])
    return Block(msgspec.structs.replace(block.header, transactions_root=root), transactions)


def equivocator(message: ConsensusMessage, peers: list[int], sign: Sign, rng: Random, head: Head) -> Lies:
    """Two blocks to two halves, and notarize votes for each."""
    if not isinstance(message, Proposal):
        return [(peer, message) for peer in peers]
    subject = message.vote.subject
    twin = _another(message.block, b"twin%d" % subject.view)
    other = sign(msgspec.structs.replace(subject, block=block_digest(twin.header)))
    lies: Lies = []
    for peer in peers:
        both = [(peer, message), (peer, Proposal(twin, other))]
        lies += [both[rng.randrange(2)]] if rng.random() < 0.8 else both
    return lies


def double_voter(message: ConsensusMessage, peers: list[int], sign: Sign, rng: Random, head: Head) -> Lies:
    """Nullifies and finalizes whatever it notarizes."""
    lies: Lies = [(peer, message) for peer in peers]
    vote = message.vote if isinstance(message, Proposal) else message
    if isinstance(vote, Vote) and vote.subject.kind == NOTARIZE:
        s = vote.subject
        more = (nullify(s.chain, s.epoch, s.view), finalize(s.chain, s.epoch, s.view, s.block))
        lies += [(peer, sign(subject)) for peer in peers for subject in more if rng.random() < 0.7]
    return lies


def withholder(message: ConsensusMessage, peers: list[int], sign: Sign, rng: Random, head: Head) -> Lies:
    """Sends each thing to some only."""
    return [(peer, message) for peer in peers if rng.random() < 0.5]


def nuller(message: ConsensusMessage, peers: list[int], sign: Sign, rng: Random, head: Head) -> Lies:
    """Nullifies each view that it votes in, and never finalizes."""
    vote = message.vote if isinstance(message, Proposal) else message
    if isinstance(vote, Vote) and vote.subject.kind in (NOTARIZE, FINALIZE):
        s = vote.subject
        return [(peer, sign(nullify(s.chain, s.epoch, s.view))) for peer in peers]
    return [(peer, message) for peer in peers]


def liar_about_parents(message: ConsensusMessage, peers: list[int], sign: Sign, rng: Random, head: Head) -> Lies:
    """Proposes on view 0 whatever happened since, or puts foreign transactions behind its header."""
    if not isinstance(message, Proposal):
        return [(peer, message) for peer in peers]
    s = message.vote.subject
    if rng.random() < 0.5:
        false = Proposal(Block(message.block.header, (*message.block.transactions, b"foreign")), message.vote)
    else:
        false = Proposal(message.block, sign(notarize(s.chain, s.epoch, s.view, 0, s.block)))
    return [(peer, false) for peer in peers]


def proposer_of_invalid(message: ConsensusMessage, peers: list[int], sign: Sign, rng: Random, head: Head) -> Lies:
    """Signs blocks that contain a transaction twice."""
    if not isinstance(message, Proposal) or rng.random() < 0.3:
        return [(peer, message) for peer in peers]
    false = _another(_another(message.block, b"twice"), b"twice")
    vote = sign(msgspec.structs.replace(message.vote.subject, block=block_digest(false.header)))
    return [(peer, Proposal(false, vote)) for peer in peers]


def forker(message: ConsensusMessage, peers: list[int], sign: Sign, rng: Random, head: Head) -> Lies:
    """Proposes on its final head whatever was notarized since, and lies about the view that this is from."""
    if not isinstance(message, Proposal):
        return [(peer, message) for peer in peers]
    header, view = head
    s = message.vote.subject
    forked = msgspec.structs.replace(message.block.header, parent=block_digest(header), height=header.height + 1)
    parent_view = rng.choice((view, s.parent_view, s.view - 1))
    vote = sign(notarize(s.chain, s.epoch, s.view, parent_view, block_digest(forked)))
    return [(peer, Proposal(Block(forked, message.block.transactions), vote)) for peer in peers]


KINDS: dict[str, Callable[[ConsensusMessage, list[int], Sign, Random, Head], Lies]] = {
    "equivocator": equivocator,
    "double_voter": double_voter,
    "withholder": withholder,
    "nuller": nuller,
    "liar_about_parents": liar_about_parents,
    "proposer_of_invalid": proposer_of_invalid,
    "forker": forker,
}
