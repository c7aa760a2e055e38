"""How a record stands on the ledger: amended, disputed, erased; and what became of the erasures of a chart.

Everything is read from the chart's history and state leaves at the final head. The socket and the command line say it
beside a record whenever it is shown, since an old version without that word misleads.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, Literal

from msgspec import Struct

from node.services import Queries
from protocol.errors import UnknownChart, UnknownRecord
from protocol.ledger import keys
from protocol.ledger.events import Erased, Event, RecordAppended, decode_event
from protocol.ledger.leaves import Erasure, decode_leaf
from protocol.types.institutions import STATUS_REMOVED

EVENTS_AT_ONCE: Final = 2_000
_RECORD: Final = RecordAppended.__struct_config__.tag
_ERASED: Final = Erased.__struct_config__.tag

State = Literal["received", "outstanding", "gone"]


class RecordStanding(Struct, frozen=True):
    """Event numbers of what came after a record, and concerns it."""

    superseded_by: tuple[int, ...]
    disputed_by: tuple[int, ...]
    erased_by: int | None

    def sentences(self, record: int) -> list[str]:
        """What whoever reads the record must be told."""
        said = []
        if self.erased_by is not None:
            said.append(f"record {record} was erased by the order in event {self.erased_by}")
        if self.superseded_by:
            newest = self.superseded_by[-1]
            said.append(f"record {record} is superseded: record {newest} is its newest version")
        for note in self.disputed_by:
            said.append(f"record {record} is disputed by the patient: record {note} says why")
        return said


class OwedReceipt(Struct, frozen=True):
    """A receipt that an institution owes or gave, at `height`."""

    institution: int
    state: State
    height: int | None


class OrderedErasure(Struct, frozen=True):
    """An erasure, by its event number, and who has answered."""

    number: int
    event: Erased
    receipts: tuple[OwedReceipt, ...]

    @property
    def complete(self) -> bool:
        return all(one.state != "outstanding" for one in self.receipts)


async def standing(node: Queries, chart: int, record: int) -> RecordStanding:
    """How a record stands. Amendments of amendments count as its own. Raises `UnknownChart` or `UnknownRecord`."""
    if await node.chart(chart) is None:
        raise UnknownChart(f"there is no chart {chart}")
    raw = (await node.events_at(chart, [record])).get(record)
    if raw is None or not isinstance(decode_event(raw), RecordAppended):
        raise UnknownRecord(f"chart {chart} has no record {record}")
    versions = {record}
    superseded, disputed, erased = [], [], None
    async for number, event in events_of(node, chart, (_RECORD, _ERASED), record + 1):
        if isinstance(event, Erased):
            erased = number if record in event.records else erased
        elif isinstance(event, RecordAppended):
            if event.entry.supersedes in versions:
                versions.add(number)
                superseded.append(number)
            if event.entry.disputes == record:
                disputed.append(number)
    return RecordStanding(tuple(superseded), tuple(disputed), erased)


async def erasures(node: Queries, chart: int) -> list[OrderedErasure]:
    """All erasures of a chart, ascending. Raises `UnknownChart`."""
    if await node.chart(chart) is None:
        raise UnknownChart(f"there is no chart {chart}")
    found = []
    async for number, event in events_of(node, chart, (_ERASED,)):
        assert isinstance(event, Erased)
        key = keys.erasure(chart, number)
        leaf = decode_leaf(key, (await node.leaves([key]))[key])
        assert isinstance(leaf, Erasure)
        given = dict(leaf.receipts)
        receipts = [OwedReceipt(one, await _state(node, one, given), given.get(one)) for one in leaf.owed]
        found.append(OrderedErasure(number, event, tuple(receipts)))
    return found


async def _state(node: Queries, institution: int, given: dict[int, int]) -> State:
    if institution in given:
        return "received"
    leaf = await node.institution_leaf(institution)
    return "gone" if leaf is None or leaf.status == STATUS_REMOVED else "outstanding"


async def events_of(
    node: Queries, chart: int, tags: tuple[object, ...], first: int = 0
) -> AsyncIterator[tuple[int, Event]]:
    """Events of these kinds, by their wire tags, from number `first` on."""
    while page := await node.events(chart, first, EVENTS_AT_ONCE):
        for number, raw in page:
            if raw[1] in tags:  # an event is a short array that begins with its tag
                yield number, decode_event(raw)
        first = page[-1][0] + 1
