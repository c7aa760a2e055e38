"""Who controls a chart, through the socket: every owner's operation goes in, and what came of it is told."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from node.client import problem_of
from node.owner_reading import open_own
from node.records.detail_messages import OwnerKeyRequest
from node.records.owner_keys import OwnerKeyMissing
from protocol import chart_errors
from protocol.codec.canonical import encode
from protocol.crypto.envelopes import keypair_from_seed, open_envelope, secret_info
from protocol.crypto.hashing import encryption_key_digest
from protocol.crypto.signing import SigningKey, cosign, owner_possession_message
from protocol.crypto.tags import GrantLabels, grant_tags
from protocol.crypto.wallet import ChartKeys
from protocol.errors import ChartledgerError
from protocol.ledger.events import RecordAppended, decode_event
from protocol.types.operations import (
    ACT_GRANT,
    ACT_REVOKE,
    ROLE_DELEGATE,
    ROLE_GUARDIAN,
    Bar,
    BeginRecovery,
    BreakGlassMode,
    CancelRecovery,
    CompleteRecovery,
    Delegate,
    DelegateTerms,
    EndDelegate,
    Grant,
    GrantTerms,
    Guardians,
    Operation,
    OwnerKeys,
    Policy,
    RotateOwnerKey,
    SetGuardians,
    SetPolicy,
    SignedOperation,
)
from tests.node.api.conftest import OTHER, Town
from tests.node.api.test_requests import FHIR, OBSERVATION, code
from tests.node.records.fake_core import HOUR_MS, SUITE, seed
from tests.node.records.patient import Patient

DAY_MS = 24 * HOUR_MS
GUARDIANS = sorted((SigningKey(seed(f"guardian {n}")) for n in range(3)), key=lambda key: key.public)


async def send(town: Town, signed: SignedOperation, desk: int = 0) -> Any:
    body = {"chart": town.chart, "operation": b64encode(encode(signed)).decode()}
    where = town.reader if desk else town.custodian
    return await where.post("/v1/operations?wait=final", json=body)


async def done(town: Town, signed: SignedOperation, desk: int = 0) -> dict[str, Any]:
    answer = await send(town, signed, desk)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def control(town: Town) -> dict[str, Any]:
    answer = await town.reader.get(f"/v1/charts/{town.chart}/control")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def by_guardians(town: Town, operation: Operation, count: int = 2) -> SignedOperation:
    expires = town.network.chain.clock.ms + 30 * DAY_MS
    signed = tuple(
        cosign(GUARDIANS[n], town.network.chain.id, operation, ROLE_GUARDIAN, 0, expires, actor=n) for n in range(count)
    )
    return SignedOperation(operation, signed)


class NewOwner:
    """Keys that a change leads to."""

    def __init__(self, town: Town, name: str, change: int) -> None:
        self.key = SigningKey(seed(f"{name} signing"))
        self.encryption_seed = seed(f"{name} encryption")
        self.private, self.public = keypair_from_seed(SUITE, self.encryption_seed)
        self.keys = OwnerKeys(self.key.public, SUITE, encryption_key_digest(SUITE, self.public))
        message = owner_possession_message(town.network.chain.id, town.chart, change, self.keys)
        self.possession = self.key.sign(message)
        self.body = {"encryption_suite": SUITE, "encryption_public": self.public.hex()}

    def chart_keys(self) -> ChartKeys:
        return ChartKeys(bytes(32), bytes(32), self.encryption_seed)


async def wait_out(town: Town) -> None:
    """The waiting time passes, and the custodian's node does what is then due."""
    clock = town.network.chain.clock
    clock.ms += town.custodian.hospital.core.params.recovery_ms + 1_000
    changes = town.custodian.hospital.records.changes
    await changes.load()
    while await changes.once():
        pass
    while await changes.once():
        pass


def delegate_terms(town: Town, key: SigningKey, **terms: Any) -> DelegateTerms:
    now = town.network.chain.clock.ms
    tags = grant_tags(town.patient.keys.chart_secret, 0, GrantLabels())
    values = {"acts": ACT_GRANT | ACT_REVOKE, "tags": tags, "purposes": ("TREAT",)} | terms
    return DelegateTerms(key.public, SUITE, bytes(32), not_before=now, not_after=now + 30 * DAY_MS, **values)


