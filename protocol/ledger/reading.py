"""A chart's records as operations name them: found in its history, and whether they were erased."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from protocol import limits
from protocol.errors import UnknownRecord
from protocol.ledger import keys
from protocol.ledger.events import RecordAppended
from protocol.ledger.leaves import Chart, ErasedPage
from protocol.ledger.rules import check_ascending
from protocol.ledger.view import ReadSet
from protocol.ledger.working import Working


def reads(chart: int, numbers: Iterable[int], read: ReadSet) -> None:
    """What `records_of` and `any_erased` look at, for a chart that has a key."""
    known = [number for number in numbers if number < limits.EVENTS_PER_CHART]
    read.events.update([(chart, number) for number in known])
    read.keys.update({keys.erased(chart, number) for number in known})


def records_of(working: Working, number: int, chart: Chart, numbers: Sequence[int]) -> list[RecordAppended]:
    """The records of chart `number` with these event numbers. Raises `NotAscending` or `UnknownRecord`."""
    check_ascending(numbers, "records")
    if numbers[-1] >= chart.events:
        raise UnknownRecord(f"chart {number} has no record {numbers[-1]}")
    found = []
    for at in numbers:
        event = working.event(number, at)
        if not isinstance(event, RecordAppended):
            raise UnknownRecord(f"event {at} of chart {number} is no record")
        found.append(event)
    return found


def any_erased(working: Working, chart: int, numbers: Iterable[int]) -> bool:
    """Whether any of these records was erased."""
    pages: dict[bytes, bytes | None] = {}
    for number in numbers:
        key = keys.erased(chart, number)
        if key not in pages:
            page = working.get(key, ErasedPage)
            pages[key] = None if page is None else page.bitmap
        bitmap = pages[key]
        if bitmap is not None and is_erased(bitmap, number):
            return True
    return False


def is_erased(bitmap: bytes, number: int) -> bool:
    """Whether a page's bitmap says of this event that it is an erased record."""
    place = number % limits.ERASED_PAGE_EVENTS
    return place // 8 < len(bitmap) and bool(bitmap[place // 8] >> place % 8 & 1)


def with_erased(bitmap: bytes, numbers: Iterable[int]) -> bytes:
    """A page's bitmap with these events, which lie in it, marked too."""
    value = int.from_bytes(bitmap, "little")
    for number in numbers:
        value |= 1 << number % limits.ERASED_PAGE_EVENTS
    return value.to_bytes((value.bit_length() + 7) // 8, "little")
