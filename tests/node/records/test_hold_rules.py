"""What a holder does not take: each rule of the way in is broken here once, and refused by its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from node.network.interface import Refuse
from node.records import holding
from node.records.errors import HoldRefused, TooMuchHeld
from node.records.holding_messages import HOLD, Handover, HoldRequest, Shares, batch_digest
from node.records.messages import INLINE_BYTES
from protocol.codec.canonical import encode
from protocol.crypto.envelopes import envelope_info, keypair_from_seed, seal_envelope
from protocol.crypto.hashing import blob_id, encryption_key_digest
from protocol.crypto.shares import KeyShare
from protocol.errors import DecodeError, NotAccredited, SealBroken, UnknownChart
from protocol.ledger import keys
from protocol.ledger.leaves import GrantLeaf, decode_grant_head, decode_leaf
from protocol.types.institutions import STATUS_SUSPENDED
from protocol.types.operations import ACCESS_READ, ACCESS_WRITE
from tests.node.records.fake_core import SUITE, seed
from tests.node.records.held import Held, five, held

__all__ = ["five", "held"]

BLOB = b"a sealed record of nobody"


def handover(commitment: bytes = b"c" * 32, **changes: Any) -> Handover:
    made = Handover(commitment, None, blob_id(BLOB), len(BLOB), BLOB, bytes(296), b"envelope")
    return replace(made, **changes)


def request(held: Held, *records: Handover, recipient: int | None = None, shares: int | None = None) -> bytes:
    holder = held.holders[0] if recipient is None else recipient
    public = keypair_from_seed(SUITE, seed(f"encryption {holder}"))[1]
    batch = batch_digest([one.commitment for one in records])
    info = envelope_info(held.world.chain.id, held.world.chart, batch, encryption_key_digest(SUITE, public))
    made = Shares((KeyShare(1, 2, bytes(32)),) * (len(records) if shares is None else shares))
    envelope = seal_envelope(SUITE, public, info, encode(made))
    return encode(HoldRequest(held.world.chart, SUITE, held.world.patient.public, envelope, records))


async def refusal(held: Held, payload: bytes, writer: int = 0) -> str:
    holder = held.hospital(held.holders[0])
    before = await holder.ledger.held.staged_by(writer), await holder.blobs.totals()
    with pytest.raises(Refuse) as refused:
        await holder.records.answer(writer, HOLD, payload)
    assert (await holder.ledger.held.staged_by(writer), await holder.blobs.totals()) == before, "nothing is kept"
    return refused.value.refusal


async def test_what_keeps_to_the_rules_is_taken(held: Held) -> None:
    holder = held.hospital(held.holders[0])
    await holder.records.answer(0, HOLD, request(held, handover()))
    assert (await holder.ledger.held.staged_by(0)).count == 1


async def test_only_who_may_write_to_the_chart_hands_over(held: Held) -> None:
    stranger = held.holders[1]
    assert await refusal(held, request(held, handover()), writer=stranger) == HoldRefused.code
    leaf = await held.reader.core.institution_leaf(0)
    assert leaf is not None
    held.world.chain.view.leaves[keys.institution(0)] = encode(replace(leaf, status=STATUS_SUSPENDED))
    assert await refusal(held, request(held, handover())) == NotAccredited.code


async def test_a_thousand_large_grants_cost_a_holder_little_and_the_last_counts(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is accredited may ask, about a chart made for it: each request would have taken half a second of the
    node's one loop, and 190 MB."""
    view, chart, stranger = held.world.chain.view, held.world.chart, held.holders[1]
    leaf = await held.reader.core.chart(chart)
    grant = decode_leaf(keys.grant(chart, held.grant), view.leaves[keys.grant(chart, held.grant)])
    assert leaf is not None
    assert isinstance(grant, GrantLeaf)
    tags = tuple(bytes([0, *number.to_bytes(2, "big"), *bytes(13)]) for number in range(512))
    grants = 1 << 10
    for number in range(grants):
        access = ACCESS_READ | ACCESS_WRITE if number == grants - 1 else ACCESS_READ
        terms = replace(grant.terms, grantees=(stranger,), tags=(tags, tags, tags, tags), access=access)
        view.leaves[keys.grant(chart, number)] = encode(replace(grant, terms=terms))
    view.leaves[keys.chart(chart)] = encode(replace(leaf, grants=grants))
    asked: list[int] = []
    core = held.hospital(held.holders[0]).core
    leaves = core.leaves

    async def counted(wanted: Sequence[bytes]) -> dict[bytes, bytes]:
        asked.append(len(wanted))
        return await leaves(wanted)

    monkeypatch.setattr(core, "leaves", counted)
    holder = held.hospital(held.holders[0])
    await holder.records.answer(stranger, HOLD, request(held, handover()))
    assert (await holder.ledger.held.staged_by(stranger)).count == 1
    assert max(asked) <= holding.GRANTS_AT_ONCE
    head, whole = decode_grant_head(encode(grant)).terms, grant.terms
    for name in ("grantees", "purposes", "not_before", "not_after", "access"):
        assert getattr(head, name) == getattr(whole, name)


