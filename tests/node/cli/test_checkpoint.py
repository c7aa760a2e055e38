"""What a node must show before an operator replaces a checkpoint: whatever it answers, nothing lower or beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from node.cli import proof
from protocol.crypto.hashing import block_digest
from protocol.crypto.signing import SigningKey, sign_vote
from protocol.errors import BadProof, ForkShown
from protocol.ledger.blocks import build_block
from protocol.ledger.genesis import authority_set, genesis_block
from protocol.params import Params
from protocol.proofs import bundle
from protocol.proofs.final import FinalityProof
from protocol.proofs.light import Checkpoint
from protocol.types.block import Header
from protocol.types.institutions import STATUS_ACCREDITED, Genesis, Institution
from protocol.types.votes import FINALIZE, Certificate, VoteSubject

VOTE_KEY = SigningKey(bytes([2]) * 32)
ONE = Institution(
    "One", STATUS_ACCREDITED, (SigningKey(bytes([1]) * 32).public,), VOTE_KEY.public, (b"der",), 1, bytes(32)
)
GENESIS = Genesis("one", 1_000, Params(), (ONE,), (0,))


def certificate(header: Header) -> Certificate:
    subject = VoteSubject(FINALIZE, header.chain, 0, header.height, 0, block_digest(header))
    vote = sign_vote(VOTE_KEY, subject, 0)
    return Certificate(subject, ((vote.index, vote.signature),))


def chain(pace_ms: int) -> list[Header]:
    """Five final headers above the genesis; another pace makes another chain of the same authority."""
    headers = [genesis_block(GENESIS).header]
    for _ in range(5):
        at = headers[-1]
        headers.append(build_block(at, 0, at.timestamp + pace_ms, (), at.state_root).header)
    return headers


MINE, OTHER = chain(1_000), chain(1_001)


class Node:
    """Answers with these headers: for the checkpoint's height, and for its head."""

    def __init__(self, former: Header, head: Header) -> None:
        self.former, self.head = former, head

    def final_proof(self, epoch: int = 0, height: int | None = None) -> bytes:
        header = self.head if height is None else self.former
        return bundle.write(FinalityProof(header, (), certificate(header), ()))


def renew(monkeypatch: pytest.MonkeyPatch, folder: Path, node: Node) -> Header:
    """Replace a checkpoint at height 3 by what the node shows; the new one's header."""
    kept = folder / "kept"
    kept.write_bytes(bundle.write_checkpoint(Checkpoint(MINE[3], certificate(MINE[3]), authority_set(GENESIS))))

    @contextmanager
    def connect(_socket: Path) -> Iterator[Node]:
        yield node

    monkeypatch.setattr(proof, "connect", connect)
    proof.checkpoint(folder / "new", genesis=None, former=kept, socket=folder / "socket", as_json=True)
    return bundle.read_checkpoint((folder / "new").read_bytes()).header


def test_the_checkpoints_own_block_and_a_later_one_make_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert renew(monkeypatch, tmp_path, Node(MINE[3], MINE[5])) == MINE[5]
    assert renew(monkeypatch, tmp_path, Node(MINE[3], MINE[3])) == MINE[3]


REFUSED = [
    (Node(OTHER[3], OTHER[5]), ForkShown, "two different blocks are final at height 3"),
    (Node(OTHER[5], OTHER[5]), BadProof, "shows block 5, and was asked for block 3"),
    (Node(MINE[1], OTHER[5]), BadProof, "shows block 1, and was asked for block 3"),
    (Node(MINE[3], MINE[2]), BadProof, "shows block 2, and was asked for block 3"),
    (Node(MINE[3], replace(OTHER[4], chain=MINE[3].chain)), ForkShown, "cannot stand on one chain"),
]


@pytest.mark.parametrize(("node", "error", "sentence"), REFUSED)
def test_nothing_beside_or_below_it_replaces_a_checkpoint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, node: Node, error: type[BadProof], sentence: str
) -> None:
    """A node of a rewritten chain whose head fits above the checkpoint gets by with no block at another height."""
    with pytest.raises(error, match=sentence):
        renew(monkeypatch, tmp_path, node)
    assert not (tmp_path / "new").exists()
