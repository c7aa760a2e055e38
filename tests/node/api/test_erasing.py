"""Erasures, holds and notes of dispute through the socket."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from typing import Any

import pytest
from msgspec.structs import replace

from node.records.errors import NoSuchDraft
from node.records.seal import Plain
from protocol.codec.canonical import decode, encode
from protocol.errors import MissingCosignature
from protocol.types.institutions import STATUS_REMOVED
from protocol.types.operations import AppendRecords, Erase, SignedOperation
from tests.node.api.conftest import LOOKER, Town
from tests.node.records.conftest import settle

BASIS = "ab" * 32


async def submit(town: Town, *texts: str) -> list[int]:
    records = [
        {"media_type": "text/plain", "data": b64encode(text.encode()).decode(), "category": "Observation",
         "sensitivities": []}
        for text in texts
    ]  # fmt: skip
    answer = await town.custodian.post(f"/v1/charts/{town.chart}/records?wait=final", json={"records": records})
    assert answer.status_code == 200, answer.text
    found: list[int] = answer.json()["records"]
    return found


async def order(town: Town, *records: int) -> Any:
    """As a wallet does: ask for the holders, sign, submit at the custodian's."""
    numbers = ",".join(map(str, records))
    holders = (await town.custodian.get(f"/v1/charts/{town.chart}/erasure-holders?records={numbers}")).json()["holders"]
    signed = town.patient.sign(Erase(town.chart, tuple(records), tuple(holders)))
    document = {"chart": town.chart, "operation": b64encode(encode(signed)).decode()}
    return await town.custodian.post("/v1/operations?wait=final", json=document)


async def test_an_erasure_shows_who_has_answered_and_the_record_is_gone(town: Town) -> None:
    kept, gone = await submit(town, "stays", "goes")
    at = f"/v1/charts/{town.chart}"
    assert (await town.custodian.get(f"{at}/records/{gone}/content")).text == "goes"
    answer = await order(town, gone)
    assert answer.status_code == 200, answer.text
    (listed,) = (await town.reader.get(f"{at}/erasures", uid=LOOKER)).json()
    assert (listed["erasure"], listed["records"], listed["complete"]) == (answer.json()["event"], [gone], False)
    assert listed["receipts"] == [{"institution": 0, "name": "hospital 0", "state": "outstanding", "height": None}]
    for place in ("", "/content", "/sealed", "/owner-envelope"):
        refused = await town.custodian.get(f"{at}/records/{gone}{place}")
        assert refused.status_code == 410
        assert refused.json()["type"].endswith(":record-erased")
    await town.custodian.hospital.records.erasures.once()
    (listed,) = (await town.reader.get(f"{at}/erasures")).json()
    assert listed["complete"]
    assert listed["receipts"][0]["state"] == "received"
    assert listed["receipts"][0]["height"] == town.network.chain.header.height
    assert (await town.custodian.get(f"{at}/records/{kept}/content")).text == "stays"
    again = await order(town, gone)
    assert again.json()["type"].endswith(":already-erased")
    standing = (await town.reader.get(f"{at}/records/{gone}/standing", uid=LOOKER)).json()
    assert standing["erased_by"] == listed["erasure"]
    assert "was erased" in standing["sentences"][0]


