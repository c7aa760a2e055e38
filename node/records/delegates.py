"""What a delegate reads: released at the chart's custodian to the delegate's own key, as the ledger names it.

The custodian carries the delegate's signed asking and hands over what the rules disclosed: sealed bytes, and the
record's key in an envelope that only the delegate opens. All that is checked for an institution is checked here too.
"""

from __future__ import annotations

from node.records import consent
from node.records.errors import RecordUnknownHere
from node.records.judge import Judge, Judged
from node.records.messages import ReleasedKey
from node.records.seal import Kek
from node.services import NodeServices
from node.storage.records_store import RecordsStore
from protocol.codec.canonical import encode
from protocol.crypto.envelopes import envelope_info, seal_envelope


class ForDelegates:
    """Answers delegates on the custodian's own socket."""

    def __init__(self, node: NodeServices, judge: Judge, store: RecordsStore, kek: Kek) -> None:
        self._node = node
        self._judge = judge
        self._store = store
        self._kek = kek

    async def check(self, chart: int, disclosure: int, record: int) -> Judged:
        """Whether the delegate who asked may have this record now. Raises as `Judge.check`, and `NotDisclosed` for what
        no delegate asked."""
        judged = await self._judge.check(self._node.institution, chart, disclosure, [record])
        consent.check_asking(judged.asking, self._node.institution, [record], for_delegate=True)
        return judged

    async def envelope(self, chart: int, disclosure: int, record: int, public: bytes) -> bytes:
        """A `ReleasedKey` sealed to the delegate, whose public encryption key is `public`. Raises as `check`, and
        `NotDisclosed` unless the ledger names that key for the delegate who asked."""
        judged = await self.check(chart, disclosure, record)
        judged.check_recipient(public)
        commitment = judged.records[record].entry.commitment
        with self._kek.keys.lease():
            stored = (await self._store.get(chart, [record])).get(record)
            if stored is None:
                raise RecordUnknownHere(f"record {record} of chart {chart} is not stored at its custodian")
            secret = self._kek.open_secret(stored.sealed, chart, commitment)
        key = ReleasedKey(secret.key, secret.opening, secret.media_type, secret.length)
        info = envelope_info(self._node.chain, chart, commitment, judged.key_digest)
        return seal_envelope(judged.suite, public, info, encode(key))