async def test_a_chart_without_a_word_allows_emergencies_and_has_nobody_else(town: Town) -> None:
    found = await control(town)
    assert found["policy"] == {"break_glass": "allowed", "bars": []}
    assert (found["grants"], found["delegates"], found["guardians"], found["pending"]) == ([], [], None, None)
    assert (found["next_change"], found["frozen"]) == (0, False)


async def test_policy_delegates_and_grants_are_told_as_they_stand(town: Town) -> None:
    patient, clock = town.patient, town.network.chain.clock
    bar = Bar(1, (None, None, None), emergencies=True)
    await done(town, patient.sign(SetPolicy(town.chart, Policy(BreakGlassMode.TWO_INSTITUTIONS, (bar,)))), desk=1)
    key = SigningKey(seed("delegate"))
    named = await done(town, patient.sign(Delegate(town.chart, delegate_terms(town, key))))
    assert (named["delegate"], named["grant"]) == (0, None)
    early = patient.grant(town.chart, 1, GrantLabels(), not_before=clock.ms + DAY_MS, practitioners=(b"p" * 16,))
    for signed in (early, patient.grant(town.chart, 1, GrantLabels(), not_after=clock.ms + 1_000), patient.grant(
        town.chart, 1, GrantLabels(), access=3
    )):  # fmt: skip
        await done(town, signed)
    await done(town, patient.revoke(town.chart, 2))
    clock.ms += 10_000
    found = await control(town)
    assert found["policy"]["break_glass"] == "two-institutions"
    assert found["policy"]["bars"] == [
        {"institution": 1, "tags": [None, None, None], "emergencies": True, "generation": 0}
    ]
    assert [one["state"] for one in found["grants"]] == ["not-yet", "expired", "revoked"]
    assert found["grants"][0]["practitioners"] == [(b"p" * 16).hex()]
    assert found["grants"][2]["access"] == ["read", "write"]
    (one,) = found["delegates"]
    assert (one["delegate"], one["state"], one["acts"]) == (0, "live", ["grant", "revoke"])
    ended = await done(town, patient.sign(EndDelegate(town.chart, 0)))
    assert ended["delegate"] == 0
    assert (await control(town))["delegates"][0]["state"] == "ended"


async def test_a_delegate_grants_within_its_bounds_and_is_refused_beyond(town: Town) -> None:
    key, chain = SigningKey(seed("delegate")), town.network.chain
    await done(town, town.patient.sign(Delegate(town.chart, delegate_terms(town, key))))

    def by_delegate(number: int, **terms: Any) -> SignedOperation:
        now = chain.clock.ms
        tags = grant_tags(town.patient.keys.chart_secret, 0, GrantLabels())
        values = {"purposes": ("TREAT",), "not_after": now + DAY_MS} | terms
        operation = Grant(town.chart, GrantTerms((1,), tags, not_before=now, **values))
        return SignedOperation(operation, (cosign(key, chain.id, operation, ROLE_DELEGATE, number, now + HOUR_MS),))

    assert (await done(town, by_delegate(1)))["grant"] == 0
    for terms in ({"purposes": ("HRESCH",)}, {"not_after": chain.clock.ms + 60 * DAY_MS}, {"access": 3}):
        refused = await send(town, by_delegate(2, **terms))
        assert (refused.status_code, code(refused)) == (403, "beyond-bounds"), terms
    assert code(await send(town, by_delegate(1))) == "replayed"