async def test_a_chart_that_there_is_not_is_waited_for_and_refused(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.records.judge.CATCH_UP_S", 0.01)
    held.world.chart = 77
    assert await refusal(held, request(held, handover())) == UnknownChart.code


async def test_bytes_that_are_not_those_of_their_id_are_refused(held: Held) -> None:
    for wrong in (
        handover(blob=BLOB + b"x", blob_bytes=len(BLOB) + 1),
        handover(blob_bytes=len(BLOB) + 1),
        handover(blob=None),
        handover(blob=None, blob_bytes=1 << 50),
    ):
        assert await refusal(held, request(held, wrong)) == HoldRefused.code


async def test_shares_for_another_or_of_another_number_are_refused(held: Held) -> None:
    assert await refusal(held, request(held, handover(), recipient=held.holders[1])) == SealBroken.code
    assert await refusal(held, request(held, handover(), shares=2)) == HoldRefused.code
    assert await refusal(held, request(held, handover(), handover())) == HoldRefused.code
    with pytest.raises(DecodeError):
        await held.hospital(held.holders[0]).records.answer(0, HOLD, b"\xc1")


async def test_a_number_must_be_that_of_the_record_and_of_its_writer(held: Held) -> None:
    true = (await held.event(1)).entry.commitment
    for wrong in (handover(record=1), handover(true, record=2), handover(true, record=0), handover(true, record=4_000)):
        assert await refusal(held, request(held, wrong)) == HoldRefused.code


async def test_nobody_gets_anothers_blob_deleted_by_naming_it(held: Held) -> None:
    """Or its own sweep would take what the other record rests on."""
    holder = held.hospital(held.holders[0])
    row = (await holder.ledger.held.get(held.world.chart, [1]))[1]
    blob = await holder.blobs.get(row.handed.blob_id)
    theft = handover(blob_id=row.handed.blob_id, blob_bytes=len(blob), blob=blob)
    assert await refusal(held, request(held, theft)) == HoldRefused.code
    assert await holder.blobs.check(row.handed.blob_id) == "ok"


async def test_what_waits_to_become_final_is_bounded(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "STAGED_MOST", 1)
    assert await refusal(held, request(held, handover(), handover(b"d" * 32))) == TooMuchHeld.code
    monkeypatch.setattr(holding, "STAGED_MOST", 10)
    monkeypatch.setattr(holding, "STAGED_BYTES_MOST", len(BLOB) - 1)
    assert await refusal(held, request(held, handover())) == TooMuchHeld.code


async def test_a_large_record_that_its_writer_does_not_send_is_not_held(held: Held) -> None:
    holder = held.hospital(held.holders[0])
    with pytest.raises(Refuse) as refused:
        await holder.records.answer(0, HOLD, request(held, handover(blob=None, blob_bytes=INLINE_BYTES + 1)))
    assert refused.value.refusal == HoldRefused.code


async def test_no_record_is_handed_over_again_with_other_bytes(held: Held) -> None:
    """Else one final record, or one that waits, fills the disk with bytes that no row names and no erasure finds."""
    holder = held.hospital(held.holders[0])
    await holder.records.answer(0, HOLD, request(held, handover()))
    other = b"another sealed record of nobody"
    rubbish: dict[str, Any] = {"blob_id": blob_id(other), "blob_bytes": len(other), "blob": other}
    true = (await held.event(1)).entry.commitment
    for again in (
        handover(**rubbish),
        handover(true, record=1, **rubbish),
        handover(blob=None, blob_bytes=INLINE_BYTES + 1),  # the same bytes, said to be of another size
    ):
        assert await refusal(held, request(held, again)) == HoldRefused.code
    await holder.records.answer(0, HOLD, request(held, handover()))
    assert (await holder.ledger.held.staged_by(0)).count == 1


async def test_a_sweep_leaves_what_another_record_rests_on(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """A blob that was named first by who never sent it, then handed over by whose it is."""
    holder = held.hospital(held.holders[0])
    blob = bytes(INLINE_BYTES + 1)
    named = handover(b"d" * 32, blob_id=blob_id(blob), blob_bytes=len(blob), blob=None)
    with pytest.raises(Refuse):
        await holder.records.answer(0, HOLD, request(held, named))
    await holder.records.answer(
        0, HOLD, request(held, handover(blob_id=blob_id(blob), blob_bytes=len(blob), blob=blob))
    )
    await holder.ledger.database.write(
        lambda c: c.execute("UPDATE held_staged SET staged_ms = 0 WHERE commitment = ?", (b"d" * 32,)).rowcount
    )
    assert await holder.records.holding.sweep() == 1
    assert await holder.blobs.check(blob_id(blob)) == "ok"
