"""One real machine among four authorities of which the test plays the other three."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from protocol.consensus.effects import Effect, Finalized, Persist, Record, Send
from protocol.consensus.events import Built, Event, Received, Started, TimerFired, Validated, Verdict, WorkChanged
from protocol.consensus.machine import Config, FinalHead, Machine
from protocol.consensus.quorum import finalize, notarize, nullify
from protocol.crypto.hashing import block_digest, transaction_digest
from protocol.crypto.merkle import merkle_root
from protocol.crypto.signing import SigningKey, sign_vote, verify
from protocol.types.block import BLOCK_VERSION, Block, Header
from protocol.types.votes import Certificate, ConsensusMessage, Proposal, Vote, VoteSubject

CHAIN = b"\x07" * 32
DELTA_MS, CAP_MS = 100, 2_000
KEYS = [SigningKey(bytes([i]) * 32) for i in range(1, 5)]
PUBLIC = tuple(key.public for key in KEYS)
INSTITUTIONS = (10, 11, 12, 13)
GENESIS = Header(BLOCK_VERSION, CHAIN, 0, 0, bytes(32), 0, 0, merkle_root([]), bytes(32), None)

T = TypeVar("T")


def last(parent: Header, leader: int, *raws: bytes) -> Block:
    """A block that ends epoch 0."""
    plain = block(parent, leader, *raws)
    return Block(msgspec.structs.replace(plain.header, next_authorities=b"\x0e" * 32), raws)


def block(parent: Header, leader: int, *raws: bytes) -> Block:
    root = merkle_root([transaction_digest(raw) for raw in raws])
    return Block(
        Header(
            BLOCK_VERSION,
            CHAIN,
            0,
            parent.height + 1,
            block_digest(parent),
            INSTITUTIONS[leader],
            1,
            root,
            bytes(32),
            None,
        ),
        raws,
    )


def vote(subject: VoteSubject, index: int) -> Vote:
    return sign_vote(KEYS[index], subject, index)


def notarize_of(b: Block, view: int, parent_view: int) -> VoteSubject:
    return notarize(CHAIN, 0, view, parent_view, block_digest(b.header))


def nullify_of(view: int) -> VoteSubject:
    return nullify(CHAIN, 0, view)


def in_epoch(subject: VoteSubject, epoch: int) -> VoteSubject:
    """The same subject in another epoch."""
    return msgspec.structs.replace(subject, epoch=epoch)


def finalize_of(b: Block, view: int) -> VoteSubject:
    return finalize(CHAIN, 0, view, block_digest(b.header))


def certificate(subject: VoteSubject, *indexes: int) -> Certificate:
    return Certificate(subject, tuple((i, vote(subject, i).signature) for i in indexes or (0, 1, 2)))


def proposal(b: Block, view: int, parent_view: int) -> Proposal:
    return Proposal(b, vote(notarize_of(b, view, parent_view), view % 4))


class Bench:
    """The machine, its journal and its clock. `signed` holds every subject that it ever signed."""

    def __init__(
        self,
        index: int | None = 3,
        final: FinalHead | None = None,
        journal: list[Record] | None = None,
        epoch: int = 0,
        former: Certificate | None = None,
    ) -> None:
        self.index = index
        self.now_ms = 1_000
        self.journal: list[Record] = list(journal or [])
        self.signed: list[VoteSubject] = []
        self.verified = 0
        self.final = final or FinalHead(GENESIS, None)
        config = Config(CHAIN, epoch, PUBLIC, INSTITUTIONS, index, DELTA_MS, CAP_MS, 1 << 20, 4)
        self.machine = Machine(config, list(self.journal), self.final, self._verify, self._sign, former)
        self.do(Started())

    def _verify(self, public: bytes, message: bytes, signature: bytes) -> bool:
        self.verified += 1
        return verify(public, message, signature)

    def _sign(self, subject: VoteSubject) -> Vote:
        assert self.index is not None
        self.signed.append(subject)
        return vote(subject, self.index)

    def restart(self) -> Bench:
        """The same authority again, from its journal."""
        return Bench(self.index, self.final, self.journal)

    def do(self, event: Event, after_ms: int = 0) -> list[Effect]:
        self.now_ms += after_ms
        effects = self.machine.step(event, self.now_ms)
        self.journal += [e.record for e in effects if isinstance(e, Persist)]
        return effects

    def get(self, message: ConsensusMessage, sender: int | None = 0) -> list[Effect]:
        return self.do(Received(sender, message))

    def work(self) -> list[Effect]:
        return self.do(WorkChanged(True))

    def answer(self, b: Block, view: int, verdict: Verdict = Verdict.VALID) -> list[Effect]:
        return self.do(Validated(view, block_digest(b.header), verdict))

    def built(self, b: Block | None, view: int, parent_view: int) -> list[Effect]:
        return self.do(Built(view, parent_view, b))


def only(kind: type[T], effects: list[Effect]) -> list[T]:
    return [e for e in effects if isinstance(e, kind)]


def sent(effects: list[Effect]) -> list[ConsensusMessage]:
    return [e.message for e in effects if isinstance(e, Send)]


A = block(GENESIS, 1, b"a")
OTHER = block(GENESIS, 1, b"b")


def fire(bench: Bench, after_ms: int) -> list[Effect]:
    return bench.do(TimerFired(bench.machine._serial), after_ms)


def final_a(bench: Bench) -> Bench:
    """A is final in view 1, all is quiet, and the machine is in view 2."""
    bench.get(proposal(A, 1, 0), 1)
    bench.answer(A, 1)
    bench.get(certificate(notarize_of(A, 1, 0)))
    effects = bench.get(certificate(finalize_of(A, 1)))
    assert [e.blocks for e in only(Finalized, effects)] == [(A,)]
    return bench


E = last(GENESIS, 1, b"e")
F = last(GENESIS, 2, b"f")
NEXT = FinalHead(E.header, None)


def others(me: int) -> tuple[int, ...]:
    return tuple(index for index in range(4) if index != me)


def notarized(bench: Bench) -> Bench:
    """E is notarized in view 1 and validated here; the machine is in view 2."""
    assert bench.index is not None
    bench.get(proposal(E, 1, 0), 1)
    bench.answer(E, 1)
    bench.get(certificate(notarize_of(E, 1, 0), *others(bench.index)))
    assert bench.machine.view == 2
    return bench
