"""The final state, read: what the socket and the records side look up.

Everything comes from storage as of the last stored block; nothing here sees what may still change. See
`node.services.Queries` for what each answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from node.clock import Clock
from node.finality import Finality
from node.proving import Proofs
from node.services import FinalBlock
from node.standing import Standing
from node.storage.ledger_store import LedgerStore
from node.storage.types import Asking
from protocol.crypto.hashing import block_digest
from protocol.ledger import keys
from protocol.ledger.leaves import Chart, GrantLeaf, Leaf, OwnerIndex, decode_leaf
from protocol.params import Params
from protocol.types.block import Header
from protocol.types.institutions import STATUS_ACCREDITED, Genesis, Institution

BLOCKS_BYTES = 4 * 1024 * 1024

L = TypeVar("L", bound=Leaf)


class Queries:
    """See `node.services.Queries`."""

    def __init__(
        self,
        *,
        institution: int,
        genesis: Genesis,
        chain: bytes,
        store: LedgerStore,
        finality: Finality,
        standing: Standing,
        clock: Clock,
    ) -> None:
        self.institution = institution
        self.genesis = genesis
        self.chain = chain
        self._store = store
        self._finality = finality
        self._standing = standing
        self._clock = clock
        self.proofs = Proofs(store, finality)

    @property
    def params(self) -> Params:
        return self._standing.params

    def head(self) -> Header:
        return self._finality.head

    def now_ms(self) -> int:
        return self._clock.wall_ms()

    async def institution_leaf(self, number: int) -> Institution | None:
        return self._standing.institution(number)

    def accredited(self) -> list[int]:
        leaves = sorted(self._standing.institutions.items())
        return [number for number, leaf in leaves if leaf.status == STATUS_ACCREDITED]

    async def chart(self, number: int) -> Chart | None:
        return await self._leaf(keys.chart(number), Chart) if number <= keys.CHART_MAX else None

    async def chart_of_owner(self, owner_key: bytes) -> int | None:
        found = await self._leaf(keys.owner(owner_key), OwnerIndex)
        if found is None:
            return None
        # The index knows a part of the key's digest only; a wallet must not be told of somebody else's chart.
        chart = await self.chart(found.chart)
        return found.chart if chart is not None and chart.owner_key == owner_key else None

    async def charts_of_custodian(self, institution: int, first: int, count: int) -> list[int]:
        return await self._store.charts_of(institution, first, count)

    async def grant(self, chart: int, grant: int) -> GrantLeaf | None:
        if chart > keys.CHART_MAX or grant > keys.GRANT_MAX:
            return None
        return await self._leaf(keys.grant(chart, grant), GrantLeaf)

    async def leaves(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        return await self._store.read_leaves(keys)

    async def last_leaves(self, kind: int, count: int) -> list[tuple[bytes, bytes]]:
        return await self._store.last_leaves(kind, count)

    async def events(self, chart: int, first: int, count: int) -> list[tuple[int, bytes]]:
        return await self._store.chart_events(chart, first, count)

    async def events_at(self, chart: int, numbers: Sequence[int]) -> dict[int, bytes]:
        found = await self._store.read_events([(chart, number) for number in numbers])
        return {number: raw for (_, number), raw in found.items()}

    async def askings(self, before: int | None, count: int) -> list[Asking]:
        return await self._store.askings(before, count)

    async def blocks(self, first: int, count: int) -> list[FinalBlock]:
        stored = await self._store.blocks(first, count, BLOCKS_BYTES)
        blocks = [one.block for one in stored]
        return [FinalBlock(block.header, block_digest(block.header), block.transactions) for block in blocks]

    async def _leaf(self, key: bytes, kind: type[L]) -> L | None:
        raw = (await self._store.read_leaves([key])).get(key)
        if raw is None:
            return None
        leaf = decode_leaf(key, raw)
        assert isinstance(leaf, kind)
        return leaf
