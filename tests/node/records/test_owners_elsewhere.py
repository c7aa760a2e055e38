"""An owner reads through any institution's node, the chart's custodian dead; who holds anything judges for itself."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from node.owner_details import open_said
from node.parts_reading import NothingOpens, ReaderKey, read_parts
from node.reading_pass import LIFE_MOST_MS, ReadingPass, make_pass
from node.records.errors import NotFresh, NotHeld, PassRefused, RecordErased, RecordUnknownHere, TooFewHolders
from node.records.owner_messages import OwnerBlobRequest, OwnerDetailsRequest, OwnerShareRequest
from protocol.chart_errors import OwnerFrozen
from protocol.crypto.details import Details
from protocol.crypto.signing import SigningKey
from protocol.errors import ChartledgerError, UnknownChart
from protocol.ledger.events import GlassBroken, decode_event
from protocol.types.operations import (
    BeginRecovery,
    CompleteRecovery,
    Guardians,
    RotateOwnerKey,
    SetGuardians,
)
from tests.node.api.test_control import GUARDIANS, NewOwner, by_guardians
from tests.node.records.elsewhere import CUSTODIAN, FOREIGN, TEXT, WRITER, Liar, Scene, scene
from tests.node.records.erasing import erase
from tests.node.records.fake_core import HOUR_MS, SUITE, Hospital, seed

__all__ = ["scene"]


@pytest.mark.parametrize("whose", ["custodian's", "another's"])
async def test_the_owner_reads_with_custodian_and_writer_dead(scene: Scene, whose: str) -> None:
    record, text = (scene.record, TEXT) if whose == "custodian's" else (scene.foreign, FOREIGN)
    scene.down(CUSTODIAN, WRITER)
    assert await scene.owner_reads(record, scene.through(record)) == text
    assert await scene.owner_reads(record, scene.hospital(scene.holders(record)[1])) == text


async def test_whoever_wrote_it_gives_it_alone_also_what_others_may_not_even_store(scene: Scene) -> None:
    for record, text in ((scene.record, TEXT), (scene.foreign, FOREIGN)):
        through = scene.through(record)
        found = await through.records.for_owners.parts(scene.shown(through), record)
        assert [one.kind for one in found.parts] == ["owner"]
        assert await scene.owner_reads(record, through) == text
    request = OwnerShareRequest(scene.shown(through), scene.foreign)
    with pytest.raises(NotHeld):
        await through.records.owner_releaser.share(through.core.institution, request)


async def rotated(scene: Scene, by: Hospital) -> ReaderKey:
    """The owner turns to keys of which no holder's envelope knows; carried by another hospital than the custodian."""
    patient, new = scene.world.patient, NewOwner(scene, "rotated", 0)  # type: ignore[arg-type]  # has what it takes
    await scene.carry(patient.sign(RotateOwnerKey(scene.chart, 0, new.keys, new.possession)), by)
    scene.world.chain.clock.ms += by.core.params.recovery_ms + 1_000
    await scene.carry(CompleteRecovery(scene.chart, 0), by)
    patient.key, patient.private, patient.public, patient.number = new.key, new.private, new.public, 0
    return ReaderKey.from_seed(SUITE, new.encryption_seed)


async def test_new_keys_read_by_shares_what_envelopes_still_have_for_the_old(scene: Scene) -> None:
    """As after a recovery by guardians while the custodian was gone: nobody seals envelopes anew, and the wallet has no
    older keys."""
    through = scene.through(scene.record)
    scene.down(CUSTODIAN)
    mine = await rotated(scene, through)
    assert await scene.owner_reads(scene.record, through, mine) == TEXT
    found = await through.records.for_owners.parts(scene.shown(through), scene.record)
    envelopes = [one for one in found.parts if one.kind == "owner"]
    with pytest.raises(NothingOpens):
        read_parts([mine], scene.which(scene.record), envelopes, lambda _: b"")
    # One holder alone opens nothing, to whomever: its envelope is for the old key, and one share says nothing.
    scene.down(*scene.holders(scene.record)[1:])
    with pytest.raises(NothingOpens, match="of 2 parts"):
        await scene.owner_reads(scene.record, through, mine)
    scene.down(scene.holders(scene.record)[0])
    with pytest.raises(TooFewHolders):
        await scene.owner_reads(scene.record, through, mine)


