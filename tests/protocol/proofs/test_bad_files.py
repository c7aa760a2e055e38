"""Proof files that were changed, cut short, or made by whoever may not: a named error, and which check it was."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from protocol.codec.canonical import encode
from protocol.consensus.quorum import finalize, notarize
from protocol.crypto.hashing import block_digest
from protocol.crypto.signing import sign_vote, verify
from protocol.errors import BadProof, ChartledgerError, ForkShown, GenesisMismatch
from protocol.proofs import bundle, final, scan
from protocol.proofs.final import FinalityProof
from protocol.proofs.light import Checkpoint
from protocol.types.votes import Certificate
from tests.protocol.proofs.proving import DATA, story

cached = lru_cache(maxsize=1 << 16)(verify)
"""Real verification; a signature that was verified once is remembered, as nothing about it can change."""
KINDS = ("record", "opened", "history", "part", "field", "grant", "no-grant", "past", "erasure", "block")


class Files:
    """One true file of each kind, at the head of a chain of two epochs."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.prover, self.proofs = story(world)
        self.raw = {kind: bundle.write(proof) for kind, proof in self.proofs.items()}

    def check(self, data: bytes, kind: str, **how: Any) -> Any:
        """What `chartledger verify` does with a file."""
        how = {"genesis": self.world.genesis, "verifier": cached} | how
        return bundle.check(bundle.read(data), record=DATA if kind == "opened" else None, **how)


@pytest.fixture(scope="module")
def files(new_world: Callable[..., Any]) -> Files:
    return Files(new_world())


@pytest.mark.parametrize("kind", KINDS)
def test_no_byte_can_be_changed(files: Files, kind: str) -> None:
    """One bit of each byte; of the smallest kinds every bit."""
    data = files.raw[kind]
    files.check(data, kind)
    draw = random.Random(kind)
    named: set[str] = set()
    for at in range(len(data)):
        bits = range(8) if kind in {"field", "block"} else [draw.randrange(8)]
        for bit in bits:
            edited = data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
            with pytest.raises(ChartledgerError) as refused:
                files.check(edited, kind)
            assert isinstance(refused.value, BadProof | GenesisMismatch)
            named.add(str(refused.value).partition(":")[0])
    assert {"file", "certificate"} <= named


@pytest.mark.parametrize("kind", KINDS)
def test_no_file_is_cut_short_or_goes_on(files: Files, kind: str) -> None:
    data = files.raw[kind]
    for length in range(len(data)):
        with pytest.raises(BadProof, match=r"^file: (it is cut short|it is empty)"):
            bundle.read(data[:length])
    for more in (b"\x00", b"\n", data):
        with pytest.raises(BadProof, match=r"^file: it is longer than its contents"):
            bundle.read(data + more)


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_form_is_the_file_or_is_refused(files: Files, kind: str) -> None:
    data = files.raw[kind]
    text = scan.to_text(data).encode()
    for around in (text, text + b"\n", b"\xef\xbb\xbf" + text + b"\r\n", b"  " + text + b" "):
        files.check(around, kind)
    draw = random.Random(kind)
    for at in range(len(text)):
        edited = text[:at] + bytes([text[at] ^ 1 << draw.randrange(8)]) + text[at + 1 :]
        with pytest.raises(BadProof, match=r"^(text|file): "):
            bundle.read(edited)
    for length in range(len(text)):
        with pytest.raises(BadProof, match=r"^(text|file): "):
            bundle.read(text[:length])


def test_a_form_that_encoding_would_not_write(files: Files) -> None:
    data = files.raw["record"]
    at = data.index(b"\x01", len(bundle.NAME))  # the version: one byte, here written with two
    with pytest.raises(BadProof, match=r"^file: it was changed: these bytes are not the one form"):
        bundle.read(data[:at] + b"\xcc\x01" + data[at + 1 :])


def test_a_text_that_swells_is_refused_before_it_fills_the_memory() -> None:
    with pytest.raises(BadProof, match=r"^text: it holds more than 16777216 bytes"):
        bundle.read(scan.to_text(bytes(17 << 20)).encode())


def test_a_text_whose_end_is_not_the_proofs_end(files: Files) -> None:
    packed = zlib.compress(files.raw["field"], 9)
    for changed, sentence in (
        (packed[:-2], "it is cut short"),  # of its checksum
        (packed[: len(packed) // 2], "it is cut short"),
        (packed + b"more", "more follows after its end"),
    ):
        with pytest.raises(BadProof, match=f"^text: {sentence}"):
            bundle.read((scan.PREFIX + scan._base45(changed) + scan.END).encode())


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=scan._DIGITS, max_size=80))
def test_garbage_behind_the_prefix(text: str) -> None:
    with pytest.raises(BadProof):
        bundle.read((scan.PREFIX + text + scan.END).encode())


@pytest.mark.parametrize("kind", KINDS)
def test_another_chain_and_another_epoch(files: Files, kind: str) -> None:
    data, world = files.raw[kind], files.world
    with pytest.raises(GenesisMismatch, match="of chain"):
        files.check(data, kind, genesis=replace(world.genesis, name="other"))
    with pytest.raises(BadProof, match=r"^genesis: neither"):
        files.check(data, kind, genesis=None)
    head = files.proofs["block"]
    later = Checkpoint(world.head, world.certificate(), replace(world.authorities(), epoch=2))
    with pytest.raises(BadProof, match=r"^epoch: "):
        files.check(data, kind, genesis=None, checkpoint=later)
    assert head.header.epoch == 1


