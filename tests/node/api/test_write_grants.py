"""Writing to another institution's chart under a patient's grant: the permit, what it lets in, and what ends it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from node.records.errors import BeyondPermit
from node.records.opening import Key, open_whole
from node.records.seal import read_owner_plain
from node.write_permits import UNSIGNED, WritePermit, sign_permit
from protocol.chart_errors import WriteNotGranted
from protocol.codec.canonical import encode
from protocol.crypto.envelopes import envelope_info, open_envelope
from protocol.crypto.hashing import encryption_key_digest
from protocol.crypto.tags import GrantLabels, tag, tags_of
from protocol.crypto.tags import Labels as RecordLabels
from protocol.ledger.events import RecordAppended, decode_event
from protocol.types.operations import (
    ACCESS_READ,
    ACCESS_WRITE,
    AppendRecords,
    Erase,
    Reissue,
    Revoke,
    RotateOwnerKey,
    SignedOperation,
)
from tests.node.api.city import City
from tests.node.api.conftest import Desk
from tests.node.api.test_control import NewOwner, done, wait_out
from tests.node.records.conftest import settle
from tests.node.records.fake_core import SUITE, Chain, Network
from tests.node.records.patient import Patient

WRITER, THIRD = 1, 2
LABELS = GrantLabels(categories=("Letter", "Observation"), years=("2024",), sensitivities=("MH",))
NAMES = (("Letter", "Observation"), ("2024",), ("MH", "none"), ("MH", "none"))
TEXT = b"what the laboratory found"
HEADERS = {"content-type": "text/plain", "category": "Letter", "year": "2024"}


class Written(City):
    """The first hospital keeps the chart, the second may write to it."""

    @property
    def writer(self) -> Desk:
        return self.desk(WRITER)

    async def grants(self, grantee: int, access: int = ACCESS_READ, labels: GrantLabels = LABELS) -> int:
        signed = self.patient.grant(self.chart, grantee, labels, access=access)
        return int((await done(self, signed))["grant"])

    def permit(self, grant: int, names: Any = NAMES, generation: int = 0, **other: Any) -> WritePermit:
        secret = self.patient.keys.chart_secret
        tables = tuple(
            tuple((name, tag(secret, generation, position, name)) for name in listed)
            for position, listed in enumerate(names)
        )
        public = self.patient.public
        made = WritePermit(self.chart, grant, generation, SUITE, public, tables, UNSIGNED)  # type: ignore[arg-type]
        return self.signed(replace(made, **other))

    def signed(self, permit: WritePermit) -> WritePermit:
        return sign_permit(self.patient.key, self.network.chain.id, permit)

    async def hand_in(self, permit: WritePermit, number: int = WRITER) -> Any:
        body = {"permit": b64encode(encode(permit)).decode()}
        return await self.desk(number).ask("PUT", f"/v1/charts/{self.chart}/write-permit", json=body)

    async def submit(self, grant: int | None, content: bytes = TEXT, **headers: str) -> Any:
        under = "" if grant is None else f"&grant={grant}"
        path = f"/v1/charts/{self.chart}/records?wait=final{under}"
        return await self.writer.post(path, content=content, headers=HEADERS | headers)

    async def may_write(self) -> int:
        grant = await self.grants(WRITER, ACCESS_READ | ACCESS_WRITE)
        answer = await self.hand_in(self.permit(grant))
        assert answer.status_code == 200, answer.text
        return grant

    async def written(self) -> tuple[int, int]:
        """(grant, record) of a first one."""
        grant = await self.may_write()
        answer = await self.submit(grant)
        assert answer.status_code == 200, answer.text
        return grant, answer.json()["records"][0]

    def event(self, record: int) -> RecordAppended:
        found = decode_event(self.network.chain.view.events[self.chart, record])
        assert isinstance(found, RecordAppended)
        return found

    async def reads(self, record: int, number: int = THIRD) -> Any:
        """A hospital with a grant of its own asks and reads."""
        grant = await self.grants(number)
        body = {"chart": self.chart, "grant": grant, "purpose": "TREAT", "records": [record]}
        asked = (await self.desk(number).post("/v1/disclosures?wait=final", json=body)).json()
        assert asked["outcome"] == "disclosed", asked
        return await self.desk(number).get(f"/v1/disclosures/{self.chart}/{asked['disclosure']}/records/{record}")

    async def owner_opens(self, record: int, number: int = WRITER) -> bytes:
        """What the owner's keys make of what lies at a hospital."""
        place, commitment = f"/v1/charts/{self.chart}/records/{record}", self.event(record).entry.commitment
        envelope = (await self.desk(number).get(f"{place}/owner-envelope")).content
        sealed = (await self.desk(number).get(f"{place}/sealed")).content
        recipient = encryption_key_digest(SUITE, self.patient.public)
        info = envelope_info(self.network.chain.id, self.chart, commitment, recipient)
        secret = read_owner_plain(open_envelope(SUITE, self.patient.private, info, envelope))
        return open_whole(Key(secret.key, secret.opening, secret.length, commitment), sealed)


