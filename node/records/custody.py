"""A chart that came from a custodian which is gone: its owner hands over what only that one had.

The ledger says who the custodian is, and has the digest of the owner's envelope key; the chart's secret, behind its
tags, and the key itself come from the wallet. That the secret is the right one is the owner's word, as it was when the
chart was opened; it is taken once, so that nobody puts another in its place.
"""

from __future__ import annotations

from node.records.errors import NotCustodian, OtherSecret
from node.records.owner_keys import OwnerKeyUnknown
from node.records.seal import ChartSecret, Kek
from node.services import NodeServices
from node.storage.records_store import RecordsStore
from protocol.crypto.envelopes import check_public
from protocol.crypto.hashing import encryption_key_digest
from protocol.errors import CryptoError, UnknownChart


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
            await self._store.keep_chart_secret(chart, self._kek.seal_chart(given))