async def test_guardians_move_a_chart_and_the_custodian_completes_it_by_itself(town: Town) -> None:
    path = f"/v1/charts/{town.chart}"
    await town.custodian.post(f"{path}/records?wait=final", content=OBSERVATION, headers=FHIR)
    guardians = Guardians(2, tuple(key.public for key in GUARDIANS))
    await done(town, town.patient.sign(SetGuardians(town.chart, 0, guardians)))
    assert (await control(town))["guardians"] == {"threshold": 2, "keys": [key.public.hex() for key in GUARDIANS]}

    new = NewOwner(town, "new", 1)
    begin = BeginRecovery(town.chart, 1, new.keys, new.possession)
    assert code(await send(town, by_guardians(town, begin, 1))) == "too-few-guardians"
    early = await town.custodian.ask("PUT", f"{path}/owner-key", json=new.body)
    assert (early.status_code, code(early)) == (409, "owner-key-unknown")
    await done(town, by_guardians(town, begin), desk=1)
    pending = (await control(town))["pending"]
    assert (pending["change"], pending["kind"], pending["owner_key"]) == (1, "recovery", new.key.public.hex())
    assert code(await send(town, SignedOperation(CompleteRecovery(town.chart, 1)))) == "too-early"

    handed = await town.custodian.ask("PUT", f"{path}/owner-key", json=new.body)
    assert handed.json()["state"] == "waiting"
    elsewhere = await town.reader.ask("PUT", f"{path}/owner-key", json=new.body)
    assert code(elsewhere) == "not-custodian"
    # Before the change took effect, nothing is sealed to the new key: the owner may still veto.
    await town.custodian.hospital.records.changes.once()
    envelope = (await town.custodian.get(f"{path}/records/1/owner-envelope")).content
    assert await _opens(town, town.patient.keys, envelope)
    secret = await town.custodian.get(f"{path}/secret-envelope")
    assert await _secret_of(town, town.patient.private, secret.content) == town.patient.keys.chart_secret

    await wait_out(town)
    found = await control(town)
    assert (found["owner_key"], found["pending"], found["next_change"]) == (new.key.public.hex(), None, 2)
    envelope = (await town.custodian.get(f"{path}/records/1/owner-envelope")).content
    assert await _opens(town, new.chart_keys(), envelope)
    assert not await _opens(town, town.patient.keys, envelope)
    secret = await town.custodian.get(f"{path}/secret-envelope")
    assert await _secret_of(town, new.private, secret.content) == town.patient.keys.chart_secret
    assert code(await send(town, town.patient.grant(town.chart, 1, GrantLabels()))) == "bad-cosignature"
    stored = await town.custodian.post(f"{path}/records?wait=final", content=OBSERVATION, headers=FHIR)
    (record,) = stored.json()["records"]
    envelope = (await town.custodian.get(f"{path}/records/{record}/owner-envelope")).content
    assert await _opens(town, new.chart_keys(), envelope, record)


async def _opens(town: Town, keys: ChartKeys, envelope: bytes, record: int = 1) -> bool:
    sealed = (await town.custodian.get(f"/v1/charts/{town.chart}/records/{record}/sealed")).content
    raw = (await town.custodian.hospital.core.events_at(town.chart, [record]))[record]
    assert isinstance(decode_event(raw), RecordAppended)
    try:
        own = open_own(keys, SUITE, town.network.chain.id, town.chart, raw, envelope=envelope, sealed=sealed)
    except ChartledgerError:
        return False
    return own.data == OBSERVATION


async def _secret_of(town: Town, private: Any, envelope: bytes) -> bytes:
    leaf = await town.custodian.hospital.core.chart(town.chart)
    assert leaf is not None
    info = secret_info(town.network.chain.id, town.chart, leaf.encryption_key)
    return open_envelope(SUITE, private, info, envelope)


async def test_without_the_new_key_records_are_kept_and_their_envelopes_wait_for_it(town: Town) -> None:
    path = f"/v1/charts/{town.chart}"
    new = NewOwner(town, "rotated", 0)
    await done(town, town.patient.sign(RotateOwnerKey(town.chart, 0, new.keys, new.possession)))
    await wait_out(town)
    stored = await town.custodian.post(f"{path}/records?wait=final", content=OBSERVATION, headers=FHIR)
    (record,) = stored.json()["records"]
    for place in (f"{path}/records/{record}/owner-envelope", f"{path}/secret-envelope"):
        answer = await town.custodian.get(place)
        assert (answer.status_code, code(answer)) == (409, "owner-key-missing")
    handed = await town.custodian.ask("PUT", f"{path}/owner-key", json=new.body)
    assert handed.json()["state"] == "in-force"
    while await town.custodian.hospital.records.changes.once():
        pass
    envelope = (await town.custodian.get(f"{path}/records/{record}/owner-envelope")).content
    assert await _opens(town, new.chart_keys(), envelope, record)


