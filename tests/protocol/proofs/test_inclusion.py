"""Inclusion proofs: shown from the genesis alone, and each way to forge one named by the check that it fails."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from protocol import limits
from protocol.codec.canonical import encode
from protocol.consensus.quorum import finalize, notarize
from protocol.crypto.commitments import Opening, bytes_proof, commit
from protocol.crypto.fields import json_fields
from protocol.crypto.hashing import block_digest
from protocol.crypto.signing import sign_vote, verify
from protocol.errors import BadProof, ChartledgerError, GenesisMismatch
from protocol.ledger import keys, tree
from protocol.ledger.events import ChartOpened, Disclosed, Granted, RecordAppended, Revoked
from protocol.proofs import bundle, inclusion
from protocol.proofs.explaining import explain
from protocol.proofs.inclusion import InclusionProof
from protocol.proofs.wording import calendar
from protocol.types.operations import RecordEntry
from protocol.types.votes import Certificate

DATA = """{"resourceType":"Condition","code":"Müller's"}""".encode()
OPENING = Opening(b"s" * 64, b"o" * 32)


def prove(world: Any, patient: Any, number: int, **changes: Any) -> InclusionProof:
    leaf = world.leaves[keys.chart(patient.chart)]
    needed = inclusion.events_needed(world.chart(patient), number)
    fields = {
        "chart": patient.chart,
        "leaf": leaf,
        "state_path": tree.prove(world.nodes, keys.chart(patient.chart)),
        "number": number,
        "events": [world.events[(patient.chart, at)] for at in needed],
    }
    return inclusion.prove(world.head, world.certificate(), **{**fields, **changes})


@pytest.fixture
def story(world: Any) -> Any:
    """A chart to which everything that there is has happened."""
    patient = world.open_chart()
    commitment = commit(DATA, json_fields(DATA), OPENING)
    world.append(patient, *(RecordEntry(commitment, (bytes(16),) * 4) for _ in range(4)))
    grant = world.grant(patient)
    world.disclose(patient, grant, 1)
    world.disclose(patient, None, 2)
    world.revoke(patient, grant)
    world.open_chart()
    world.story = patient
    return world


def test_every_event_is_shown(story: Any) -> None:
    kinds = []
    for number, event in enumerate(story.history(story.story)):
        proof = bundle.read(bundle.write(prove(story, story.story, number)))
        claim = inclusion.check(proof, story.genesis)
        assert (claim.chart, claim.number, claim.event, claim.events) == (story.story.chart, number, event, 9)
        assert (claim.signers, claim.record_shown, claim.header) == ((0, 1, 2), False, story.head)
        assert all(line.endswith((".", "!")) for line in explain(claim, story.genesis))
        kinds.append(type(event))
    assert set(kinds) == {ChartOpened, RecordAppended, Granted, Revoked, Disclosed}


def test_the_bytes_at_hand(story: Any) -> None:
    shown = bytes_proof(DATA, json_fields(DATA), OPENING)
    proof = prove(story, story.story, 2, record=shown)
    claim = inclusion.check(proof, story.genesis, record=DATA)
    assert claim.record_shown
    assert "exactly the record" in " ".join(explain(claim, story.genesis))
    with pytest.raises(BadProof, match="record:"):
        inclusion.check(proof, story.genesis, record=DATA + b" ")
    with pytest.raises(BadProof, match="record:"):
        inclusion.check(replace(proof, record=None), story.genesis, record=DATA)
    with pytest.raises(BadProof, match="record:"):
        inclusion.check(prove(story, story.story, 0, record=shown), story.genesis)
    assert not inclusion.check(proof, story.genesis).record_shown


def certificate(world: Any, subject: Any, signers: list[int], forged: int | None = None) -> Certificate:
    def sign(index: int) -> bytes:
        key = world.vote_keys[3 if index == forged else index]
        return sign_vote(key, subject, index).signature

    return Certificate(subject, tuple((index, sign(index)) for index in signers))


def test_forged_certificates(story: Any) -> None:
    proof = prove(story, story.story, 1)
    head = story.head
    block = block_digest(head)
    good = finalize(head.chain, 0, 5, block)
    forgeries = [
        certificate(story, good, [0, 1]),
        certificate(story, good, [0, 1, 1]),
        certificate(story, good, [1, 0, 2]),
        certificate(story, good, [0, 1, 2], forged=2),
        certificate(story, notarize(head.chain, 0, 5, 4, block), [0, 1, 2]),
        certificate(story, finalize(head.chain, 0, 5, b"x" * 32), [0, 1, 2]),
        certificate(story, finalize(b"x" * 32, 0, 5, block), [0, 1, 2]),
        certificate(story, finalize(head.chain, 1, 5, block), [0, 1, 2]),
        certificate(story, finalize(head.chain, 0, 0, block), [0, 1, 2]),
    ]
    for forgery in forgeries:
        with pytest.raises(BadProof, match="certificate:"):
            inclusion.check(replace(proof, certificate=forgery), story.genesis)


def test_another_chain(story: Any, new_world: Any) -> None:
    proof = prove(story, story.story, 1)
    with pytest.raises(GenesisMismatch):
        inclusion.check(proof, replace(story.genesis, name="other"))


def test_every_part_is_bound(story: Any) -> None:
    """Each field replaced by one that belongs to another true proof fails, and the failing check is named."""
    proof = prove(story, story.story, 1)
    other = prove(story, story.story, 5)
    cases = {
        "state: ": {"leaf": encode(replace(story.chart(story.story), owner_key=b"x" * 32))},
        "state: the state ": {"chart": 1},
        "state: step 0": {"state_path": proof.state_path[1:]},
        "state: the state path ends": {"state_path": proof.state_path[:-1]},
        "state: the state path goes on": {"state_path": (*proof.state_path, proof.state_path[0])},
        "history: the path does not lead": {"event": other.event},
        "history: the path does": {"number": 2},
        "history: the path to": {"history_path": proof.history_path[1:]},
        "history: a history of": {"number": 9},
        "certificate: it does not": {"header": replace(story.head, height=3)},
        "epoch: ": {"header": replace(story.head, epoch=1)},
    }
    for sentence, change in cases.items():
        with pytest.raises(BadProof, match=sentence):
            inclusion.check(replace(proof, **change), story.genesis)


def test_no_byte_of_a_file_can_be_changed(story: Any) -> None:
    """Flips each byte of a proof file; signatures are verified for real."""
    shown = bytes_proof(DATA, json_fields(DATA), OPENING)
    data = bundle.write(prove(story, story.story, 2, record=shown))
    inclusion.check(bundle.read(data), story.genesis, record=DATA)
    for at in range(len(data)):
        for mask in (0x01, 0x80):
            edited = data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]
            with pytest.raises(ChartledgerError):
                inclusion.check(bundle.read(edited), story.genesis, verify, DATA)


def test_truncated_files(story: Any) -> None:
    data = bundle.write(prove(story, story.story, 2))
    for length in range(len(data)):
        with pytest.raises(BadProof, match="file:"):
            bundle.read(data[:length])
    with pytest.raises(BadProof, match="file:"):
        bundle.read(data + b"\x00")


@settings(max_examples=200)
@given(st.binary(max_size=400))
def test_garbage(data: bytes) -> None:
    with pytest.raises(BadProof):
        bundle.read(data)


def test_a_prover_cannot_be_handed_too_few_events(story: Any) -> None:
    with pytest.raises(BadProof, match="8 events are needed"):
        prove(story, story.story, 2, events=[])


@given(st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)))
def test_times_read_as_the_calendar_has_them(moment: datetime) -> None:
    time_ms = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    expected = moment.replace(tzinfo=None).isoformat(sep=" ", timespec="milliseconds") + " UTC"
    assert calendar(time_ms) == expected


def test_the_last_time_that_a_header_can_carry_reads_too() -> None:
    assert calendar(limits.U53).startswith("287396-10-12 ")