def code(answer: Any) -> str:
    return str(answer.json()["type"]).rpartition(":")[2]


async def a_city(tmp_path: Path) -> AsyncIterator[Written]:
    """Four hospitals, and a patient with a chart at the first; closed when it is gone on with."""
    network = Network(Chain(4), tmp_path, replicas=3)
    try:
        desks = [Desk(await network.start(number)) for number in range(4)]
        made = Written(network, desks[0], desks[1], Patient(network.chain, 0))
        made._others = {2: desks[2], 3: desks[3]}
        answer = await made.custodian.post("/v1/charts?wait=final", json=made.chart_in(made.patient))
        made.chart = answer.json()["chart"]
        yield made
    finally:
        await network.close()


@pytest.fixture
async def city(tmp_path: Path) -> AsyncIterator[Written]:
    async for made in a_city(tmp_path):
        yield made


async def test_a_record_goes_in_and_comes_out_at_its_writer(city: Written) -> None:
    grant, record = await city.written()
    event = city.event(record)
    assert (event.institution, event.grant) == (WRITER, grant)
    assert event.entry.tags == tags_of(city.patient.keys.chart_secret, 0, RecordLabels("Letter", "2024"))
    assert event.holders == (0, 2, 3), "its custodian holds a copy as any other may"
    place = f"/v1/charts/{city.chart}/records/{record}"
    own = (await city.writer.get(place)).json()
    assert (own["category"], own["blob_state"]) == ("Letter", "ok")
    assert (await city.writer.get(f"{place}/content")).content == TEXT
    assert (await city.custodian.get(f"{place}/content")).status_code == 404, "a share opens nothing"
    assert (await city.writer.get(f"/v1/proofs/charts/{city.chart}/records/{record}")).status_code == 200
    repair = city.writer.hospital.records.repair
    assert (await repair.audit(), await repair.top_up()) == (0, 0)


async def test_lists_and_bundles_and_amendments_go_in_too(city: Written) -> None:
    grant, record = await city.written()
    listed = {"records": [{"media_type": "text/plain", "data": "aGVsbG8=", "category": "Letter", "year": "2024"}]}
    path = f"/v1/charts/{city.chart}/records?wait=final&grant={grant}"
    assert (await city.writer.post(path, json=listed)).status_code == 200
    bundle = b"""{"resourceType": "Bundle", "type": "collection", "entry": [
        {"resource": {"resourceType": "Observation", "effectiveDateTime": "2024-05-01"}},
        {"resource": {"resourceType": "Observation", "effectiveDateTime": "2024-05-02"}}]}"""
    headers = {"content-type": "application/fhir+json"}
    answer = await city.writer.post(f"{path}&split=true", content=bundle, headers=headers)
    assert len(answer.json()["records"]) == 2, answer.text
    again = await city.submit(grant, b"corrected", supersedes=str(record))
    assert city.event(again.json()["records"][0]).entry.supersedes == record