async def test_what_is_said_in_confidence_is_sealed_to_the_new_key_from_its_first_moment(town: Town) -> None:
    path = f"/v1/charts/{town.chart}"
    new = NewOwner(town, "rotated", 0)
    confidence = town.custodian.hospital.records.confidence
    await done(town, town.patient.sign(RotateOwnerKey(town.chart, 0, new.keys, new.possession)))
    assert (await confidence.owner_key(OwnerKeyRequest(town.chart))).public == town.patient.public
    town.network.chain.clock.ms += town.custodian.hospital.core.params.recovery_ms + 1_000
    await done(town, SignedOperation(CompleteRecovery(town.chart, 0)))
    with pytest.raises(OwnerKeyMissing):
        await confidence.owner_key(OwnerKeyRequest(town.chart))
    await town.custodian.ask("PUT", f"{path}/owner-key", json=new.body)
    assert (await confidence.owner_key(OwnerKeyRequest(town.chart))).public == new.public


async def test_a_damaged_row_of_one_chart_stops_neither_the_node_nor_other_charts(
    town: Town, capsys: pytest.CaptureFixture[str]
) -> None:
    first = town.chart
    other = Patient(town.network.chain, 0, "other")
    opened = await town.custodian.post("/v1/charts?wait=final", json=town.chart_in(other))
    new = []
    for chart, patient in ((first, town.patient), (opened.json()["chart"], other)):
        town.chart = chart
        new.append(NewOwner(town, f"rotated {chart}", 0))
        await done(town, patient.sign(RotateOwnerKey(chart, 0, new[-1].keys, new[-1].possession)))
        await town.custodian.ask("PUT", f"/v1/charts/{chart}/owner-key", json=new[-1].body)
    damage = "UPDATE chart_secret SET sealed = x'00' WHERE chart = ?"
    await town.custodian.hospital.ledger.database.write(lambda c: c.execute(damage, (first,)).rowcount)
    await wait_out(town)
    secret = (await town.custodian.get(f"/v1/charts/{town.chart}/secret-envelope")).content
    assert await _secret_of(town, new[1].private, secret) == other.keys.chart_secret
    assert "owner's key not taken up" in capsys.readouterr().out


async def test_what_was_on_its_way_while_the_keys_changed_is_sealed_anew_too(town: Town) -> None:
    path = f"/v1/charts/{town.chart}"
    chain = town.network.chain
    new = NewOwner(town, "rotated", 0)
    await done(town, town.patient.sign(RotateOwnerKey(town.chart, 0, new.keys, new.possession)))
    await town.custodian.ask("PUT", f"{path}/owner-key", json=new.body)
    chain.clock.ms += town.custodian.hospital.core.params.recovery_ms + 1_000
    chain.held = True
    await town.custodian.post(f"{path}/records", content=OBSERVATION, headers=FHIR)
    (late,) = chain.waiting
    chain.waiting.clear()
    chain.held = False
    changes = town.custodian.hospital.records.changes
    await changes.load()
    while await changes.once():
        pass
    assert (await control(town))["owner_key"] == new.key.public.hex()
    await chain.offer([late])
    (record,) = [n for n, raw in await town.custodian.hospital.core.events(town.chart, 0, 99)
                 if isinstance(decode_event(raw), RecordAppended)]  # fmt: skip
    assert await _opens(town, town.patient.keys, await _envelope(town, record), record)
    while await changes.once():
        pass
    assert await _opens(town, new.chart_keys(), await _envelope(town, record), record)
    chain.clock.ms += 2 * DAY_MS
    await changes.once()
    assert await town.custodian.hospital.ledger.records.owner_keys.all() == []


