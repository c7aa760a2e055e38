"""What nobody can ask for any more goes; what a key may still lead to stays."""

from __future__ import annotations

from node.api.writes import KEY_LIFE_MS
from node.housekeeping import MARGIN_MS, Housekeeping
from node.storage.outbox import Answer
from tests.node.records.conftest import World, settle
from tests.node.records.fake_core import HOUR_MS
from tests.node.records.test_submit import plain


async def test_receipts_outlive_the_keys_that_lead_to_them(world: World) -> None:
    core, ledger = world.custodian.core, world.custodian.ledger
    keeping = Housekeeping(core, ledger.idempotency, ledger.outbox, world.custodian.records)
    prepared = await world.custodian.records.submitter.append(world.chart, [plain("kept")])
    await ledger.idempotency.put(b"key", Answer(bytes(32), core.now_ms() + KEY_LIFE_MS, None, b""))
    await settle(core, prepared)
    ids = [prepared[0].id]

    async def pass_time(ms: int) -> tuple[bool, bool]:
        world.chain.clock.ms += ms
        await world.chain.make_block()
        await keeping.once()
        return await ledger.idempotency.get(b"key") is not None, bool(await ledger.outbox.receipts(ids))

    assert await pass_time(KEY_LIFE_MS) == (True, True)
    assert await pass_time(1) == (False, True)
    assert await pass_time(HOUR_MS + MARGIN_MS - 1) == (False, True)
    assert await pass_time(1) == (False, False)


async def test_a_chain_that_stands_still_keeps_its_receipts(world: World) -> None:
    core, ledger = world.custodian.core, world.custodian.ledger
    keeping = Housekeeping(core, ledger.idempotency, ledger.outbox, world.custodian.records)
    prepared = await world.custodian.records.submitter.append(world.chart, [plain("kept")])
    await settle(core, prepared)
    world.chain.clock.ms += 10 * KEY_LIFE_MS
    await keeping.once()
    assert await ledger.outbox.receipts([prepared[0].id])
