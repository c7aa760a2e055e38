"""The last word before anything is released, by whoever holds it: the rules again, on this node's newest final state.

The writer of a record asks it, each holder, and the reader's own node before it asks anybody; the judgement itself is
`node.records.consent`, which is pure.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from msgspec import Struct

from node.logs import get_logger
from node.records import consent
from node.records.errors import NotDisclosed, NotFresh
from node.records.told import Told
from node.services import NodeServices, Queries
from protocol.crypto.hashing import encryption_key_digest
from protocol.ledger import keys, reading
from protocol.ledger.events import Disclosed, GlassBroken, RecordAppended, decode_event
from protocol.ledger.leaves import DelegateLeaf, ErasedPage, decode_leaf
from protocol.types.institutions import Institution

log = get_logger("release")

CATCH_UP_S = 5.0
AHEAD_EVENTS = 2_000
"""How long, and how many events of a chart, a reader's node may be ahead of this one."""
AHEAD_BLOCKS = 2_000


class Judged(Struct, frozen=True):
    """An asking that may be acted on now: the records as they stand on the ledger, and whose key to release to."""

    asking: consent.Asking
    records: dict[int, RecordAppended]
    suite: int
    key_digest: bytes

    def check_recipient(self, public: bytes) -> None:
        """Raise `NotDisclosed` unless `public` is the key that the ledger has of whoever reads."""
        if encryption_key_digest(self.suite, public) != self.key_digest:
            raise NotDisclosed("the envelope key sent along is not the one that stands on the ledger for this reader")


class Judge:
    """Asks the rules of one node's final state."""

    def __init__(self, node: NodeServices, told: Told) -> None:
        self._node = node
        self._told = told

    async def check(
        self, reader: int, chart: int, asking_number: int, records: Sequence[int], height: int = 0
    ) -> Judged:
        """What `reader` may have now under event `asking_number` of the chart, judged at `height` or above. Raises as
        `node.records.consent`, and `NotFresh` if this node does not reach that height in a few seconds.

        A delegate's asking may be carried by anybody, since what is released opens with the delegate's own key alone.
        By an emergency nothing is released before those who watch the chart here have been told of it.
        """
        node = self._node
        await self.catch_up(chart, asking_number, height)
        raw = await node.events_at(chart, [asking_number, *records])
        events = {number: decode_event(found) for number, found in raw.items()}
        event = events.get(asking_number)
        if isinstance(event, Disclosed) and event.delegate is not None:
            asking: consent.Asking = consent.check_asking(event, event.institution, records, for_delegate=True)
        else:
            asking = consent.check_asking(event, reader, records)
        head, now_ms = node.head(), node.now_ms()
        if head.height < height:
            raise NotFresh(f"this node is at block {head.height}, and the asker at {height}")
        consent.check_fresh(head, now_ms, node.params)
        appended = {number: consent.record_of(events.get(number), number) for number in records}
        found = await node.leaves(consent.leaves_needed(chart, asking_number, asking, records))
        leaves = {key: decode_leaf(key, leaf) for key, leaf in found.items()}
        consent.check_in_force(chart, asking_number, asking, leaves, appended, max(head.timestamp, now_ms))
        if isinstance(asking, GlassBroken):
            await self._tell(chart, asking, head.height)
        if isinstance(asking, Disclosed) and asking.delegate is not None:
            delegate = leaves[keys.delegate(chart, asking.delegate)]
            assert isinstance(delegate, DelegateLeaf)
            return Judged(asking, appended, delegate.terms.encryption_suite, delegate.terms.encryption_key)
        institution = leaves[keys.institution(asking.institution)]
        assert isinstance(institution, Institution)
        return Judged(asking, appended, institution.encryption_suite, institution.encryption_key)

    async def _tell(self, chart: int, asking: GlassBroken, height: int) -> None:
        """Storage knows an event a moment before subscribers are told: wait for that moment, too."""
        if height < asking.height:
            raise NotFresh("the emergency is not final here yet")
        if not await self._told.everybody(chart, height):
            log.warning("released by an emergency although somebody who watches the chart took nothing", chart=chart)

    async def catch_up(self, chart: int, event: int, height: int = 0) -> None:
        """Wait a little if event or height are not final here yet: what just became final elsewhere is a moment away,
        and whoever knows of it asks at once."""
        if not await self._is_ahead(chart, event, height):
            return
        async with self._node.subscribe() as blocks:
            if await self._is_ahead(chart, event, height):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CATCH_UP_S):
                        async for _ in blocks:
                            if not await self._is_ahead(chart, event, height):
                                return

    async def _is_ahead(self, chart: int, event: int, height: int) -> bool:
        if self._node.head().height < height <= self._node.head().height + AHEAD_BLOCKS:
            return True
        leaf = await self._node.chart(chart)
        if leaf is None:
            return event == 0
        return leaf.events <= event < leaf.events + AHEAD_EVENTS


async def any_erased(node: Queries, chart: int, records: Sequence[int]) -> bool:
    """Whether the ledger says of any of these records that it was erased: the tombstone that beats every repair."""
    return bool(await erased_of(node, chart, records))


async def erased_of(node: Queries, chart: int, records: Sequence[int]) -> set[int]:
    """Those of these records that were erased, at this node's final head."""
    pages = await node.leaves(sorted({keys.erased(chart, record) for record in records}))
    found = set()
    for record in records:
        raw = pages.get(keys.erased(chart, record))
        if raw is not None:
            page = decode_leaf(keys.erased(chart, record), raw)
            assert isinstance(page, ErasedPage)
            if reading.is_erased(page.bitmap, record):
                found.add(record)
    return found