async def _envelope(town: Town, record: int) -> bytes:
    return (await town.custodian.get(f"/v1/charts/{town.chart}/records/{record}/owner-envelope")).content


async def test_a_veto_ends_a_recovery_and_the_key_that_was_handed_in_goes(town: Town) -> None:
    path = f"/v1/charts/{town.chart}"
    await done(town, town.patient.sign(SetGuardians(town.chart, 0, Guardians(2, tuple(k.public for k in GUARDIANS)))))
    new = NewOwner(town, "thief", 1)
    await done(town, by_guardians(town, BeginRecovery(town.chart, 1, new.keys, new.possession)))
    await town.custodian.ask("PUT", f"{path}/owner-key", json=new.body)
    await done(town, town.patient.sign(CancelRecovery(town.chart, 1)))
    await wait_out(town)
    found = await control(town)
    assert (found["owner_key"], found["pending"]) == (town.patient.key.public.hex(), None)
    assert await town.custodian.hospital.ledger.records.owner_keys.all() == []


async def test_an_overruled_veto_and_a_frozen_owner_are_told(town: Town) -> None:
    await done(town, town.patient.sign(SetGuardians(town.chart, 0, Guardians(2, tuple(k.public for k in GUARDIANS)))))
    new = NewOwner(town, "new", 1)
    begin = BeginRecovery(town.chart, 1, new.keys, new.possession, overrule=True)
    assert code(await send(town, by_guardians(town, begin), desk=1)) == "unauthorised"
    document = {"chart": town.chart, "operation": b64encode(encode(by_guardians(town, begin))).decode()}
    clerk = await town.custodian.post("/v1/operations?wait=final", json=document, uid=OTHER)
    assert (clerk.status_code, code(clerk)) == (403, "not-allowed"), "it is the institution's word, not a desk's"
    await done(town, by_guardians(town, begin))
    assert (await control(town))["frozen"] is True
    assert code(await send(town, town.patient.sign(CancelRecovery(town.chart, 1)))) == "veto-overruled"
    assert code(await send(town, town.patient.grant(town.chart, 1, GrantLabels()))) == "owner-frozen"
    await done(town, by_guardians(town, CancelRecovery(town.chart, 1)))
    assert (await control(town))["frozen"] is False


async def test_a_practitioner_has_one_pseudonym_at_each_chart_and_institution(town: Town) -> None:
    path = f"/v1/charts/{town.chart}/pseudonym"
    here = (await town.reader.get(path, params={"staff": "4711"})).json()["practitioner"]
    assert here == (await town.reader.get(path, params={"staff": "4711"})).json()["practitioner"]
    assert here != (await town.custodian.get(path, params={"staff": "4711"})).json()["practitioner"]
    assert here != (await town.reader.get(path, params={"staff": "4712"})).json()["practitioner"]
    assert code(await town.reader.get(path)) == "bad-staff-id"


async def test_the_chart_of_a_key_that_was_replaced_is_found_if_asked_so(town: Town) -> None:
    new = NewOwner(town, "rotated", 0)
    await done(town, town.patient.sign(RotateOwnerKey(town.chart, 0, new.keys, new.possession)))
    await wait_out(town)
    old = town.patient.key.public.hex()
    assert code(await town.reader.get(f"/v1/charts?owner_key={old}")) == "unknown-chart"
    found = (await town.reader.get(f"/v1/charts?owner_key={old}&former=true")).json()
    assert [one["chart"] for one in found] == [town.chart]


def test_every_error_about_charts_comes_back_from_the_socket_as_itself() -> None:
    from node.api.problems import problem, problem_response

    kinds = [k for k in vars(chart_errors).values() if isinstance(k, type) and k.__module__ == chart_errors.__name__]
    assert len(kinds) > 20
    for kind in kinds:
        answer = problem_response(kind("said so"))
        back = problem_of(bytes(answer.body), answer.status_code)
        assert type(back) is kind
        assert (str(back), back.advice) == ("said so", kind.advice)
        assert 400 <= problem(kind()).status < 500