async def test_a_living_writer_seals_to_keys_that_were_never_handed_in(scene: Scene) -> None:
    through = scene.through(scene.record)
    mine = await rotated(scene, through)
    found = await through.records.for_owners.parts(scene.shown(through), scene.record)
    assert [(one.institution, one.kind) for one in found.parts] == [(CUSTODIAN, "owner")]
    assert await scene.owner_reads(scene.record, through, mine) == TEXT


async def test_the_node_in_between_and_each_holder_learn_nothing(scene: Scene) -> None:
    through = scene.through(scene.record)
    scene.down(CUSTODIAN)
    found = await through.records.for_owners.parts(scene.shown(through), scene.record, holders_only=True)
    assert {one.institution for one in found.parts} == set(scene.holders(scene.record))
    for number in (through.core.institution, *scene.holders(scene.record)):
        theirs = ReaderKey.from_seed(SUITE, seed(f"encryption {number}"))
        with pytest.raises(NothingOpens, match="none opens"):
            read_parts([theirs], scene.which(scene.record), found.parts, lambda _: b"")


@pytest.mark.parametrize("lie", ["share", "index", "details", "blob", "envelope"])
async def test_a_lying_holder_does_not_stop_it(scene: Scene, lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    through = scene.through(scene.record)
    scene.down(CUSTODIAN)
    mine = ReaderKey.from_seed(SUITE, scene.world.patient.keys.encryption_seed)
    if lie != "blob":  # with the old key every honest envelope opens
        mine = await rotated(scene, through)
    lies: dict[str, Any] = {
        "share": {"share": 1, "public": scene.world.patient.public, "record": scene.record},
        "index": {"share": 3, "public": scene.world.patient.public, "record": scene.record},
        "details": {"details": bytes(296)},
        "blob": {"blob": True},
        "envelope": {"owner_envelope": bytes(1_700)},
    }[lie]
    for holder in scene.holders(scene.record):
        Liar(scene, through, holder, monkeypatch, **lies)
        assert await scene.owner_reads(scene.record, through, mine) == TEXT
        monkeypatch.undo()


async def refused_by_each(
    scene: Scene, shown: ReadingPass, error: type[ChartledgerError], match: str | None = None
) -> None:
    """Writer and each holder, asked by themselves for keys and sealed bytes, refuse it as the node in between does."""
    through = scene.through(scene.record)
    for number in (CUSTODIAN, *scene.holders(scene.record)):
        releaser = scene.hospital(number).records.owner_releaser
        with pytest.raises(error, match=match):
            await releaser.share(through.core.institution, OwnerShareRequest(shown, scene.record))
        with pytest.raises(error, match=match):
            await releaser.blob(through.core.institution, OwnerBlobRequest(shown, scene.record, 0))
    for asked in (through.records.for_owners.parts, through.records.for_owners.sealed):
        with pytest.raises(error, match=match):
            await asked(shown, scene.record)


async def test_each_refuses_a_pass_that_does_not_count(scene: Scene) -> None:
    through = scene.through(scene.record)
    chain, patient, good = scene.world.chain, scene.world.patient, scene.shown(scene.through(scene.record))
    named = {"chart": scene.chart, "institution": through.core.institution, "height": chain.header.height}

    def made(key: SigningKey = patient.key, public: bytes = patient.public, **other: Any) -> ReadingPass:
        at = other.pop("now_ms", chain.clock.ms)
        return make_pass(key, other.pop("chain", chain.id), SUITE, public, now_ms=at, **(named | other))

    stranger = SigningKey(seed("a stranger"))
    theirs = scene.hospital(CUSTODIAN).records._envelope_keys.current.public
    for shown, match in (
        (made(stranger), "owner key"),
        (made(chain=bytes(32)), "owner key"),
        (made(public=theirs), "envelope key"),
        (replace(good, public=theirs), "envelope key"),
        (replace(good, height=good.height - 1), "owner key"),
        (replace(good, expires_at=good.expires_at + 1), "owner key"),
        (replace(good, signature=bytes(64)), "owner key"),
        (made(now_ms=chain.clock.ms - HOUR_MS), "run out"),
        (made(now_ms=chain.clock.ms + LIFE_MOST_MS), "longer"),
        (made(institution=CUSTODIAN), "through institution 0"),
    ):
        await refused_by_each(scene, shown, PassRefused, match)
    await refused_by_each(scene, made(chart=77), UnknownChart)
    await refused_by_each(scene, made(height=chain.header.height + 9_000), NotFresh)
    clock, before = chain.clock, chain.clock.ms
    clock.ms += through.core.params.freshness_ms + 1_000
    await refused_by_each(scene, made(), NotFresh)
    clock.ms = before
    # Shown again by another institution, whose connection says who it is, it counts for nothing.
    holder = scene.hospital(scene.holders(scene.record)[0])
    with pytest.raises(PassRefused):
        await holder.records.owner_releaser.share(WRITER, OwnerShareRequest(good, scene.record))
    assert await scene.owner_reads(scene.record, through) == TEXT


async def test_each_refuses_the_old_key_after_a_change(scene: Scene) -> None:
    through = scene.through(scene.record)
    key, public = scene.world.patient.key, scene.world.patient.public
    await rotated(scene, through)
    now = scene.world.chain.clock.ms
    named = {"chart": scene.chart, "institution": through.core.institution, "height": 1, "now_ms": now}
    await refused_by_each(scene, make_pass(key, scene.world.chain.id, SUITE, public, **named), PassRefused)
    mixed = make_pass(key, scene.world.chain.id, SUITE, scene.world.patient.public, **named)
    await refused_by_each(scene, mixed, PassRefused, "owner key")


async def test_each_refuses_a_key_that_is_said_to_be_stolen(scene: Scene) -> None:
    custodian = scene.hospital(CUSTODIAN)
    guardians = Guardians(2, tuple(key.public for key in GUARDIANS))
    await scene.carry(scene.world.patient.sign(SetGuardians(scene.chart, 0, guardians)), custodian)
    new = NewOwner(scene, "rescued", 1)  # type: ignore[arg-type]  # has what it takes
    begin = BeginRecovery(scene.chart, 1, new.keys, new.possession, overrule=True)
    await scene.carry(by_guardians(scene, begin), custodian)  # type: ignore[arg-type]
    await refused_by_each(scene, scene.shown(scene.through(scene.record)), OwnerFrozen)


async def test_each_refuses_what_was_erased_and_what_is_no_record(scene: Scene) -> None:
    through = scene.through(scene.record)
    with pytest.raises(RecordUnknownHere):
        await through.records.for_owners.parts(scene.shown(through), 0)
    holders = scene.holders(scene.record)
    await erase(scene.world, [scene.record], holders)
    shown = scene.shown(through)
    for number in (CUSTODIAN, *holders):
        with pytest.raises(RecordErased):
            await scene.hospital(number).records.owner_releaser.share(
                through.core.institution, OwnerShareRequest(shown, scene.record)
            )
    with pytest.raises(RecordErased):
        await through.records.for_owners.parts(shown, scene.record)


async def test_what_an_asker_said_comes_from_the_asker(scene: Scene) -> None:
    """The custodian died before it was told; the asker answers for its words, sealed to the owner's key in force."""
    through, asker = scene.through(scene.record), scene.hospital(scene.holders(scene.record)[0])
    scene.down(CUSTODIAN)
    said = Details("s-9", "Okafor", "Ada", "registrar", "found unconscious", "")
    prepared = await asker.records.asker.break_glass(scene.chart, [scene.record], "ETREAT", said)
    await asker.core.submit(prepared)
    (final,) = await asker.core.outcomes([prepared[0].id], 0)
    event = final.receipt.operations[0].first_event  # type: ignore[union-attr]  # it is final
    given = await through.records.for_owners.details(scene.shown(through), [event])
    assert [(one.event, one.institution) for one in given] == [(event, asker.core.institution)]
    broken = scene.world.chain.view.events[scene.chart, event]
    document = {"number": event, "justification": _justification(broken).hex()}
    sealed = {event: [bytes(12_000), given[0].sealed]}  # a custodian's rubbish beside it does no harm
    opened = open_said([scene.world.patient.keys], SUITE, scene.world.chain.id, scene.chart, [document], sealed)
    assert opened == {event: said}
    # Not without a pass, and nothing about what others said.
    stranger = SigningKey(seed("a stranger"))
    forged = make_pass(
        stranger, scene.world.chain.id, SUITE, scene.world.patient.public, chart=scene.chart,
        institution=through.core.institution, height=1, now_ms=scene.world.chain.clock.ms,
    )  # fmt: skip
    with pytest.raises(PassRefused):
        await asker.records.owner_releaser.details(through.core.institution, OwnerDetailsRequest(forged, (event,)))
    other = scene.hospital(scene.holders(scene.record)[1]).records.owner_releaser
    answer = await other.details(through.core.institution, OwnerDetailsRequest(scene.shown(through), (event, 0, 999)))
    assert answer.said == ()


def _justification(raw: bytes) -> bytes:
    found = decode_event(raw)
    assert isinstance(found, GlassBroken)
    return found.justification
