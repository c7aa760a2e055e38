"""A chart that came from a custodian which is gone: its owner hands over what only that one had.

The ledger says who the custodian is, and has the digest of the owner's envelope key; the chart's secret, behind its
tags, and the key itself come from the wallet. The ledger cannot tell the secret, but the chart's records can: it must
have made their marks, or whoever submits here first could have all that is written from now on bear tags that no grant
and no bar of the owner's knows. It is taken once, so that nobody puts another in its place.
"""

from __future__ import annotations

from typing import Final

from node.labels import SENSITIVITY_LABELS
from node.records.errors import NotCustodian, OtherSecret
from node.records.owner_keys import OwnerKeyUnknown
from node.records.seal import ChartSecret, Kek
from node.services import NodeServices
from node.storage.records_store import RecordsStore
from protocol.crypto.envelopes import check_public
from protocol.crypto.hashing import encryption_key_digest
from protocol.crypto.tags import SENSITIVITY_1, SENSITIVITY_2, tag
from protocol.errors import CryptoError, UnknownChart
from protocol.ledger.events import RecordAppended, decode_event

EVENTS_LOOKED_AT: Final = 2_000


class Custody:
    """Takes over charts at their new custodian."""

    def __init__(self, node: NodeServices, store: RecordsStore, kek: Kek) -> None:
        self._node = node
        self._store = store
        self._kek = kek

    async def take_over(self, chart: int, given: ChartSecret) -> None:
        """Keep what the owner hands over; the same again changes nothing. Raises `UnknownChart`, `NotCustodian`,
        `OwnerKeyUnknown` for a key that the ledger does not name, or `OtherSecret`."""
        leaf = await self._node.chart(chart)
        if leaf is None:
            raise UnknownChart(f"there is no chart {chart}")
        if leaf.custodian != self._node.institution:
            raise NotCustodian(f"institution {leaf.custodian} is the custodian of chart {chart}")
        try:
            check_public(given.encryption_suite, given.encryption_public)
        except CryptoError as error:
            raise OwnerKeyUnknown(f"encryption_public is not usable: {error}") from None
        if encryption_key_digest(given.encryption_suite, given.encryption_public) != leaf.encryption_key:
            raise OwnerKeyUnknown
        with self._kek.keys.lease():
            before = await self._store.chart_secret(chart)
            if before is not None:
                if self._kek.open_chart(before).secret != given.secret:
                    raise OtherSecret
                return
            if not await self._made_its_marks(given.secret, chart):
                raise OtherSecret("it has made none of the tags that the chart's records bear")
            await self._store.keep_chart_secret(chart, self._kek.seal_chart(given))

    async def _made_its_marks(self, secret: bytes, chart: int) -> bool:
        """Whether this secret has made a sensitivity's tag of one of the chart's first records, since nearly every
        record bears one of the labels that everybody knows; true of a chart without records."""
        marks: dict[int, set[bytes]] = {}
        seen = False
        for _, raw in await self._node.events(chart, 0, EVENTS_LOOKED_AT):
            event = decode_event(raw)
            if not isinstance(event, RecordAppended):
                continue
            seen = True
            for age in range(max(0, event.generation - 1), event.generation + 1):  # one may have been under way
                if age not in marks:
                    marks[age] = {
                        tag(secret, age, position, label)
                        for position in (SENSITIVITY_1, SENSITIVITY_2)
                        for label in SENSITIVITY_LABELS
                    }
                if not marks[age].isdisjoint(event.entry.tags[SENSITIVITY_1:]):
                    return True
        return not seen
