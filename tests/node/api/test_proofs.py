"""Proofs on the socket: each kind from a real ledger on disk, checked with the genesis alone."""

from __future__ import annotations

from typing import Any

from node.owner_reading import open_own
from protocol.ledger.events import Reason
from protocol.proofs import bundle, field
from protocol.proofs.erasure import ErasureClaim
from protocol.proofs.field import FieldClaim
from protocol.proofs.grant import GrantClaim
from protocol.proofs.history import HistoryClaim
from protocol.proofs.inclusion import Claim
from protocol.types.operations import Erase
from tests.node.api.conftest import LOOKER, Town
from tests.node.api.test_requests import FHIR, code
from tests.node.records.fake_core import SUITE

VACCINATION = (
    b'{ "resourceType":"Immunization", "occurrenceDateTime":"2026-03-14", "lotNumber":"YF-88213",'
    b' "vaccineCode":{"text":"Yellow fever"} }'
)


async def proved(town: Town, path: str, **how: Any) -> Any:
    """What the proof at this path shows; asked for by whoever may do least, unless `uid` says who."""
    asked = {key: value for key, value in how.items() if key == "uid"} or {"uid": LOOKER}
    answer = await town.custodian.get(f"/v1/proofs/charts/{town.chart}/{path}", **asked)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    record = how.get("record")
    return bundle.check(bundle.read(answer.content), genesis=town.network.chain.genesis, record=record)


async def stored(town: Town) -> int:
    path = f"/v1/charts/{town.chart}/records?wait=final"
    answer = await town.custodian.post(path, content=VACCINATION, headers=FHIR)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["records"][0])


async def test_each_kind_of_proof_checks_offline(town: Town) -> None:
    number = await stored(town)
    grant = await town.granted()
    height = town.network.chain.header.height
    shown = await proved(town, f"events/{number}")
    assert isinstance(shown, Claim)
    history = await proved(town, "history")
    assert isinstance(history, HistoryClaim)
    assert (history.complete, history.total) == (True, 3)
    part = await proved(town, "history?first=1")
    assert (part.first, part.end, part.complete) == (1, 3, False)
    now = await proved(town, f"grants/{grant}?institution=1")
    assert isinstance(now, GrantClaim)
    assert (now.in_force, now.institution) == (True, 1)
    assert (await proved(town, f"grants/{grant}")).in_force
    assert (await proved(town, f"grants/{grant}?institution=1&record={number}")).record == number
    assert (await proved(town, "grants/7?institution=1")).against is Reason.NO_GRANT
    await town.network.chain.make_block()
    then = await proved(town, f"grants/{grant}?institution=1&height={height}")
    assert (then.in_force, then.height) == (True, height)
    before = await proved(town, f"grants/{grant}?institution=1&height={height - 1}")
    assert before.against is Reason.NO_GRANT


async def test_the_custodian_shows_one_field_or_the_whole(town: Town) -> None:
    number = await stored(town)
    shown = await proved(town, f"records/{number}/field?pointer=/occurrenceDateTime", uid=1000)
    assert isinstance(shown, FieldClaim)
    assert (shown.pointer, shown.value) == ("/occurrenceDateTime", b'"2026-03-14"')
    whole = await proved(town, f"records/{number}", uid=1000, record=VACCINATION)
    assert isinstance(whole, Claim)
    assert whole.record_shown
    base = f"/v1/proofs/charts/{town.chart}/records/{number}"
    for path in (base, f"{base}/field?pointer=/lotNumber"):
        assert code(await town.custodian.get(path, uid=LOOKER)) == "not-allowed"
    unknown = await town.custodian.get(f"{base}/field?pointer=/vaccineCode")
    assert code(unknown) == "no-such-field"
    assert "/vaccineCode/text" in unknown.json()["advice"]
    assert "Yellow" not in unknown.text
    assert code(await town.custodian.get(f"{base}/field")) == "bad-request"
    assert code(await town.reader.get(f"{base}/field?pointer=/lotNumber")) == "record-unknown-here"


async def test_the_owner_shows_one_field(town: Town) -> None:
    number = await stored(town)
    place = f"/v1/charts/{town.chart}/records/{number}"
    parts = [(await town.custodian.get(f"{place}/{name}")).content for name in ("owner-envelope", "sealed")]
    raw = (await town.custodian.hospital.core.events_at(town.chart, [number]))[number]
    own = open_own(town.patient.keys, SUITE, town.network.chain.id, town.chart, raw, envelope=parts[0], sealed=parts[1])
    assert "2026" not in repr(own)
    inclusion = await town.custodian.get(f"/v1/proofs/charts/{town.chart}/events/{number}")
    proof = field.prove(
        bundle.read_inclusion(inclusion.content), field.open_field(own.data, own.opening, "/occurrenceDateTime")
    )
    shown = field.check(proof, genesis=town.network.chain.genesis)
    assert shown.value == b'"2026-03-14"'


async def test_an_erasure(town: Town) -> None:
    number = await stored(town)
    signed = town.patient.sign(Erase(town.chart, (number,), ()))
    core = town.custodian.hospital.core
    await core.submit(await core.prepare([[signed]]))
    shown = await proved(town, "erasures/2")
    assert isinstance(shown, ErasureClaim)
    assert (shown.ordered.records, list(shown.owing), shown.complete) == ((number,), [0], False)


async def test_what_there_is_no_proof_of(town: Town) -> None:
    number = await stored(town)
    grant = await town.granted()
    base = f"/v1/proofs/charts/{town.chart}"
    for path, name in (
        (f"{base}/events/99", "unknown-record"),
        (f"{base}/history?first=99", "unknown-record"),
        ("/v1/proofs/charts/9/history", "unknown-chart"),
        ("/v1/proofs/charts/9/grants/0", "unknown-chart"),
        ("/v1/proofs/charts/9/grants/0?height=1", "unknown-chart"),
        (f"{base}/grants/70000", "bad-request"),
        (f"{base}/grants/{grant}?institution=99999999", "bad-request"),
        (f"{base}/grants/{grant}?record={number}", "bad-terms"),
        (f"{base}/grants/{grant}?institution=1&record=0", "unknown-record"),
        (f"{base}/grants/{grant}?institution=1&record=99", "unknown-record"),
        (f"{base}/grants/{grant}?institution=1&record=1&height=1", "bad-request"),
        (f"{base}/grants/{grant}?height=99", "bad-proof"),
        (f"{base}/erasures/{number}", "unknown-erasure"),
        (f"{base}/history?epoch=3", "bad-proof"),
        (f"{base}/history?first=x", "bad-request"),
    ):
        answer = await town.custodian.get(path)
        assert code(answer) == name, (path, answer.text)