async def test_a_third_institution_reads_from_the_writer_and_from_holders_while_it_is_away(city: Written) -> None:
    _, record = await city.written()
    assert (await city.reads(record)).content == TEXT
    city.desk(THIRD).hospital.core.unreachable.add(WRITER)
    assert (await city.reads(record)).content == TEXT
    assert (await city.reads(record, 0)).content == TEXT, "the custodian needs a grant for what it did not write"


async def test_one_disclosure_of_two_writers_records(city: Written) -> None:
    _, record = await city.written()
    path = f"/v1/charts/{city.chart}/records?wait=final"
    answer = await city.custodian.post(path, content=b"at home", headers=HEADERS)
    records = [record, *answer.json()["records"]]
    body = {"chart": city.chart, "grant": await city.grants(THIRD), "purpose": "TREAT", "records": records}
    asked = (await city.desk(THIRD).post("/v1/disclosures?wait=final", json=body)).json()
    found: list[int] = []
    while len(found) < 2:
        at = f"/v1/disclosures/{city.chart}/{asked['disclosure']}/records?first={len(found)}"
        page = (await city.desk(THIRD).get(at)).json()
        found += [one["record"] for one in page["records"]]
    assert found == records


async def test_the_owner_reads_at_the_writers_socket_and_at_a_holders(city: Written) -> None:
    _, record = await city.written()
    assert await city.owner_opens(record) == TEXT
    assert await city.owner_opens(record, 3) == TEXT


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ({"category": "Media"}, "category"),
        ({"year": "2023"}, "clinical year"),
        ({"sensitivities": "HIV"}, "sensitivity"),
        ({"sensitivities": "MH,HIV"}, "sensitivity"),
        ({"sensitivities": "MH,PSY,STD"}, "second sensitivity"),
    ],
)
async def test_a_label_outside_is_refused_by_its_kind_alone(city: Written, headers: dict[str, str], kind: str) -> None:
    grant = await city.may_write()
    answer = await city.submit(grant, **headers)
    assert (answer.status_code, code(answer)) == (403, "beyond-permit")
    assert answer.json()["detail"] == f"the write permit does not cover this record's {kind}"
    assert answer.json()["advice"]
    for label in headers.values():
        assert label not in answer.text
    assert (await city.writer.hospital.blobs.totals()).count == 0
    assert await city.writer.hospital.ledger.records.staged() == set()


async def test_a_large_record_is_refused_before_its_first_piece_and_taken_in_pieces(city: Written) -> None:
    grant = await city.may_write()
    submitter = city.writer.hospital.records.submitter
    read: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        for _ in range(3):
            read.append(1)
            yield bytes(600_000)

    outside, inside = RecordLabels("ImagingStudy", "2024"), RecordLabels("Letter", "2024", "MH")
    with pytest.raises(BeyondPermit):
        await submitter.append_stream(city.chart, "application/dicom", outside, None, body(), grant)
    assert read == []
    prepared = await submitter.append_stream(city.chart, "application/dicom", inside, None, body(), grant)
    await settle(city.writer.hospital.core, prepared)
    assert await city.owner_opens(1 + grant + 1) == bytes(1_800_000)


async def test_a_revoked_grant_is_refused_at_once_here_and_by_the_ledger(city: Written) -> None:
    grant, record = await city.written()
    await done(city, city.patient.revoke(city.chart, grant))
    answer = await city.submit(grant)
    assert (answer.status_code, code(answer)) == (403, "write-not-granted")
    with pytest.raises(WriteNotGranted):  # before anything is sealed, let alone handed to holders
        await city.writer.hospital.records.submitter.sealer(city.chart, grant)
    again = await city.hand_in(city.permit(grant, generation=1))
    assert (again.status_code, code(again)) == (403, "write-not-granted")
    entry = city.event(record).entry
    operation = AppendRecords(city.chart, (replace(entry, commitment=bytes(32)),), (), grant)
    with pytest.raises(WriteNotGranted):
        await city.writer.hospital.core.prepare([[SignedOperation(operation)]])
    assert (await city.writer.get(f"/v1/charts/{city.chart}/records/{record}/content")).content == TEXT