def test_an_epoch_without_its_hop_and_with_a_forged_one(files: Files) -> None:
    proof = files.proofs["grant"]
    bare = replace(proof, anchor=replace(proof.anchor, hops=()))
    with pytest.raises(BadProof, match=r"^epoch: the proof begins in epoch 1"):
        bundle.check(bare, genesis=files.world.genesis)
    (hop,) = proof.anchor.hops
    forged = replace(hop, certificate=replace(hop.certificate, signatures=hop.certificate.signatures[:2]))
    broken = replace(proof, anchor=replace(proof.anchor, hops=(forged,)))
    with pytest.raises(BadProof, match=r"^certificate: 2 signatures are no quorum of 4.*\(epoch hop 1 of 1\)"):
        bundle.check(broken, genesis=files.world.genesis)


def signed(files: Files, subject: Any, *who: tuple[int, int]) -> Certificate:
    """A certificate over `subject` by (index, institution whose key signs)."""
    keys = files.world.vote_keys
    return Certificate(subject, tuple((index, sign_vote(keys[key], subject, index).signature) for index, key in who))


def test_quorums_that_are_none(files: Files) -> None:
    """The epoch's authorities are institutions 0, 1 and 2: all of them have to sign, and 3 has lost its vote."""
    world, proof = files.world, files.proofs["grant"]
    block = block_digest(world.head)
    good = finalize(world.head.chain, 1, 5, block)
    honest = ((0, 0), (1, 1), (2, 2))
    cases: list[tuple[Certificate, str]] = [
        (signed(files, good, (0, 0), (1, 1)), "2 signatures are no quorum of 3: 3 are needed"),
        (signed(files, good, (0, 0), (1, 1), (1, 1)), "indexes do not ascend"),
        (signed(files, good, (0, 0), (2, 2), (1, 1)), "indexes do not ascend"),
        (signed(files, good, (0, 0), (1, 1), (2, 1)), "signature 3 of 3, that of authority 2, does not verify"),
        (signed(files, good, (0, 0), (1, 1), (2, 3)), "signature 3 of 3, that of authority 2, does not verify"),
        (signed(files, good, (3, 3), *honest), "indexes do not ascend"),
        (signed(files, good, *honest, (3, 3)), "there is no authority 3 among 3"),
        (signed(files, notarize(world.head.chain, 1, 5, 4, block), *honest), "it does not finalize this header"),
        (signed(files, finalize(world.head.chain, 1, 5, bytes(32)), *honest), "it does not finalize this header"),
        (signed(files, finalize(bytes(32), 1, 5, block), *honest), "is of another chain"),
        (signed(files, finalize(world.head.chain, 0, 5, block), *honest), "is of epoch 0, not 1"),
    ]
    for certificate, sentence in cases:
        forged = replace(proof, anchor=replace(proof.anchor, certificate=certificate))
        with pytest.raises(BadProof, match=rf"^certificate: .*{sentence}"):
            bundle.check(forged, genesis=world.genesis)
    kept = signed(files, good, *honest)
    bundle.check(replace(proof, anchor=replace(proof.anchor, certificate=kept)), genesis=world.genesis)


def test_a_fork_is_shown_against_a_checkpoint(files: Files) -> None:
    """More than a third conspire and sign another block at the checkpoint's height."""
    world = files.world
    other = replace(world.head, state_root=bytes(32))
    subject = finalize(other.chain, 1, 7, block_digest(other))
    proof = FinalityProof(other, (), signed(files, subject, (0, 0), (1, 1), (2, 2)), files.prover.hops)
    kept = Checkpoint(world.head, world.certificate(), world.authorities())
    assert final.check(proof, genesis=world.genesis).header == other  # the genesis alone cannot tell
    with pytest.raises(ForkShown, match=r"^fork: two different blocks are final at height \d+: more than a third"):
        bundle.check(proof, genesis=world.genesis, checkpoint=kept)


def test_a_header_that_was_changed_or_taken_from_a_fork(files: Files) -> None:
    proof = files.proofs["history"]
    for change in ({"state_root": bytes(32)}, {"height": 3}, {"timestamp": 5}, {"parent": bytes(32)}):
        anchor = replace(proof.anchor, header=replace(proof.anchor.header, **change))
        with pytest.raises(BadProof, match=r"^certificate: it does not finalize this header"):
            bundle.check(replace(proof, anchor=anchor), genesis=files.world.genesis)


def test_a_proof_of_a_grant_is_of_the_grant_that_it_was_made_for(files: Files) -> None:
    for kind in ("past", "no-grant"):
        for change in ({"grant": 7}, {"institution": 3}, {"institution": None}, {"checksum": 0}):
            with pytest.raises(BadProof, match=r"^grant: the file was changed"):
                bundle.check(replace(files.proofs[kind], **change), genesis=files.world.genesis)


def test_a_file_of_another_kind_is_named(files: Files) -> None:
    with pytest.raises(BadProof, match="it holds a proof of a chart's history, not of a block"):
        bundle.read_final(files.raw["history"])
    with pytest.raises(BadProof, match="record: the proof is of an erasure, and shows no record's bytes"):
        bundle.check(files.proofs["erasure"], genesis=files.world.genesis, record=b"x")
    for kind in KINDS:
        with pytest.raises(BadProof, match=r"^checkpoint file: "):
            bundle.read_checkpoint(files.raw[kind])
    unknown = encode([bundle.NAME, bundle.VERSION, [99]])
    with pytest.raises(BadProof, match=r"^file: it holds what this version does not know"):
        bundle.read(unknown)
