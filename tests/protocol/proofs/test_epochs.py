"""Proofs across epochs: checked from the genesis, from a checkpoint, or from both, and files of each kind."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from protocol import limits
from protocol.codec.canonical import encode
from protocol.crypto.hashing import block_digest
from protocol.errors import BadProof, ForkShown, GenesisMismatch
from protocol.ledger import keys, tree
from protocol.proofs import bundle, final, inclusion
from protocol.proofs.explaining import explain
from protocol.proofs.final import FinalityProof
from protocol.proofs.inclusion import InclusionProof
from protocol.proofs.light import EpochHop
from protocol.types.block import Header
from protocol.types.institutions import Authority, AuthoritySet
from protocol.types.votes import FINALIZE, Certificate, VoteSubject


def prove(epochs: Any, patient: Any, number: int, first_epoch: int = 0) -> InclusionProof:
    world = epochs.world
    needed = inclusion.events_needed(world.chart(patient), number)
    return inclusion.prove(
        world.head,
        world.certificate(),
        chart=patient.chart,
        leaf=world.leaves[keys.chart(patient.chart)],
        state_path=tree.prove(world.nodes, keys.chart(patient.chart)),
        number=number,
        events=[world.events[(patient.chart, at)] for at in needed],
        hops=hops(epochs, first_epoch),
    )


def hops(epochs: Any, first_epoch: int = 0) -> tuple[Any, ...]:
    """From this epoch up to the head's."""
    return tuple(hop for hop in epochs.hops if first_epoch <= hop.header.epoch < epochs.world.head.epoch)


@pytest.fixture
def story(epochs: Any) -> Any:
    """A chart opened in epoch 0; then somebody joins, a founder leaves, and parameters change; `kept` is of epoch 2."""
    world = epochs.world
    epochs.patient = world.open_chart()
    epochs.join()
    epochs.leave(0)
    world.append(epochs.patient)
    epochs.kept = epochs.checkpoint()
    epochs.parameters(60_000)
    world.block()
    return epochs


def test_from_the_genesis_alone(story: Any) -> None:
    genesis = story.world.genesis
    claim = inclusion.check(prove(story, story.patient, 1), genesis)
    assert (claim.header, claim.header.epoch, claim.signers) == (story.world.head, 3, (1, 2, 3))
    assert [end.epoch for end in claim.final.ends] == [0, 1, 2]
    text = " ".join(explain(claim, genesis))
    assert "3 epochs were passed, from epoch 0 on, the last of them ended by block" in text
    assert "finalized by 3 of 4 authorities: Oakfield Clinic, St. Anne's Laboratory, Harbour Hospital." in text


def test_from_a_checkpoint_alone(story: Any) -> None:
    for first_epoch in (2, 0):  # what lies before the checkpoint's epoch need not be there
        claim = inclusion.check(prove(story, story.patient, 1, first_epoch), None, checkpoint=story.kept)
        assert [end.epoch for end in claim.final.ends] == [2]
        text = " ".join(explain(claim, None))
        assert f"On chain {story.world.head.chain.hex()}, event 1 of chart 0 is final: institution 0 recorded" in text
        assert "1 epoch was passed, from epoch 2 on" in text


def test_from_both(story: Any) -> None:
    genesis = story.world.genesis
    whole = inclusion.check(prove(story, story.patient, 0), genesis, checkpoint=story.kept)
    assert len(whole.final.ends) == 3
    later = inclusion.check(prove(story, story.patient, 0, 2), genesis, checkpoint=story.kept)
    assert (len(later.final.ends), later.final.network) == (1, "testing")


def test_what_a_proof_cannot_be_checked_by(story: Any) -> None:
    genesis, proof = story.world.genesis, prove(story, story.patient, 0)
    other = replace(genesis, name="another network")
    with pytest.raises(BadProof, match="genesis: neither"):
        inclusion.check(proof, None)
    with pytest.raises(GenesisMismatch, match="the proof is of chain"):
        inclusion.check(proof, other)
    with pytest.raises(BadProof, match="epoch: the proof begins in epoch 2, and what it is checked by is of epoch 0"):
        inclusion.check(prove(story, story.patient, 0, 2), genesis)
    later = story.checkpoint()
    old = FinalityProof(story.kept.header, (), story.kept.certificate, hops(story)[:2])
    assert final.check(old, genesis=genesis).header.epoch == 2
    with pytest.raises(BadProof, match="epoch: the proof is of epoch 2, and the checkpoint of 3"):
        final.check(old, checkpoint=later)
    with pytest.raises(BadProof, match="epoch: "):
        inclusion.check(replace(proof, hops=proof.hops[:-1]), genesis)
    with pytest.raises(BadProof, match="epoch: "):
        inclusion.check(replace(proof, hops=(proof.hops[0], proof.hops[2])), genesis)
    with pytest.raises(BadProof, match="epoch: "):
        inclusion.check(replace(proof, hops=(*proof.hops, proof.hops[2])), genesis)