async def test_a_permit_ends_with_the_charts_generation_and_a_new_one_goes_on(city: Written) -> None:
    other = await city.grants(THIRD)
    grant = await city.may_write()
    secret = city.patient.keys.chart_secret
    both = tuple(
        tuple(sorted(tag(secret, age, position, name) for age in (0, 1) for name in listed))
        for position, listed in enumerate(NAMES)
    )
    await done(city, city.patient.sign(Revoke(city.chart, other, (Reissue(grant, both),))))  # type: ignore[arg-type]
    answer = await city.submit(grant)
    assert (answer.status_code, code(answer)) == (409, "permit-outdated")
    stale = await city.hand_in(city.permit(grant))
    assert (stale.status_code, code(stale)) == (409, "permit-outdated")
    assert (await city.hand_in(city.permit(grant, generation=1))).json() == {
        "chart": city.chart, "grant": grant, "generation": 1, "labels": 7,
    }  # fmt: skip
    record = (await city.submit(grant)).json()["records"][0]
    assert city.event(record).entry.tags == tags_of(secret, 1, RecordLabels("Letter", "2024"))


async def test_what_does_not_fit_the_ledger_is_refused(city: Written) -> None:
    grant = await city.grants(WRITER, ACCESS_WRITE)
    good = city.permit(grant)
    stranger = Patient(city.network.chain, 0, "stranger")
    swapped = (good.tags[0][0][0], good.tags[0][1][1]), (good.tags[0][1][0], good.tags[0][1][1])
    for broken in (
        replace(good, encryption_public=stranger.public),
        replace(good, encryption_public=b"short"),
        replace(good, encryption_suite=9),
        replace(good, chart=good.chart + 1),
        city.permit(grant, (("Letter", "Medication"), *NAMES[1:])),
        city.permit(grant, (*NAMES[:3], ("HIV", "none"))),
        replace(good, tags=(good.tags[0][::-1], *good.tags[1:])),
        replace(good, tags=(swapped, *good.tags[1:])),
    ):
        answer = await city.hand_in(city.signed(broken))
        assert (answer.status_code, code(answer)) == (422, "permit-refused"), answer.text
        assert "Medication" not in answer.text
    assert (await city.hand_in(replace(good, grant=77))).status_code == 404
    reading = await city.grants(WRITER)
    assert code(await city.hand_in(city.permit(reading))) == "write-not-granted"
    assert code(await city.hand_in(good, THIRD)) == "write-not-granted"
    assert code(await city.hand_in(good, 0)) == "permit-refused"
    body = {"permit": b64encode(encode(good) + b"x").decode()}
    raw = await city.writer.ask("PUT", f"/v1/charts/{city.chart}/write-permit", json=body)
    assert raw.status_code == 400
    looker = await city.writer.ask("PUT", f"/v1/charts/{city.chart}/write-permit", uid=2000, json=body)
    assert looker.status_code == 403
    # Nothing of this was kept.
    assert code(await city.submit(grant)) == "permit-missing"


async def test_without_a_grant_only_the_custodian_and_with_one_only_others(city: Written) -> None:
    grant = await city.may_write()
    assert code(await city.submit(None)) == "not-custodian"
    assert code(await city.submit(grant + 1)) == "unknown-grant"
    path = f"/v1/charts/{city.chart}/records?grant={grant}"
    assert code(await city.custodian.post(path, content=TEXT, headers=HEADERS)) == "bad-terms"


