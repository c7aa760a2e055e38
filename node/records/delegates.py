"""What a delegate reads: released at the chart's custodian to the delegate's own key, as the ledger names it.

The custodian carries the delegate's signed asking and hands over what the rules disclosed: sealed bytes, and the
record's key in an envelope that only the delegate opens. All that is checked for an institution is checked here too.
"""

from __future__ import annotations

from node.records.errors import NotDisclosed, RecordUnknownHere
from node.records.messages import ReleasedKey
from node.records.release import Releaser
from node.records.seal import Kek
from node.services import NodeServices
from node.storage.records_store import RecordsStore
from protocol.codec.canonical import encode
from protocol.crypto.envelopes import envelope_info, seal_envelope
from protocol.crypto.hashing import encryption_key_digest
from protocol.ledger import keys
from protocol.ledger.events import Disclosed, decode_event
from protocol.ledger.leaves import DelegateLeaf, decode_leaf


class ForDelegates:
    """Answers delegates on the custodian's own socket."""

    def __init__(self, node: NodeServices, releaser: Releaser, store: RecordsStore, kek: Kek) -> None:
        self._node = node
        self._releaser = releaser
        self._store = store
        self._kek = kek

    async def check(self, chart: int, disclosure: int, record: int) -> None:
        """Whether the delegate who asked may have this record now. Raises as `Releaser.check`."""
        await self._releaser.check(self._node.institution, chart, disclosure, [record], for_delegate=True)

    async def envelope(self, chart: int, disclosure: int, record: int, public: bytes) -> bytes:
        """A `ReleasedKey` sealed to the delegate, whose public encryption key is `public`. Raises as `check`, and
        `NotDisclosed` unless the ledger names that key for the delegate who asked."""
        found = await self._releaser.check(self._node.institution, chart, disclosure, [record], for_delegate=True)
        leaf = await self._delegate(chart, disclosure)
        if encryption_key_digest(leaf.terms.encryption_suite, public) != leaf.terms.encryption_key:
            raise NotDisclosed("the envelope key sent along is not the one that stands on the ledger for this delegate")
        commitment = found[record].entry.commitment
        with self._kek.keys.lease():
            stored = (await self._store.get(chart, [record])).get(record)
            if stored is None:
                raise RecordUnknownHere(f"record {record} of chart {chart} is not stored at its custodian")
            secret = self._kek.open_secret(stored.sealed, chart, commitment)
        key = ReleasedKey(secret.key, secret.opening, secret.media_type, secret.length)
        info = envelope_info(self._node.chain, chart, commitment, leaf.terms.encryption_key)
        return seal_envelope(leaf.terms.encryption_suite, public, info, encode(key))

    async def _delegate(self, chart: int, disclosure: int) -> DelegateLeaf:
        event = decode_event((await self._node.events_at(chart, [disclosure]))[disclosure])
        assert isinstance(event, Disclosed), "it was checked"
        assert event.delegate is not None, "it was checked"
        key = keys.delegate(chart, event.delegate)
        leaf = decode_leaf(key, (await self._node.leaves([key]))[key])
        assert isinstance(leaf, DelegateLeaf)
        return leaf
