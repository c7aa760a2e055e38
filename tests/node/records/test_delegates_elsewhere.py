"""A delegate reads through any institution's node, writer and custodian dead; each holder judges for itself."""

from __future__ import annotations

from typing import Any

import pytest

from node.parts_reading import NothingOpens, ReaderKey, read_parts
from node.records.errors import GrantEnded, NotDisclosed, NotFresh, RecordErased, ReleaseDenied, TooFewHolders
from node.records.holding_messages import ShareRequest
from protocol.errors import ChartledgerError
from protocol.types.operations import ACT_GRANT
from tests.node.records.elsewhere import CUSTODIAN, FOREIGN, TEXT, WRITER, Helper, Liar, Scene, scene
from tests.node.records.erasing import erase
from tests.node.records.fake_core import SUITE, seed

__all__ = ["scene"]


@pytest.mark.parametrize("whose", ["custodian's", "another's"])
async def test_a_delegate_reads_with_custodian_and_writer_dead(scene: Scene, whose: str) -> None:
    record, text = (scene.record, TEXT) if whose == "custodian's" else (scene.foreign, FOREIGN)
    through = scene.through(record)
    scene.down(CUSTODIAN, WRITER)
    helper = await scene.name(through)
    asking = await scene.ask(helper, record, through)
    assert await scene.delegate_reads(helper, asking, record, through) == text
    # What was asked for through one node is read through another, should that one go as well.
    other = scene.hospital(scene.holders(record)[0])
    assert await scene.delegate_reads(helper, asking, record, other) == text


async def test_while_the_writer_lives_its_word_alone_is_enough(scene: Scene) -> None:
    for record, text in ((scene.record, TEXT), (scene.foreign, FOREIGN)):
        through = scene.through(record)
        helper = await scene.name(through)
        asking = await scene.ask(helper, record, through)
        found = await scene.delegate_parts(helper, asking, record, through)
        assert [one.kind for one in found.parts] == ["key"]
        assert await scene.delegate_reads(helper, asking, record, through) == text


async def test_a_writer_that_gives_rubbish_is_passed_over(scene: Scene) -> None:
    through = scene.through(scene.record)
    helper = await scene.name(through)
    asking = await scene.ask(helper, scene.record, through)
    found = await scene.delegate_parts(helper, asking, scene.record, through, holders_only=True)
    assert {one.institution for one in found.parts} == set(scene.holders(scene.record))


@pytest.mark.parametrize("lie", ["share", "index", "details", "blob"])
async def test_a_lying_holder_does_not_stop_it(scene: Scene, lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    through = scene.through(scene.record)
    scene.down(CUSTODIAN)
    helper = await scene.name(through)
    lies: dict[str, Any] = {
        "share": {"share": 1, "public": helper.public},
        "index": {"share": 3, "public": helper.public},
        "details": {"details": bytes(296)},
        "blob": {"blob": True},
    }[lie]
    for holder in scene.holders(scene.record):
        asking = await scene.ask(helper, scene.record, through)
        Liar(scene, through, holder, monkeypatch, **lies)
        assert await scene.delegate_reads(helper, asking, scene.record, through) == TEXT
        monkeypatch.undo()


async def test_one_holder_alone_opens_nothing_nor_does_the_node_in_between(scene: Scene) -> None:
    through = scene.through(scene.record)
    first, *others = scene.holders(scene.record)
    scene.down(CUSTODIAN)
    helper = await scene.name(through)
    asking = await scene.ask(helper, scene.record, through)
    found = await scene.delegate_parts(helper, asking, scene.record, through, holders_only=True)
    assert len(found.parts) == 3
    which, blob = scene.which(scene.record), b""
    for key in (through, scene.hospital(first)):
        theirs = ReaderKey.from_seed(SUITE, seed(f"encryption {key.core.institution}"))
        with pytest.raises(NothingOpens, match="none opens"):
            read_parts([theirs], which, found.parts, lambda _: blob)
    scene.down(*others)
    with pytest.raises(NothingOpens, match="of 1 parts"):
        await scene.delegate_reads(helper, asking, scene.record, through)
    scene.down(first)
    with pytest.raises(TooFewHolders):
        await scene.delegate_reads(helper, asking, scene.record, through)


async def refused_by_each(
    scene: Scene, helper: Helper, asking: int, error: type[ChartledgerError], height: int = 0
) -> None:
    """Each holder, asked by itself, and by a node that does not judge beforehand."""
    through = scene.through(scene.record)
    request = ShareRequest(scene.world.chart, asking, (scene.record,), helper.public, height, blobs=True)
    for holder in scene.holders(scene.record):
        with pytest.raises(error):
            await scene.hospital(holder).records.sharing.share(through.core.institution, request)


async def test_each_holder_refuses_what_the_ledger_does_not_permit(scene: Scene) -> None:
    through = scene.through(scene.record)
    helper = await scene.name(through)
    asking = await scene.ask(helper, scene.record, through)
    await scene.end(helper, through)
    await refused_by_each(scene, helper, asking, GrantEnded)
    with pytest.raises(GrantEnded):
        await scene.delegate_parts(helper, asking, scene.record, through)
    # Ended before it asked, beyond its purposes, without the act: denied on the ledger, and so by each holder.
    await refused_by_each(scene, helper, await scene.ask(helper, scene.record, through), ReleaseDenied)
    bound = await scene.name(through)
    await refused_by_each(scene, bound, await scene.ask(bound, scene.record, through, "HRESCH"), ReleaseDenied)
    granting = await scene.name(through, acts=ACT_GRANT)
    await refused_by_each(scene, granting, await scene.ask(granting, scene.record, through), ReleaseDenied)


async def test_each_holder_refuses_another_key_a_stale_ledger_and_what_was_erased(scene: Scene) -> None:
    through = scene.through(scene.record)
    one, other = await scene.name(through), await scene.name(through)
    asking = await scene.ask(one, scene.record, through)
    await refused_by_each(scene, other, asking, NotDisclosed)
    await refused_by_each(scene, one, asking, NotFresh, scene.world.chain.header.height + 9_000)
    clock, before = scene.world.chain.clock, scene.world.chain.clock.ms
    clock.ms += through.core.params.freshness_ms + 1_000
    await refused_by_each(scene, one, asking, NotFresh)
    clock.ms = before
    await erase(scene.world, [scene.record], scene.holders(scene.record))
    await refused_by_each(scene, one, asking, RecordErased)
    with pytest.raises(RecordErased):
        await scene.delegate_parts(one, asking, scene.record, through)