async def test_a_permit_lies_sealed_and_outlives_restart_and_renewal_of_the_key(city: Written) -> None:
    grant, record = await city.written()
    hospital = city.writer.hospital
    before = await hospital.ledger.records.permits.find(city.chart, grant)
    assert before is not None
    assert city.patient.public not in before
    assert tag(city.patient.keys.chart_secret, 0, 0, "Letter") not in before
    key = hospital.records._kek.keys.present
    await erased(city, record)
    assert hospital.records._kek.keys.present != key
    assert (await hospital.ledger.records.permits.find(city.chart, grant)) != before
    await city.restart(WRITER)
    assert (await city.submit(grant)).status_code == 200


async def test_an_erasure_names_the_writer_who_deletes_and_answers(city: Written) -> None:
    _, record = await city.written()
    await erased(city, record)
    assert (await city.writer.get(f"/v1/charts/{city.chart}/records/{record}/content")).status_code == 410
    (listed,) = (await city.custodian.get(f"/v1/charts/{city.chart}/erasures")).json()
    assert listed["complete"]
    assert WRITER in {one["institution"] for one in listed["receipts"]}


async def erased(city: Written, record: int) -> None:
    """The owner has a record erased, and every node does what it owes."""
    answer = await city.custodian.get(f"/v1/charts/{city.chart}/erasure-holders?records={record}")
    assert answer.json()["holders"] == [1, 2, 3], "the writer and the holders, besides the custodian"
    await done(city, city.patient.sign(Erase(city.chart, (record,), (1, 2, 3))), 0)
    for number in range(4):
        erasures = city.desk(number).hospital.records.erasures
        while await erasures.once():
            pass


async def test_what_was_written_follows_the_owner_to_a_new_key(city: Written) -> None:
    grant, record = await city.written()
    new = NewOwner(city, "rotated", 0)
    await done(city, city.patient.sign(RotateOwnerKey(city.chart, 0, new.keys, new.possession)))
    await wait_out(city)
    assert code(await city.submit(grant)) == "permit-outdated"
    city.patient.private, city.patient.public, city.patient.key = new.private, new.public, new.key
    assert (await city.hand_in(city.permit(grant))).status_code == 200
    while await city.writer.hospital.records.changes.once():
        pass
    assert await city.owner_opens(record) == TEXT
    assert await city.writer.hospital.records.repair.top_up() == 3, "holders get the new envelope"
    assert await city.owner_opens(record, 3) == TEXT
    assert (await city.submit(grant)).status_code == 200


async def test_it_follows_the_owner_even_when_the_grant_has_ended(city: Written) -> None:
    """Then no permit brings the new key: the owner hands it in, as at the custodian. Nobody else takes it."""
    grant, record = await city.written()
    await done(city, city.patient.revoke(city.chart, grant))
    new = NewOwner(city, "rotated", 0)
    await done(city, city.patient.sign(RotateOwnerKey(city.chart, 0, new.keys, new.possession)))
    place = f"/v1/charts/{city.chart}/owner-key"
    answer = await city.writer.ask("PUT", place, json=new.body)
    assert answer.json()["state"] == "waiting", answer.text
    stranger = NewOwner(city, "stranger", 0)
    assert code(await city.writer.ask("PUT", place, json=stranger.body)) == "owner-key-unknown"
    other = next(n for n in range(4) if n not in (0, WRITER))
    assert code(await city.desk(other).ask("PUT", place, json=new.body)) == "not-custodian"
    await wait_out(city)
    assert (await city.writer.ask("PUT", place, json=new.body)).json()["state"] == "in-force"
    while await city.writer.hospital.records.changes.once():
        pass
    city.patient.private, city.patient.public = new.private, new.public
    assert await city.owner_opens(record) == TEXT


async def test_a_permit_that_opens_no_more_is_replaced_by_a_new_one(city: Written) -> None:
    grant = await city.may_write()
    rows = city.writer.hospital.ledger.records.permits
    await rows.put(city.chart, grant, b"what another key sealed" * 20)
    assert (await city.submit(grant)).status_code == 502
    assert (await city.hand_in(city.permit(grant))).status_code == 200
    assert (await city.submit(grant)).status_code == 200