async def test_a_removed_institution_that_did_not_answer_is_gone(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    (record,) = await submit(town, "goes")
    signed = town.patient.sign(Erase(town.chart, (record,), (1,)))
    document = {"chart": town.chart, "operation": b64encode(encode(signed)).decode()}
    assert (await town.custodian.post("/v1/operations?wait=final", json=document)).status_code == 200
    await town.custodian.hospital.records.erasures.once()
    core = town.custodian.hospital.core
    leaf = await core.institution_leaf(1)
    assert leaf is not None

    async def removed(number: int) -> Any:
        return replace(leaf, status=STATUS_REMOVED) if number == 1 else await type(core).institution_leaf(core, number)

    places = f"/v1/charts/{town.chart}/erasures"
    (listed,) = (await town.custodian.get(places)).json()
    assert [(one["state"], listed["complete"]) for one in listed["receipts"]] == [
        ("received", False),
        ("outstanding", False),
    ]
    monkeypatch.setattr(core, "institution_leaf", removed)
    (listed,) = (await town.custodian.get(places)).json()
    assert [(one["state"], listed["complete"]) for one in listed["receipts"]] == [("received", True), ("gone", True)]


async def test_a_hold_is_the_institutions_word_and_blocks(town: Town) -> None:
    (record,) = await submit(town, "kept by law")
    holds = f"/v1/charts/{town.chart}/holds"
    assert (await town.custodian.post(holds, uid=1001, json={"basis": BASIS})).status_code == 403
    placed = await town.custodian.post(f"{holds}?wait=final", json={"basis": BASIS, "records": [record]})
    assert placed.status_code == 200, placed.text
    hold = placed.json()["hold"]
    assert [(h["hold"], h["records"], h["basis"]) for h in (await town.reader.get(holds)).json()] == [
        (hold, [record], BASIS)
    ]
    refused = await order(town, record)
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:chartledger:problem:on-hold")
    other = await town.reader.post(f"{holds}?wait=final", json={"basis": BASIS})
    assert other.status_code == 403, "another institution's"
    released = await town.custodian.post(f"{holds}/{hold}/release?wait=final")
    assert released.status_code == 200, released.text
    assert (await town.reader.get(holds)).json() == []
    assert (await order(town, record)).status_code == 200


async def test_a_note_of_dispute_stands_beside_its_record(town: Town) -> None:
    (record,) = await submit(town, "she smokes")
    at = f"/v1/charts/{town.chart}"
    note = {"disputes": record, "media_type": "text/plain", "data": b64encode(b"I never did").decode()}
    before = len((await town.reader.get(f"{at}/events")).json()["events"])
    draft = await town.custodian.post(f"{at}/notes", json=note)
    assert draft.status_code == 200, draft.text
    assert len((await town.reader.get(f"{at}/events")).json()["events"]) == before
    operation = decode(AppendRecords, b64decode(draft.json()["operation"]))
    assert operation.entries[0].disputes == record
    number = draft.json()["draft"]
    wrong = town.patient.sign(Erase(town.chart, (record,), ())).cosignatures[0]
    refused = await town.custodian.post(f"{at}/notes/{number}?wait=final", json=cosigned(wrong))
    assert refused.json()["type"].endswith(":bad-cosignature")
    signed = town.patient.sign(operation).cosignatures[0]
    done = await town.custodian.post(f"{at}/notes/{number}?wait=final", json=cosigned(signed))
    assert done.status_code == 200, done.text
    (noted,) = done.json()["records"]
    assert (await town.custodian.get(f"{at}/records/{noted}/content")).text == "I never did"
    shown = (await town.custodian.get(f"{at}/records/{noted}")).json()
    original = (await town.custodian.get(f"{at}/records/{record}")).json()
    assert [shown[k] for k in ("category", "year", "sensitivities")] == [
        original[k] for k in ("category", "year", "sensitivities")
    ]
    standing = (await town.reader.get(f"{at}/records/{record}/standing")).json()
    assert standing["disputed_by"] == [noted]
    assert f"record {noted} says why" in standing["sentences"][0]
    gone = await town.custodian.post(f"{at}/notes/{number}?wait=final", json=cosigned(signed))
    assert gone.json()["type"].endswith(":no-such-draft")


async def test_a_note_that_is_signed_twice_at_once_keeps_its_blob(town: Town) -> None:
    """A desk that repeats itself, or means to, must not have the sweep of the one take what the other rests on."""
    (record,) = await submit(town, "she smokes")
    at, records = f"/v1/charts/{town.chart}", town.custodian.hospital.records
    note = {"disputes": record, "media_type": "text/plain", "data": b64encode(b"I never did").decode()}
    draft = (await town.custodian.post(f"{at}/notes", json=note)).json()
    signed = town.patient.sign(decode(AppendRecords, b64decode(draft["operation"]))).cosignatures[0]
    carried = [records.notes.carry(town.chart, draft["draft"], signed) for _ in range(2)]
    first, second = await asyncio.gather(*carried, return_exceptions=True)
    assert isinstance(second, NoSuchDraft)
    assert isinstance(first, list)
    final = await settle(town.custodian.hospital.core, first)
    await records.submitter.sweep(at_start=True)
    noted = final[0].receipt.operations[0].first_event
    assert (await town.custodian.get(f"{at}/records/{noted}/content")).text == "I never did"


def cosigned(signed: Any) -> dict[str, Any]:
    return {
        "cosignature": {
            "number": signed.number, "expires_at": signed.expires_at, "signature": signed.signature.hex()
        }
    }  # fmt: skip


async def test_a_note_without_the_owner_is_refused_by_the_ledger(town: Town) -> None:
    (record,) = await submit(town, "she smokes")
    custodian = town.custodian.hospital
    own = await custodian.records.own(town.chart, record)
    draft = await custodian.records.notes.draft(town.chart, record, Plain(b"forged", "text/plain", own.secret.labels))
    with pytest.raises(MissingCosignature):
        await custodian.core.prepare([[SignedOperation(draft.operation)]])


async def test_an_amended_record_says_so(town: Town) -> None:
    (first,) = await submit(town, "one")
    at = f"/v1/charts/{town.chart}"
    headers = {"content-type": "text/plain", "supersedes": str(first)}
    second = (await town.custodian.post(f"{at}/records?wait=final", content=b"two", headers=headers)).json()["records"]
    headers["supersedes"] = str(second[0])
    third = (await town.custodian.post(f"{at}/records?wait=final", content=b"3", headers=headers)).json()["records"]
    standing = (await town.reader.get(f"{at}/records/{first}/standing")).json()
    assert standing["superseded_by"] == [*second, *third]
    assert f"record {third[0]} is its newest version" in standing["sentences"][0]
    assert (await town.custodian.get(f"{at}/records/{first}/content")).text == "one", "the old one stays readable"
    assert (await town.reader.get(f"{at}/records/0/standing")).status_code == 404
