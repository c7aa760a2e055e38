"""What a delegate reads, through any institution's node: released to the delegate's own key, as the ledger names it.

The node carries the delegate's signed asking and hands on what writer and holders give against it: sealed bytes, and
keys or shares in envelopes that only the delegate opens. Each of them judges the asking by its own ledger, as it does
an institution's; this node judges first, so that what the ledger forbids is told by its name.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from node.records import consent
from node.records.collecting import order_of_holders, stores_of
from node.records.holding_messages import SHARE, ShareAnswer, ShareRequest
from node.records.judge import Judge, Judged
from node.records.messages import BLOB, RELEASE, BlobPiece, BlobRequest, ReleaseAnswer, ReleaseRequest
from node.records.parts import Gathered, Part, gather, sealed_from
from node.records.release import Releaser
from node.records.sharing import Sharing
from node.services import NodeServices
from protocol.codec.canonical import decode, encode

WAIT_S = 10.0


class ForDelegates:
    """Answers delegates on this institution's own socket."""

    def __init__(self, node: NodeServices, judge: Judge, releaser: Releaser, sharing: Sharing) -> None:
        self._node = node
        self._judge = judge
        self._releaser = releaser
        self._sharing = sharing

    async def check(self, chart: int, disclosure: int, record: int) -> Judged:
        """Whether the delegate who asked may have this record now. Raises as `Judge.check`, and `NotDisclosed` for what
        no delegate asked."""
        judged = await self._judge.check(self._node.institution, chart, disclosure, [record])
        consent.check_asking(judged.asking, self._node.institution, [record], for_delegate=True)
        return judged

    async def envelope(self, chart: int, disclosure: int, record: int, public: bytes) -> bytes:
        """A `ReleasedKey` sealed to the delegate, whose public encryption key is `public`, from the record's writer.
        Raises as `check`, `NotDisclosed` unless the ledger names that key for the delegate who asked, and
        `RequestFailed` if another institution wrote the record and does not answer."""
        judged = await self.check(chart, disclosure, record)
        judged.check_recipient(public)
        writer = judged.records[record].institution
        return (await self._key(writer, ReleaseRequest(chart, disclosure, (record,), public)))[0].envelope

    async def parts(
        self, chart: int, disclosure: int, record: int, public: bytes, *, holders_only: bool = False
    ) -> Gathered:
        """The writer's envelope, or what holders give: of those as many as the threshold must go together. Raises as
        `check`, `NotDisclosed` for another's key, and `TooFewHolders` if nobody gives anything."""
        judged = await self.check(chart, disclosure, record)
        judged.check_recipient(public)
        appended = judged.records[record]
        height = self._node.head().height

        async def give(institution: int) -> list[Part]:
            if institution == appended.institution:
                return await self._key(institution, ReleaseRequest(chart, disclosure, (record,), public))
            request = ShareRequest(chart, disclosure, (record,), public, height, blobs=False)
            return await self._share(institution, request)

        stores = stores_of(self._node, chart, appended)
        return await gather(stores, give, holders_only=holders_only)

    async def sealed(self, chart: int, disclosure: int, record: int, source: int | None = None) -> AsyncIterator[bytes]:
        """The record's sealed bytes, from `source` alone or the first that has them. Raises as `check`, and what the
        last one that was asked refused."""
        appended = (await self.check(chart, disclosure, record)).records[record]
        own = self._node.institution

        async def piece(institution: int, offset: int) -> bytes:
            request = BlobRequest(chart, disclosure, record, offset)
            if institution != own:
                return decode(BlobPiece, await self._node.ask(institution, BLOB, encode(request), WAIT_S)).data
            if await self._sharing.holds(chart, record):
                return (await self._sharing.blob(own, request)).data
            return (await self._releaser.blob(own, request)).data

        if source is not None:
            return await sealed_from([source], piece)
        order = [own, appended.institution, *order_of_holders(self._node, chart, appended)]
        return await sealed_from(list(dict.fromkeys(order)), piece)

    async def _key(self, writer: int, request: ReleaseRequest) -> list[Part]:
        if writer == self._node.institution:
            answer = await self._releaser.release(writer, request)
        else:
            answer = decode(ReleaseAnswer, await self._node.ask(writer, RELEASE, encode(request), WAIT_S))
        first = answer.released[0]
        return [Part(writer, "key", first.envelope, b"", first.blob_bytes)]

    async def _share(self, holder: int, request: ShareRequest) -> list[Part]:
        if holder == self._node.institution:
            answer = await self._sharing.share(holder, request)
        else:
            answer = decode(ShareAnswer, await self._node.ask(holder, SHARE, encode(request), WAIT_S))
        first = answer.shared[0]
        return [Part(holder, "share", answer.envelope, first.details, first.blob_bytes)]
