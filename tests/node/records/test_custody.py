"""A chart whose custodian was removed: what its owner hands to the next one is checked, kept once, and used."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from node.records.errors import ChartUnknownHere, NotCustodian, OtherSecret
from node.records.owner_keys import OwnerKeyUnknown
from node.records.seal import ChartSecret
from node.services import FinalBlock
from protocol.codec.canonical import encode
from protocol.crypto.details import Details
from protocol.crypto.envelopes import keypair_from_seed
from protocol.crypto.tags import Labels, tags_of
from protocol.errors import UnknownChart
from protocol.ledger import keys
from protocol.ledger.events import RecordAppended, decode_event
from protocol.ledger.leaves import decode_leaf
from protocol.types.institutions import STATUS_REMOVED
from protocol.types.operations import MoveChart
from tests.node.records.conftest import World, settle
from tests.node.records.fake_core import SUITE, seed
from tests.node.records.test_release import grant
from tests.node.records.test_submit import plain

NEXT = 1


async def moved(world: World) -> None:
    """Institution 0 is removed, and the owner turns to the next."""
    key = keys.institution(0)
    leaf = decode_leaf(key, world.chain.view.leaves[key])
    world.chain.view.leaves[key] = encode(replace(leaf, status=STATUS_REMOVED))  # type: ignore[type-var]  # an institution
    signed = world.patient.sign(MoveChart(world.chart, 0, NEXT))
    await settle(world.reader.core, await world.reader.core.prepare([[signed]]))


def handed(world: World, **changes: bytes) -> ChartSecret:
    patient = world.patient
    given = {"secret": patient.keys.chart_secret, "encryption_public": patient.public} | changes
    return ChartSecret(given["secret"], SUITE, given["encryption_public"])


async def test_the_next_custodian_writes_with_the_same_tags_once_it_was_handed_the_secret(world: World) -> None:
    records = world.reader.records
    with pytest.raises(NotCustodian):
        await records.custody.take_over(world.chart, handed(world))
    await moved(world)
    assert world.chart in await world.reader.core.charts_of_custodian(NEXT, 0, 10)
    assert world.chart not in await world.other.core.charts_of_custodian(0, 0, 10)
    with pytest.raises(ChartUnknownHere):
        await records.submitter.append(world.chart, [plain("too early")])
    await records.custody.take_over(world.chart, handed(world))
    (final,) = await settle(world.reader.core, await records.submitter.append(world.chart, [plain("a new record")]))
    number = final.receipt.operations[0].first_event
    event = decode_event(world.chain.view.events[world.chart, number])
    assert isinstance(event, RecordAppended)
    assert event.entry.tags == tags_of(world.patient.keys.chart_secret, 0, Labels("Observation", "2020"))


async def test_what_is_handed_over_is_checked_and_never_replaced(world: World) -> None:
    await moved(world)
    take_over = world.reader.records.custody.take_over
    other = keypair_from_seed(SUITE, seed("another"))[1]
    for wrong in (handed(world, encryption_public=other), handed(world, encryption_public=b"no key")):
        with pytest.raises(OwnerKeyUnknown):
            await take_over(world.chart, wrong)
    with pytest.raises(UnknownChart):
        await take_over(77, handed(world))
    with pytest.raises(NotCustodian):
        await world.other.records.custody.take_over(world.chart, handed(world))
    await take_over(world.chart, handed(world))
    await take_over(world.chart, handed(world))
    with pytest.raises(OtherSecret):
        await take_over(world.chart, handed(world, secret=bytes(32)))


@pytest.mark.parametrize("revoked", [False, True])
async def test_a_secret_that_made_no_tag_of_the_chart_is_not_taken(world: World, revoked: bool) -> None:
    """Whoever may submit here could come before the owner: what is written then would open to nobody whom the owner
    lets, and be barred from nobody."""
    await settle(world.custodian.core, await world.custodian.records.submitter.append(world.chart, [plain("one")]))
    if revoked:
        number = await grant(world, 2)
        await settle(world.other.core, await world.other.core.prepare([[world.patient.revoke(world.chart, number)]]))
    await moved(world)
    take_over = world.reader.records.custody.take_over
    with pytest.raises(OtherSecret, match="none of the tags"):
        await take_over(world.chart, handed(world, secret=bytes(32)))
    await take_over(world.chart, handed(world))
    (final,) = await settle(world.reader.core, await world.reader.records.submitter.append(world.chart, [plain("two")]))
    event = decode_event(world.chain.view.events[world.chart, final.receipt.operations[0].first_event])
    assert isinstance(event, RecordAppended)
    assert event.entry.tags == tags_of(world.patient.keys.chart_secret, int(revoked), Labels("Observation", "2020"))


async def test_the_next_custodian_completes_what_waits(world: World) -> None:
    await moved(world)
    changes = world.reader.records.changes
    changes.note(world.chain.blocks[-1])
    assert changes._look == {world.chart}


@pytest.mark.parametrize("awake", [True, False])
async def test_what_askers_said_is_told_to_the_next_custodian_too(world: World, awake: bool) -> None:
    """The former had it, and nobody can ask it any more."""
    asker, said = world.other, Details("s-9", "Okafor", "Ada", "registrar", "found unconscious", "")
    opened = (await settle(world.custodian.core, await world.custodian.records.submitter.append(
        world.chart, [plain("a record")]
    )))[0].receipt.operations[0].first_event  # fmt: skip
    prepared = await asker.records.asker.break_glass(world.chart, [opened], "ETREAT", said)
    event = (await settle(asker.core, prepared))[0].receipt.operations[0].first_event
    assert await asker.records.confidence.deliver() == 0
    await moved(world)
    await world.reader.records.custody.take_over(world.chart, handed(world))

    async def blocks() -> AsyncIterator[FinalBlock]:
        yield world.chain.blocks[-1]

    if awake:
        await asker.records.confidence._follow(blocks())
    else:  # the asker's node was down when the chart moved: it looks when it starts
        await asker.records.confidence.renew()
    assert await asker.records.confidence.deliver() == 0
    kept = await world.reader.records.confidence.for_owner(world.chart, 0, 10)
    assert [(one.event, one.institution) for one in kept] == [(event, asker.core.institution)]
