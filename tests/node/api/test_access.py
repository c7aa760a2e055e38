"""Asking to read through the socket: details for the owner alone, emergencies and their reviews, delegates."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import pytest

from node.network.interface import RequestRefused
from node.records.detail_messages import DETAILS, DetailsRequest
from node.records.messages import ReleasedKey
from node.records.opening import Key, open_whole
from node.storage import ledger_store
from node.storage.details_store import ForOwner
from protocol.codec.canonical import decode, encode
from protocol.crypto.details import Details
from protocol.crypto.envelopes import envelope_info, keypair_from_seed, open_envelope
from protocol.crypto.hashing import encryption_key_digest
from protocol.crypto.signing import SigningKey, cosign
from protocol.crypto.tags import GrantLabels, grant_tags
from protocol.errors import SealBroken
from protocol.ledger.events import Disclosed, GlassBroken, decode_event
from protocol.proofs.bundle import read as read_bundle
from protocol.proofs.history import HistoryProof
from protocol.types.operations import (
    ACT_READ,
    ROLE_DELEGATE,
    BreakGlassMode,
    Delegate,
    DelegateTerms,
    Disclose,
)
from tests.node.api.city import REASON, RECORD, SAID, City
from tests.node.api.conftest import LOOKER
from tests.node.records.conftest import settle
from tests.node.records.fake_core import HOUR_MS, SUITE, seed
from tests.node.records.patient import Patient


def code(answer: Any) -> str:
    return str(answer.json()["type"]).rpartition(":")[2]


async def test_details_reach_the_owner_and_nobody_else(city: City) -> None:
    grant = await city.granted(GrantLabels())
    body = {"chart": city.chart, "grant": grant, "purpose": "TREAT", "records": [1], "details": SAID}
    answer = (await city.reader.post("/v1/disclosures?wait=final", json=body)).json()
    assert answer["outcome"] == "disclosed"
    assert await city.reader.hospital.records.confidence.deliver() == 0
    (sealed,) = await city.for_owner()
    assert (sealed["event"], sealed["institution"]) == (answer["disclosure"], 1)
    assert city.opened(sealed["event"], sealed["sealed"]) == Details(**SAID)
    # The asker can show what it said; what stands on the ledger says nothing of it.
    stated = await city.reader.get(f"/v1/disclosures/{city.chart}/{answer['disclosure']}/details")
    assert stated.json() == SAID | {"reference": ""}
    assert (await city.custodian.get(f"/v1/disclosures/{city.chart}/{answer['disclosure']}/details")).status_code == 404
    raw = city.network.chain.view.events[city.chart, answer["disclosure"]]
    assert b"Canary" not in raw
    assert b"Neill" not in raw
    event = decode_event(raw)
    assert isinstance(event, Disclosed)
    assert event.practitioner is not None, "the node made the pseudonym from the staff id"


@pytest.mark.parametrize("number", [0, 1, 2, 3])
async def test_no_plaintext_of_details_lies_on_any_disk(city: City, number: int) -> None:
    await city.emergency()
    await city.reader.hospital.records.confidence.deliver()
    folder = city.desk(number).hospital.folder
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"Canary" not in content, path
            assert b"Neill" not in content, path


async def test_details_wait_for_a_custodian_that_is_away(city: City) -> None:
    city.reader.hospital.core.unreachable.add(0)
    answer = await city.emergency()
    courier = city.reader.hospital.records.confidence
    assert await courier.deliver() == 1
    assert await city.for_owner() == []
    # A restart forgets nothing.
    await city.restart(1)
    courier = city.reader.hospital.records.confidence
    city.reader.hospital.core.unreachable.add(0)
    assert await courier.deliver() == 1
    city.reader.hospital.core.unreachable.clear()
    assert await courier.deliver() == 0
    (sealed,) = await city.for_owner()
    assert city.opened(answer["disclosure"], sealed["sealed"]).reason == REASON


async def test_a_stranger_can_place_no_details(city: City) -> None:
    answer = await city.emergency()
    request = encode(DetailsRequest(city.chart, answer["disclosure"], b"another story"))
    with pytest.raises(RequestRefused) as refused:
        await city.desk(2).hospital.core.ask(0, DETAILS, request, 1)
    assert refused.value.refusal == "not-disclosed"
    with pytest.raises(RequestRefused) as refused:
        await city.reader.hospital.core.ask(2, DETAILS, request, 1)
    assert refused.value.refusal == "not-custodian"


async def test_another_story_than_the_committed_one_is_found_out(city: City) -> None:
    answer = await city.emergency()
    await city.reader.hospital.records.confidence.deliver()
    (first,) = await city.for_owner()
    other = await city.emergency()
    await city.reader.hospital.records.confidence.deliver()
    store = city.custodian.hospital.ledger.details
    await store.put_for_owner(city.chart, ForOwner(other["disclosure"], 1, b64decode(first["sealed"])))
    sealed = {one["event"]: one["sealed"] for one in await city.for_owner()}
    assert city.opened(answer["disclosure"], sealed[answer["disclosure"]]).reason == REASON
    with pytest.raises(SealBroken):  # it was sealed for another commitment
        city.opened(other["disclosure"], sealed[other["disclosure"]])


async def test_an_emergency_is_read_reviewed_and_listed_meanwhile(city: City) -> None:
    answer = await city.emergency()
    event = answer["disclosure"]
    assert answer["outcome"] == "disclosed"
    assert answer["review_by"] - answer["time_ms"] == city.network.chain.genesis.params.review_ms
    read = await city.reader.get(f"/v1/disclosures/{city.chart}/{event}/records/1")
    assert read.content == RECORD
    for number in range(4):
        (one,) = (await city.listed(number))["emergencies"]
        assert (one["emergency"], one["state"], one["own"]) == (event, "unreviewed", number == 1)
        assert one["held_here"] is (number == 0)
    city.network.chain.clock.ms = answer["review_by"] + 1
    listed = await city.listed(2)
    assert [one["state"] for one in listed["emergencies"]] == ["overdue"]
    assert [(one["institution"], one["overdue"]) for one in listed["counts"]] == [(1, 1)]
    path = f"/v1/emergencies/{city.chart}/{event}/review?wait=final"
    own = await city.reader.post(path, json={"justified": True})
    assert (own.status_code, code(own)) == (403, "unauthorised")
    findings = {"staff": "officer", "reason": "nobody was in danger"}
    done = await city.desk(2).post(path, json={"justified": False, "findings": findings})
    assert done.status_code == 200, done.text
    assert (await city.listed())["emergencies"] == []
    assert (await city.listed())["counts"] == [
        {"institution": 1, "opened": 1, "unreviewed": 0, "overdue": 0, "late": 1, "unjustified": 1}
    ]
    again = await city.desk(3).post(path, json={"justified": True})
    assert (again.status_code, code(again)) == (409, "already-reviewed")
    await city.desk(2).hospital.records.confidence.deliver()
    assert [one["event"] for one in await city.for_owner()] == [done.json()["event"]], "findings reach the owner too"


async def test_askings_are_found_in_the_order_in_which_they_became_final(city: City) -> None:
    """The projection that alerts and pending emergencies are looked up in, of all charts and page by page."""
    other = Patient(city.network.chain, 0, "other")
    chart = (await city.custodian.post("/v1/charts?wait=final", json=city.chart_in(other))).json()["chart"]
    record = {"media_type": "text/plain", "data": "aGVsbG8=", "category": "Letter", "year": "2024"}
    await city.custodian.post(f"/v1/charts/{chart}/records?wait=final", json={"records": [record]})
    body = {"purpose": "TREAT", "records": [1]}
    made = [(city.chart, (await city.emergency())["disclosure"])]
    for at in (chart, city.chart, chart):
        answer = await city.reader.post("/v1/disclosures?wait=final", json=body | {"chart": at})
        made.append((at, answer.json()["disclosure"]))
    store = city.desk(3).hospital.ledger
    found = await store.askings(None, 3)
    rest = await store.askings(found[-1].position, 3)
    assert [(one.chart, one.event) for one in (*found, *rest)] == made[::-1]
    assert all(isinstance(decode_event(one.raw), Disclosed | GlassBroken) for one in (*found, *rest))
    assert await store.askings(rest[-1].position, 3) == []
    await store.forget_chain()
    assert await store.askings(None, 3) == []


async def test_a_chart_may_want_two_institutions(city: City) -> None:
    await city.set_policy(BreakGlassMode.TWO_INSTITUTIONS)
    answer = await city.emergency()
    event = answer["disclosure"]
    assert answer["outcome"] == "pending"
    place = f"/v1/disclosures/{city.chart}/{event}/records/1"
    refused = await city.reader.get(place)
    assert (refused.status_code, code(refused)) == (403, "release-denied")
    assert [one["state"] for one in (await city.listed(3))["emergencies"]] == ["pending"]
    path = f"/v1/emergencies/{city.chart}/{event}/confirm?wait=final"
    own = await city.reader.post(path)
    assert (own.status_code, code(own)) == (403, "unauthorised")
    assert (await city.desk(2).post(path)).status_code == 200
    assert (await city.reader.get(place)).content == RECORD
    again = await city.desk(3).post(path)
    assert (again.status_code, code(again)) == (409, "not-waiting")
    missing = await city.desk(3).post(f"/v1/emergencies/{city.chart}/1/confirm?wait=final")
    assert (missing.status_code, code(missing)) == (404, "unknown-emergency")


async def test_what_nobody_confirmed_in_time_is_listed_no_more(city: City) -> None:
    await city.set_policy(BreakGlassMode.TWO_INSTITUTIONS)
    await city.emergency()
    city.network.chain.clock.ms += city.network.chain.genesis.params.release_ms + HOUR_MS
    assert (await city.listed())["emergencies"] == []


async def test_a_forbidden_emergency_is_denied_with_its_exception(city: City) -> None:
    await city.set_policy(BreakGlassMode.FORBIDDEN)
    answer = await city.emergency()
    assert (answer["outcome"], answer["reason"]) == ("denied", "break-glass-forbidden")
    assert answer["exception"]["section"] == "171.202(e)"
    assert "forbidden" in answer["sentence"]
    assert (await city.listed())["emergencies"] == []


@pytest.mark.parametrize("reason", ["", "  \n"])
async def test_nobody_breaks_the_glass_without_a_reason(city: City, reason: str) -> None:
    body = {"chart": city.chart, "purpose": "BTG", "records": [1], "details": SAID | {"reason": reason}}
    answer = await city.reader.post("/v1/emergencies?wait=final", json=body)
    assert (answer.status_code, code(answer)) == (422, "reason-missing")
    plain = await city.reader.post("/v1/emergencies", json=body | {"purpose": "TREAT", "details": SAID})
    assert (plain.status_code, code(plain)) == (422, "bad-terms")


async def test_details_out_of_bounds_are_refused_without_being_quoted(city: City) -> None:
    body = {"chart": city.chart, "purpose": "BTG", "records": [1], "details": SAID | {"reason": "Canary" * 400}}
    answer = await city.reader.post("/v1/emergencies", json=body)
    assert answer.status_code == 400
    assert "Canary" not in answer.text


class Helper:
    """A delegate of the patient: keys of its own, named on the ledger."""

    def __init__(self, city: City, acts: int = ACT_READ) -> None:
        self.key = SigningKey(seed("delegate"))
        self.private, self.public = keypair_from_seed(SUITE, seed("delegate's envelopes"))
        now = city.network.chain.clock.ms
        self.digest = encryption_key_digest(SUITE, self.public)
        tags = grant_tags(city.patient.keys.chart_secret, 0, GrantLabels())
        self.terms = DelegateTerms(
            self.key.public, SUITE, self.digest, acts, tags, ("PATRQT", "TREAT"), now - HOUR_MS, now + 240 * HOUR_MS
        )

    def ask(self, city: City, purpose: str = "TREAT", number: int = 1) -> dict[str, Any]:
        operation = Disclose(city.chart, None, (1,), purpose)
        expires_at = city.network.chain.clock.ms + HOUR_MS
        signed = cosign(self.key, city.network.chain.id, operation, ROLE_DELEGATE, number, expires_at)
        cosignature = {
            "delegate": 0, "number": number, "expires_at": expires_at, "signature": signed.signature.hex(),
        }  # fmt: skip
        return {"chart": city.chart, "purpose": purpose, "records": [1], "delegate": cosignature}


async def named(city: City, acts: int = ACT_READ) -> Helper:
    helper = Helper(city, acts)
    core = city.custodian.hospital.core
    await settle(core, await core.prepare([[city.patient.sign(Delegate(city.chart, helper.terms))]]))
    return helper


async def test_a_delegate_reads_with_its_own_key(city: City) -> None:
    helper = await named(city)
    answer = (await city.custodian.post("/v1/disclosures?wait=final", json=helper.ask(city))).json()
    assert answer["outcome"] == "disclosed", answer
    place = f"/v1/disclosures/{city.chart}/{answer['disclosure']}/records/1"
    envelope = await city.custodian.get(f"{place}/delegate-envelope?public={helper.public.hex()}")
    assert envelope.status_code == 200, envelope.text
    sealed = await city.custodian.get(f"{place}/sealed")
    entry = decode_event(city.network.chain.view.events[city.chart, 1]).entry  # type: ignore[union-attr]  # a record
    info = envelope_info(city.network.chain.id, city.chart, entry.commitment, helper.digest)
    secret = decode(ReleasedKey, open_envelope(SUITE, helper.private, info, envelope.content))
    assert open_whole(Key(secret.key, secret.opening, secret.length, entry.commitment), sealed.content) == RECORD
    # Nobody else reads by it: neither the custodian's own people nor whoever brings another key.
    own = await city.custodian.get(place)
    assert (own.status_code, code(own)) == (403, "not-disclosed")
    other = await city.custodian.get(f"{place}/delegate-envelope?public={city.patient.public.hex()}")
    assert (other.status_code, code(other)) == (403, "not-disclosed")
    for bad in ("", "xyz", "ab" * 5_000):
        assert (await city.custodian.get(f"{place}/delegate-envelope?public={bad}")).status_code == 400


async def test_a_delegate_beyond_its_bounds_is_denied_on_the_record(city: City) -> None:
    helper = await named(city)
    answer = (await city.custodian.post("/v1/disclosures?wait=final", json=helper.ask(city, "HRESCH"))).json()
    assert (answer["outcome"], answer["reason"]) == ("denied", "delegate-bounds")
    assert answer["exception"]["section"] == "171.202(b)"
    place = f"/v1/disclosures/{city.chart}/{answer['disclosure']}/records/1/sealed"
    assert code(await city.custodian.get(place)) == "release-denied"
    elsewhere = (await city.reader.post("/v1/disclosures?wait=final", json=helper.ask(city, "HRESCH", 2))).json()
    assert (elsewhere["outcome"], elsewhere["reason"]) == ("denied", "delegate-bounds"), "it does not matter where"
    mixed = helper.ask(city, number=3) | {"grant": 0}
    assert (await city.custodian.post("/v1/disclosures", json=mixed)).status_code == 400


async def test_an_institutions_disclosure_is_not_for_delegates(city: City) -> None:
    grant = await city.granted(GrantLabels())
    body = {"chart": city.chart, "grant": grant, "purpose": "TREAT", "records": [1]}
    answer = (await city.reader.post("/v1/disclosures?wait=final", json=body)).json()
    place = f"/v1/disclosures/{city.chart}/{answer['disclosure']}/records/1/sealed"
    assert code(await city.reader.get(place)) in ("not-custodian", "not-disclosed")
    assert code(await city.custodian.get(place)) == "not-disclosed"


async def test_a_history_of_large_events_comes_in_pages_that_stay_small(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An asking that names ten thousand records is of 50 kB. A thousand of these, which a page may ask for, held the
    loop up for seconds and took half a gigabyte, for whoever may look."""
    for _ in range(12):
        await city.emergency()
    monkeypatch.setattr(ledger_store, "EVENTS_BYTES", 400)
    core = city.custodian.hospital.core
    found: list[int] = []
    first: int | None = 0
    pages = 0
    while first is not None:
        page = (await city.custodian.get(f"/v1/charts/{city.chart}/events?count=1000&first={first}", uid=LOOKER)).json()
        found += [one["number"] for one in page["events"]]
        first, pages = page["next"], pages + 1
    assert found == list(range(14))
    assert pages > 2
    (last,) = await core.askings(None, 1)
    assert last.event == 13
    assert 1 < len(await core.askings(None, 1_000)) < 12
    assert [one["emergency"] for one in (await city.listed())["emergencies"]] == list(range(2, 14))
    proof = read_bundle(await core.proofs.history(city.chart))
    assert isinstance(proof, HistoryProof)
    assert len(proof.events) == 14, "a proof carries more than a page"
    part = read_bundle(await core.proofs.history(city.chart, 9))
    assert isinstance(part, HistoryProof)
    assert len(part.events) == 5, "what comes before it is read in pages, too"
