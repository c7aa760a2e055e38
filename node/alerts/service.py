"""The alerts of one institution, gathered from what is final and from what it knows of its own people.

Two views. As custodian it sees who asked for its charts: institutions that are strangers to a chart, and institutions
that ask for unusually many. Practitioners it cannot tell apart from chart to chart, since each chart has pseudonyms of
its own; that the asker can, which knows its own staff by the details that it stated. So the asker's node finds the one
person who looks at everybody, and somebody who reads of a namesake. Nothing is written down: the same ledger and the
same thresholds give the same alerts each time.
"""

from __future__ import annotations

import asyncio

from node.alerts.rules import DAY_MS, Alert, Asking, Thresholds, asking_of, bursts, in_order, same_name, strangers
from node.records.confidence import Confidence
from node.services import Queries
from node.storage.details_store import DetailsStore
from node.storage.types import Asking as Row
from protocol.crypto.details import Details
from protocol.ledger.events import Event, decode_event

LOOK_BACK_DAYS = 30
LOOK_BACK_MOST = 100_000
AT_ONCE = 2_000
NAMESAKES_MOST = 1_000


class Alerts:
    """What a privacy officer should look into."""

    def __init__(self, node: Queries, confidence: Confidence, store: DetailsStore) -> None:
        self._node = node
        self._confidence = confidence
        self._store = store

    async def since(self, since_ms: int, thresholds: Thresholds) -> list[Alert]:
        """All of what was asked from `since_ms` on, the newest first; at most the last `LOOK_BACK_MOST` askings are
        looked at. Whole days before it are looked at too, so that a burst is seen whole."""
        rows = await self._rows(since_ms - DAY_MS)
        keepers = await self._keepers({row.chart for row in rows})
        own, here = self._node.institution, []
        mine: list[Row] = []
        for row in rows:
            if decode_event(row.raw).institution == own:
                mine.append(row)
            elif keepers.get(row.chart) == own:
                here.append(row)
        staff = await self._staff(mine)
        asked = [one for row in mine if (one := _asking(row, staff.get((row.chart, row.event)))) is not None]
        foreign = [one for row in here if (one := _asking(row, None)) is not None]
        found = [alert for alert in bursts(asked, thresholds) if alert.practitioner is not None]
        found += [alert for alert in bursts(foreign, thresholds) if alert.practitioner is None]
        for chart in sorted({one.chart for one in foreign}):
            history = await self._history(chart)
            found += await asyncio.to_thread(strangers, history, own, chart)
        found += await self._namesakes(since_ms)
        return in_order(alert for alert in found if alert.time_ms >= since_ms)[::-1]

    async def _rows(self, since_ms: int) -> list[Row]:
        found: list[Row] = []
        before = None
        while len(found) < LOOK_BACK_MOST and (page := await self._node.askings(before, AT_ONCE)):
            for row in page:
                if decode_event(row.raw).time_ms < since_ms:
                    return found
                found.append(row)
            before = page[-1].position
        return found

    async def _keepers(self, charts: set[int]) -> dict[int, int]:
        found = {}
        for chart in charts:
            leaf = await self._node.chart(chart)
            if leaf is not None:
                found[chart] = leaf.custodian
        return found

    async def _staff(self, rows: list[Row]) -> dict[tuple[int, int], Details]:
        """What this institution itself stated about these askings of its own, where it did."""
        return await self._confidence.stated_about([(row.chart, row.event, row.raw) for row in rows])

    async def _history(self, chart: int) -> list[tuple[int, Event]]:
        found: list[tuple[int, Event]] = []
        while page := await self._node.events(chart, len(found), AT_ONCE):
            found += [(number, decode_event(raw)) for number, raw in page]
        return found

    async def _namesakes(self, since_ms: int) -> list[Alert]:
        found = []
        for chart, event, _ in await self._store.noticed(since_ms, NAMESAKES_MOST):
            raw = await self._node.events_at(chart, [event])
            if event not in raw:
                continue
            row = Row(0, chart, event, raw[event])
            staff = await self._staff([row])
            asked = _asking(row, staff.get((chart, event)))
            if asked is not None:
                found.append(same_name(asked))
        return found


def _asking(row: Row, said: Details | None) -> Asking | None:
    return asking_of(row.chart, row.event, decode_event(row.raw), said.staff or None if said is not None else None)
