"""Whether an owner's reading pass counts, on this node's newest final state: asked by each who holds anything, for
itself, and by the node in between before it asks anybody."""

from __future__ import annotations

from node.reading_pass import ReadingPass, check_pass
from node.records import consent
from node.records.errors import NotFresh
from node.records.judge import Judge
from node.records.owner_keys import recovery_of
from node.services import NodeServices
from protocol.chart_errors import OwnerFrozen
from protocol.errors import UnknownChart
from protocol.ledger.events import RecordAppended, decode_event
from protocol.ledger.leaves import Chart


class OwnerJudge:
    """Asks the final state of one node."""

    def __init__(self, node: NodeServices, judge: Judge) -> None:
        self._node = node
        self._judge = judge

    async def check(self, by: int, shown: ReadingPass) -> Chart:
        """The chart, if its owner may read it now by a pass that institution `by` shows. Raises `UnknownChart`,
        `NotFresh`, `PassRefused`, or `OwnerFrozen` while the owner's key is said to be stolen."""
        node = self._node
        await self._judge.catch_up(shown.chart, 0, shown.height)
        head, now_ms = node.head(), node.now_ms()
        if head.height < shown.height:
            raise NotFresh(f"this node is at block {head.height}, and the owner's at {shown.height}")
        consent.check_fresh(head, now_ms, node.params)
        leaf = await node.chart(shown.chart)
        if leaf is None:
            raise UnknownChart(f"there is no chart {shown.chart}")
        check_pass(shown, node.chain, leaf, by, max(head.timestamp, now_ms))
        pending = (await recovery_of(node, shown.chart)).pending
        if pending is not None and pending.overrule:
            raise OwnerFrozen
        return leaf

    async def record(self, by: int, shown: ReadingPass, record: int) -> tuple[Chart, RecordAppended]:
        """The same, and a record of the chart that was not erased. Raises `RecordUnknownHere` or `RecordErased`
        besides."""
        leaf = await self.check(by, shown)
        raw = await self._node.events_at(shown.chart, [record])
        appended = consent.record_of(decode_event(raw[record]) if record in raw else None, record)
        await consent.refuse_erased(self._node, shown.chart, [record])
        return leaf, appended
