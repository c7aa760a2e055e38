"""The final state, read: what the socket and the records side look up.

Everything comes from storage as of the last stored block; nothing here sees what may still change. See
`node.services.Queries` for what each answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from node.clock import Clock
from node.finality import Finality
from node.services import FinalBlock
from node.standing import Standing
from node.storage.ledger_store import LedgerStore
from protocol import limits
from protocol.codec.canonical import decode
from protocol.crypto.hashing import block_digest
from protocol.errors import BadProof, Busy, TooManyEpochs, UnknownChart, UnknownRecord
from protocol.ledger import keys, tree
from protocol.ledger.leaves import Chart, GrantLeaf, Leaf, OwnerIndex, decode_leaf
from protocol.params import Params
from protocol.proofs import bundle
from protocol.proofs.final import FinalityProof
from protocol.proofs.inclusion import InclusionProof, events_needed, prove
from protocol.proofs.light import EpochHop
from protocol.types.block import Header
from protocol.types.institutions import Genesis, Institution
from protocol.types.votes import Certificate

BLOCKS_BYTES = 4 * 1024 * 1024
PROOF_TRIES = 16

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

    @property
    def params(self) -> Params:
        return self._standing.params

    def head(self) -> Header:
        return self._finality.head

    def now_ms(self) -> int:
        return self._clock.wall_ms()

    async def institution_leaf(self, number: int) -> Institution | None:
        return self._standing.institution(number)

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

    async def blocks(self, first: int, count: int) -> list[FinalBlock]:
        stored = await self._store.blocks(first, count, BLOCKS_BYTES)
        blocks = [one.block for one in stored]
        return [FinalBlock(block.header, block_digest(block.header), block.transactions) for block in blocks]

    async def proof(self, chart: int, event: int, epoch: int = 0) -> bytes:
        for _ in range(PROOF_TRIES):
            found = await self._try_proof(chart, event, epoch)
            if found is not None:
                return bundle.write(found)
        raise Busy("blocks became final faster than a proof could be put together")

    async def final_proof(self, epoch: int = 0, height: int | None = None) -> bytes:
        wanted = max(1, await self._furthest(epoch) if height is None else height)
        headers, certificate = await self._store.headers_to_certificate(wanted, limits.HEADERS_PER_PROOF)
        if certificate is None:
            raise BadProof(f"no block of height {wanted} or above is final yet")
        header, *above = [decode(Header, raw) for raw in headers]
        hops = await self._hops(epoch, header)
        return bundle.write(FinalityProof(header, tuple(above), decode(Certificate, certificate), hops))

    async def _furthest(self, epoch: int) -> int:
        """The height of the last final block that one proof reaches from this epoch on: the head's, or that of the end
        of an epoch, from where the next proof may begin."""
        head = self._finality.head
        if head.epoch - epoch <= limits.HOPS_PER_PROOF:
            return head.height
        (end,) = await self._store.epoch_ends(epoch + limits.HOPS_PER_PROOF, 1)
        return end.header.height

    async def _hops(self, first: int, header: Header) -> tuple[EpochHop, ...]:
        """The ends of the epochs from `first` up to the one that `header` is of."""
        if first > header.epoch:
            raise BadProof(f"block {header.height} is of epoch {header.epoch}: no proof of it begins at epoch {first}")
        count = header.epoch - first
        if count > limits.HOPS_PER_PROOF:
            raise TooManyEpochs(f"{count} epochs lie between, and a proof carries at most {limits.HOPS_PER_PROOF}")
        ends = await self._store.epoch_ends(first, count)
        return tuple(EpochHop(end.header, end.certificate, end.next_authorities) for end in ends)

    async def _try_proof(self, chart: int, event: int, epoch: int) -> InclusionProof | None:
        """The proof at the final head; None if the head moved while it was read."""
        header, certificate = self._finality.head, self._finality.certificate
        key = keys.chart(chart) if chart <= keys.CHART_MAX else b""
        leaf = (await self._store.read_leaves([key])).get(key)
        if leaf is None or certificate is None:
            raise UnknownChart(f"there is no chart {chart}")
        walk = tree.Walk([key])
        while wanted := walk.wanted():
            walk.supply(await self._store.read_nodes(wanted))
        path = walk.prove(key)
        try:
            tree.check_leaf(header.state_root, key, leaf, path)
        except BadProof:
            return None
        stands = decode(Chart, leaf)
        if event >= stands.events:
            raise UnknownRecord(f"chart {chart} has no event {event}")
        needed = events_needed(stands, event)
        events = await self._store.read_events([(chart, number) for number in needed])
        return prove(
            header,
            certificate,
            chart=chart,
            leaf=leaf,
            state_path=path,
            number=event,
            events=[events[chart, number] for number in needed],
            hops=await self._hops(epoch, header),
        )

    async def _leaf(self, key: bytes, kind: type[L]) -> L | None:
        raw = (await self._store.read_leaves([key])).get(key)
        if raw is None:
            return None
        leaf = decode_leaf(key, raw)
        assert isinstance(leaf, kind)
        return leaf
