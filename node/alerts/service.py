"""The alerts of one institution, gathered from what is final and from what it knows of its own people.

Two views. As custodian it sees who asked for its charts: institutions that are strangers to a chart, and institutions
that ask for unusually many. Practitioners it cannot tell apart from chart to chart, since each chart has pseudonyms of
its own; that the asker can, which knows its own staff by the details that it stated. So the asker's node finds the one
person who looks at everybody, and somebody who reads of a namesake. Nothing is written down: the same ledger and the
same thresholds give the same alerts each time.
"""

from __future__ import annotations

import asyncio

from msgspec import Struct
from msgspec.structs import replace

from node.alerts.rules import DAY_MS, Alert, Asking, Thresholds, asking_of, bursts, in_order, same_name, strangers
from node.records.confidence import Confidence, commitment_of
from node.services import Queries
from node.storage.details_store import DetailsStore
from protocol.ledger.events import Disclosed, Event, GlassBroken, RecordAppended, decode_event

LOOK_BACK_DAYS = 30
LOOK_BACK_MOST = 100_000
AT_ONCE = 2_000
NAMESAKES_MOST = 1_000


class Row(Struct, frozen=True):
    """An asking as far as it is looked at here, and the digest of what was said about it in confidence."""

    asked: Asking
    details: bytes | None


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
        keepers = await self._keepers({row.asked.chart for row in rows})
        own = self._node.institution
        mine = [row for row in rows if row.asked.institution == own]
        foreign = [row.asked for row in rows if row.asked.institution != own and keepers.get(row.asked.chart) == own]
        asked = await self._named(mine)
        found = [alert for alert in bursts(asked, thresholds) if alert.practitioner is not None]
        found += [alert for alert in bursts(foreign, thresholds) if alert.practitioner is None]
        for chart in sorted({one.chart for one in foreign}):
            history = await self._history(chart)
            found += await asyncio.to_thread(strangers, history, own, chart)
        found += await self._namesakes(since_ms)
        return in_order(alert for alert in found if alert.time_ms >= since_ms)[::-1]

    async def _rows(self, since_ms: int) -> list[Row]:
        found: list[Row] = []
        looked, before = 0, None
        while looked < LOOK_BACK_MOST and (page := await self._node.askings(before, AT_ONCE)):
            for one in page:
                event = decode_event(one.raw)
                if event.time_ms < since_ms:
                    return found
                asked = asking_of(one.chart, one.event, event)
                if asked is not None:
                    found.append(Row(asked, commitment_of(event)))
            before, looked = page[-1].position, looked + len(page)
        return found

    async def _keepers(self, charts: set[int]) -> dict[int, int]:
        found = {}
        for chart in charts:
            leaf = await self._node.chart(chart)
            if leaf is not None:
                found[chart] = leaf.custodian
        return found

    async def _named(self, rows: list[Row]) -> list[Asking]:
        """These askings of this institution's own, each by the staff id that was stated about it, where one was."""
        about = {row.details: (row.asked.chart, row.asked.event) for row in rows if row.details is not None}
        staff = await self._confidence.stated_about(about)
        found = []
        for row in rows:
            said = staff.get((row.asked.chart, row.asked.event))
            found.append(replace(row.asked, who=said.staff) if said is not None and said.staff else row.asked)
        return found

    async def _history(self, chart: int) -> list[tuple[int, Event]]:
        """What of a chart's history tells strangers from others: one record of each writer, and no lists of records,
        since a chart may have a hundred thousand, and every asking name ten."""
        found: list[tuple[int, Event]] = []
        writers: set[int] = set()
        first = 0
        while page := await self._node.events(chart, first, AT_ONCE):
            for number, raw in page:
                event = decode_event(raw)
                if isinstance(event, RecordAppended):
                    if event.institution in writers:
                        continue
                    writers.add(event.institution)
                elif isinstance(event, Disclosed | GlassBroken):
                    event = replace(event, records=())
                found.append((number, event))
            first = page[-1][0] + 1
        return found

    async def _namesakes(self, since_ms: int) -> list[Alert]:
        found = []
        for chart, number, _ in await self._store.noticed(since_ms, NAMESAKES_MOST):
            raw = await self._node.events_at(chart, [number])
            event = decode_event(raw[number]) if number in raw else None
            asked = None if event is None else asking_of(chart, number, event)
            if event is not None and asked is not None:
                found += [same_name(one) for one in await self._named([Row(asked, commitment_of(event))])]
        return found