def test_a_checkpoint_of_another_chain_is_told_apart(story: Any) -> None:
    proof = prove(story, story.patient, 0)
    foreign = replace(story.kept, header=replace(story.kept.header, chain=bytes(32)))
    with pytest.raises(GenesisMismatch, match="the checkpoint is of chain"):
        inclusion.check(proof, story.world.genesis, checkpoint=foreign)
    with pytest.raises(BadProof, match=r"certificate: |chain: "):
        inclusion.check(proof, None, checkpoint=foreign)


def test_a_proof_of_a_rewritten_chain_meets_the_checkpoint(story: Any, new_epochs: Any) -> None:
    rewritten = new_epochs()
    world = rewritten.world
    world.wait(5_000)
    patient = world.open_chart()
    rewritten.join()
    rewritten.leave(0)
    rewritten.parameters(60_000)
    world.block()
    proof = prove(rewritten, patient, 0)
    inclusion.check(proof, story.world.genesis)  # the genesis alone cannot tell
    with pytest.raises(ForkShown):
        inclusion.check(proof, story.world.genesis, checkpoint=story.kept)


def test_finality_alone_and_the_checkpoint_made_of_it(story: Any) -> None:
    world = story.world
    proof = FinalityProof(world.head, (), world.certificate(), hops(story))
    shown = final.check(bundle.read_final(bundle.write(proof)), genesis=world.genesis)
    assert shown.checkpoint == story.checkpoint()
    assert bundle.read_checkpoint(bundle.write_checkpoint(shown.checkpoint)) == shown.checkpoint
    lines = explain(shown, world.genesis)
    assert f"On the network 'testing', block {world.head.height} of 2025-06-15" in lines[0]
    assert block_digest(world.head).hex() in lines[0]
    assert "Not shown" in lines[-1]
    with pytest.raises(BadProof, match="file: it holds a proof of a block, not of an event"):
        bundle.read_inclusion(bundle.write(proof))
    with pytest.raises(BadProof, match="file: it holds a proof of an event, not of a block"):
        bundle.read_final(bundle.write(prove(story, story.patient, 0)))
    with pytest.raises(BadProof, match="checkpoint file: "):
        bundle.read_checkpoint(bundle.write(proof))
    with pytest.raises(BadProof, match="file: "):
        bundle.read(bundle.write_checkpoint(shown.checkpoint))


def test_a_proof_carries_a_bounded_number_of_epochs(story: Any) -> None:
    hop = story.hops[0]
    proof = FinalityProof(story.world.head, (), story.world.certificate(), (hop,) * limits.HOPS_PER_PROOF)
    data = bundle.write(proof)
    assert bundle.read_final(data) == proof
    with pytest.raises(BadProof, match="file: "):
        bundle.read(bundle.write(replace(proof, hops=(hop,) * (limits.HOPS_PER_PROOF + 1))))


def test_the_largest_proof_fits_a_file() -> None:
    most = limits.U53
    seats = tuple(Authority(limits.INSTITUTIONS - 1, bytes(32), most) for _ in range(limits.AUTHORITIES))
    header = Header(2**16 - 1, bytes(32), most, most, bytes(32), most, most, bytes(32), bytes(32), bytes(32))
    subject = VoteSubject(FINALIZE, bytes(32), most, most, most, bytes(32))
    votes = tuple((index, bytes(64)) for index in range(limits.AUTHORITIES))
    hop = EpochHop(header, Certificate(subject, votes), AuthoritySet(most, seats))
    proof = FinalityProof(header, (header,) * limits.HEADERS_PER_PROOF, hop.certificate, (hop,) * limits.HOPS_PER_PROOF)
    data = bundle.write(proof)
    assert len(data) < limits.FRAME_BYTES - 256 * 1024  # which leaves room for an event and its paths
    assert bundle.read(data) == proof


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_byte_of_a_file_that_leads_through_epochs_can_be_changed(story_files: Any, data: st.DataObject) -> None:
    genesis, files, kept = story_files
    kind = data.draw(st.sampled_from(["inclusion", "final", "checkpoint"]))
    raw = files[kind]
    at, mask = data.draw(st.integers(0, len(raw) - 1)), data.draw(st.integers(1, 255))
    edited = raw[:at] + bytes([raw[at] ^ mask]) + raw[at + 1 :]
    checks = {
        "inclusion": lambda: inclusion.check(bundle.read_inclusion(edited), genesis),
        "final": lambda: final.check(bundle.read_final(edited), genesis=genesis),
        "checkpoint": lambda: inclusion.check(kept, genesis, checkpoint=bundle.read_checkpoint(edited)),
    }
    with pytest.raises((BadProof, GenesisMismatch)):
        checks[kind]()


@pytest.fixture(scope="module")
def story_files(new_epochs: Any) -> Any:
    epochs = new_epochs()
    world = epochs.world
    patient = world.open_chart()
    epochs.join()
    epochs.leave(0)
    kept = epochs.checkpoint()
    world.append(patient, custodian=0)
    proof = prove(epochs, patient, 1)
    last = FinalityProof(world.head, (), world.certificate(), hops(epochs))
    files = {
        "inclusion": bundle.write(proof),
        "final": bundle.write(last),
        "checkpoint": bundle.write_checkpoint(kept),
    }
    assert encode(kept) in files["checkpoint"]
    return world.genesis, files, proof
