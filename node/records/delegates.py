"""What a delegate reads: released at the chart's custodian to the delegate's own key, as the ledger names it.

The custodian carries the delegate's signed asking and hands over what the rules disclosed: sealed bytes, and the
record's key in an envelope that only the delegate opens. All that is checked for an institution is checked here too.
What another institution wrote to the chart comes from there: it judges anew, and seals to the delegate as well.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from node.records import consent
from node.records.errors import RecordUnknownHere
from node.records.judge import Judge, Judged
from node.records.messages import (
    BLOB,
    RECORD_BYTES,
    RELEASE,
    BlobPiece,
    BlobRequest,
    ReleaseAnswer,
    ReleasedKey,
    ReleaseRequest,
)
from node.records.opening import sealed_bytes_most
from node.records.seal import Kek
from node.services import NodeServices
from node.storage.records_store import RecordsStore
from protocol.codec.canonical import decode, encode
from protocol.crypto.envelopes import envelope_info, seal_envelope

WAIT_S = 10.0


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
        """A `ReleasedKey` sealed to the delegate, whose public encryption key is `public`. Raises as `check`,
        `NotDisclosed` unless the ledger names that key for the delegate who asked, and `RequestFailed` if another
        institution wrote the record and does not answer."""
        judged = await self.check(chart, disclosure, record)
        judged.check_recipient(public)
        commitment, writer = judged.records[record].entry.commitment, judged.records[record].institution
        if writer != self._node.institution:
            request = ReleaseRequest(chart, disclosure, (record,), public)
            raw = await self._node.ask(writer, RELEASE, encode(request), WAIT_S)
            return decode(ReleaseAnswer, raw).released[0].envelope
        with self._kek.keys.lease():
            stored = (await self._store.get(chart, [record])).get(record)
            if stored is None:
                raise RecordUnknownHere(f"record {record} of chart {chart} is not stored at its custodian")
            secret = self._kek.open_secret(stored.sealed, chart, commitment)
        key = ReleasedKey(secret.key, secret.opening, secret.media_type, secret.length)
        info = envelope_info(self._node.chain, chart, commitment, judged.key_digest)
        return seal_envelope(judged.suite, public, info, encode(key))

    async def sealed(self, chart: int, disclosure: int, record: int) -> AsyncIterator[bytes]:
        """The sealed bytes of a record that another institution wrote and that lies not here, piece by piece from its
        writer. Raises as `check`, `RecordUnknownHere` for one of this institution's own, and `RequestFailed`."""
        judged = await self.check(chart, disclosure, record)
        writer = judged.records[record].institution
        if writer == self._node.institution:
            raise RecordUnknownHere(f"record {record} of chart {chart} is not stored at its custodian")

        async def piece(offset: int) -> bytes:
            request = encode(BlobRequest(chart, disclosure, record, offset))
            return decode(BlobPiece, await self._node.ask(writer, BLOB, request, WAIT_S)).data

        first = await piece(0)  # what goes wrong at once is still told by its name

        async def pieces() -> AsyncIterator[bytes]:
            found, offset = first, 0
            while found and offset <= sealed_bytes_most(RECORD_BYTES):
                yield found
                offset += len(found)
                found = await piece(offset)

        return pieces()
