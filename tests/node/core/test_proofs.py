"""Proofs as a node makes them from its disk: of any final block and event, from any epoch on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from node.cli import proof as cli
from node.proving import Proofs
from node.queries import Queries
from node.storage.ledger_store import LedgerStore
from protocol import limits
from protocol.chart_errors import UnknownErasure
from protocol.errors import BadProof, BadTerms, Busy, TooManyEpochs, UnknownChart, UnknownGrant, UnknownRecord
from protocol.ledger.events import Reason
from protocol.proofs import bundle, final, inclusion
from protocol.proofs.grant import GrantClaim
from protocol.proofs.history import HistoryClaim
from protocol.proofs.light import Checkpoint
from protocol.types.governance import GiveAuthority, Parameter, SetParameters, TakeAuthority
from tests.node.storage.conftest import Chain


class Made:
    """A chain of four epochs on disk; `queries` are those of a node whose head is its last block."""

    def __init__(self, store: LedgerStore) -> None:
        self.chain, self.store = Chain(), store
        self.kept: dict[int, Checkpoint] = {}
        self.queries = cast(Queries, None)

    async def fill(self) -> None:
        chain = self.chain
        await self.store.init_genesis(chain.genesis_raw, chain.first)
        blocks = [chain.block(chain.open_charts(0, 0))]
        changes = [TakeAuthority(3), GiveAuthority(3), SetParameters((Parameter("heartbeat_ms", 60_000),))]
        for change in changes:
            blocks.append(chain.block(chain.append(0, 0), certified=False))
            blocks.append(chain.block(*chain.pass_change(change)))
        blocks.append(chain.block(chain.append(0, 0), certified=False))
        blocks.append(chain.block(chain.append(0, 0)))
        await self.store.commit(blocks)
        self.blocks = [chain.first, *blocks]
        for one in blocks:
            if one.certificate is not None:
                epoch = one.header.epoch
                self.kept[epoch] = Checkpoint(one.header, one.certificate, chain.authorities(epoch))
        self.queries = Queries(
            institution=0,
            genesis=chain.genesis,
            chain=chain.id,
            store=self.store,
            finality=cast(Any, SimpleNamespace(head=blocks[-1].header, certificate=blocks[-1].certificate)),
            standing=cast(Any, None),
            clock=cast(Any, None),
        )


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Made]:
    store = await LedgerStore.open(tmp_path / "ledger.db")
    made = Made(store)
    await made.fill()
    yield made
    await store.close()


async def test_every_block_is_shown_final_from_the_genesis(made: Made) -> None:
    last = len(made.blocks) - 1
    for height in range(1, last + 1):
        shown = final.check(bundle.read_final(await made.queries.proofs.final(0, height)), genesis=made.chain.genesis)
        assert shown.header == made.blocks[height].header
        assert [end.epoch for end in shown.ends] == list(range(shown.header.epoch))
        assert shown.certified.height == next(h for h in range(height, last + 1) if made.blocks[h].certificate)
    head = final.check(bundle.read_final(await made.queries.proofs.final()), genesis=made.chain.genesis)
    assert (head.header, head.header.epoch) == (made.blocks[-1].header, 3)


async def test_from_any_epoch_on_for_whoever_has_a_checkpoint_of_it(made: Made) -> None:
    for epoch, kept in made.kept.items():
        shown = final.check(bundle.read_final(await made.queries.proofs.final(epoch)), checkpoint=kept)
        assert len(shown.ends) == 3 - epoch
        for event in (0, 3):
            proof = bundle.read_inclusion(await made.queries.proofs.inclusion(0, event, epoch))
            assert inclusion.check(proof, None, checkpoint=kept).number == event
    claim = inclusion.check(bundle.read_inclusion(await made.queries.proofs.inclusion(0, 1)), made.chain.genesis)
    assert [end.height for end in claim.final.ends] == [3, 5, 7]


async def test_what_there_is_no_proof_of(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = made.queries
    with pytest.raises(BadProof, match="no block of height 10 or above is final yet"):
        await queries.proofs.final(0, 10)
    with pytest.raises(BadProof, match="block 9 is of epoch 3: no proof of it begins at epoch 4"):
        await queries.proofs.final(4)
    with pytest.raises(BadProof, match="block 2 is of epoch 0: no proof of it begins at epoch 1"):
        await queries.proofs.final(1, 2)
    with pytest.raises(BadProof, match="no proof of it begins at epoch"):
        await queries.proofs.inclusion(0, 0, limits.U53)
    with pytest.raises(UnknownChart):
        await queries.proofs.inclusion(1, 0)
    with pytest.raises(UnknownRecord):
        await queries.proofs.inclusion(0, 99)
    monkeypatch.setattr(limits, "HOPS_PER_PROOF", 2)
    with pytest.raises(TooManyEpochs, match="3 epochs lie between, and a proof carries at most 2"):
        await queries.proofs.final(0, 9)
    with pytest.raises(TooManyEpochs):
        await queries.proofs.inclusion(0, 0)


@pytest.mark.parametrize("most", [1, 2, 3])
async def test_a_checkpoint_reaches_the_head_over_more_epochs_than_a_proof_carries(
    made: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, most: int
) -> None:
    """Or nobody who comes later than that with the genesis alone could check anything."""
    monkeypatch.setattr(limits, "HOPS_PER_PROOF", most)
    legs = []

    class Session:
        def final_proof(self, epoch: int = 0) -> bytes:
            legs.append(epoch)
            return asyncio.run_coroutine_threadsafe(made.queries.proofs.final(epoch), loop).result()

    @contextmanager
    def connect(_socket: Path) -> Iterator[Session]:
        yield Session()

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(cli, "connect", connect)
    monkeypatch.setattr(cli, "read_genesis", lambda _path: made.chain.genesis)
    output = tmp_path / "checkpoint"
    await asyncio.to_thread(cli.checkpoint, output, genesis=tmp_path, former=None, socket=tmp_path, as_json=True)
    assert bundle.read_checkpoint(output.read_bytes()).header == made.blocks[-1].header
    assert legs == {1: [0, 1, 2, 3], 2: [0, 2], 3: [0, 3]}[most]


# --- of charts


async def test_a_long_history_comes_in_parts_that_adjoin(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENTS_PER_PROOF", 2)
    first, events = 0, []
    while True:
        raw = await made.queries.proofs.history(0, first)
        claim = bundle.check(bundle.read(raw), genesis=made.chain.genesis)
        assert isinstance(claim, HistoryClaim)
        assert claim.first == first
        assert not claim.complete
        events += claim.events
        first = claim.end
        if first == claim.total:
            break
    assert len(events) == claim.total > 4
    monkeypatch.setattr(limits, "EVENTS_PER_PROOF", 1_000)
    whole = bundle.check(bundle.read(await made.queries.proofs.history(0)), genesis=made.chain.genesis)
    assert isinstance(whole, HistoryClaim)
    assert whole.complete
    assert list(whole.events) == events
    monkeypatch.setattr(limits, "EVENTS_BYTES_PER_PROOF", 1)
    one = bundle.check(bundle.read(await made.queries.proofs.history(0, 2)), genesis=made.chain.genesis)
    assert isinstance(one, HistoryClaim)
    assert (one.first, one.end) == (2, 3)


async def test_a_grant_that_never_was_at_every_height(made: Made) -> None:
    for height in range(1, 10):
        claim = bundle.check(
            bundle.read(await made.queries.proofs.past_grant(0, 0, height, 1)), genesis=made.chain.genesis
        )
        assert isinstance(claim, GrantClaim)
        assert (claim.height, claim.against, claim.grants) == (height, Reason.NO_GRANT, 0)
    with pytest.raises(UnknownGrant):
        await made.queries.proofs.grant(0, 70_000)
    with pytest.raises(BadTerms):
        await made.queries.proofs.grant(0, 0, 1 << 24)
    with pytest.raises(UnknownErasure):
        await made.queries.proofs.erasure(0, 1)


async def test_a_history_too_long_for_one_proof_is_no_proof_of_a_grant(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "EVENTS_PER_PROOF", 2)
    await made.queries.proofs.past_grant(0, 0, 1)
    with pytest.raises(BadProof, match="more happened to chart 0 up to block 9 than the 2 events"):
        await made.queries.proofs.past_grant(0, 0, 9)


async def test_a_proof_is_of_one_state_though_blocks_become_final_meanwhile(made: Made) -> None:
    """The head is one block behind what was read the first time, and right the second."""
    head = made.blocks[-1]
    behind = made.blocks[3]
    heads = iter([behind, head, head, head, head])

    class Moving:
        def __init__(self) -> None:
            self.certificate = head.certificate

        @property
        def head(self) -> Any:
            return next(heads).header

    proofs = Proofs(made.store, cast(Any, Moving()))
    claim = bundle.check(bundle.read(await proofs.grant(0, 0, 1)), genesis=made.chain.genesis)
    assert isinstance(claim, GrantClaim)
    assert claim.height == head.header.height
    still = SimpleNamespace(head=behind.header, certificate=behind.certificate)
    with pytest.raises(Busy):
        await Proofs(made.store, cast(Any, still)).grant(0, 0, 1)
