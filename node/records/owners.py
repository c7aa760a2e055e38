"""What an owner reads, through any institution's node: the node carries the owner's reading pass to who stores things.

It judges the pass itself first, so that what does not count is told by its name; each of the others judges it again.
What comes back is sealed to the owner, and handed on as it came.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from msgspec import Struct

from node.logs import get_logger
from node.reading_pass import ReadingPass
from node.records.collecting import order_of_holders, stores_of
from node.records.messages import BlobPiece
from node.records.owner_judge import OwnerJudge
from node.records.owner_messages import (
    OWNER_BLOB,
    OWNER_DETAILS,
    OWNER_SHARE,
    OwnerBlobRequest,
    OwnerDetailsAnswer,
    OwnerDetailsRequest,
    OwnerShareAnswer,
    OwnerShareRequest,
)
from node.records.owner_release import OwnerReleaser
from node.records.parts import Gathered, Part, gather, sealed_from
from node.services import NodeServices
from protocol.codec.canonical import decode, encode
from protocol.errors import ChartledgerError
from protocol.ledger.events import decode_event

log = get_logger("owners")

WAIT_S = 10.0


class Said(Struct, frozen=True):
    """What `institution` gave of what was said to the owner about `event`, sealed to the owner."""

    event: int
    institution: int
    sealed: bytes


class ForOwners:
    """Answers owners on this institution's own socket."""

    def __init__(self, node: NodeServices, judge: OwnerJudge, releaser: OwnerReleaser) -> None:
        self._node = node
        self._judge = judge
        self._releaser = releaser

    async def parts(self, shown: ReadingPass, record: int, *, holders_only: bool = False) -> Gathered:
        """What opens one record to its owner: from the writer, or from the holders. Raises as `OwnerJudge.record`, and
        `TooFewHolders` if nobody gives anything."""
        _, appended = await self._judge.record(self._node.institution, shown, record)
        request = OwnerShareRequest(shown, record)

        async def give(institution: int) -> list[Part]:
            if institution == self._node.institution:
                answer = await self._releaser.share(institution, request)
            else:
                raw = await self._node.ask(institution, OWNER_SHARE, encode(request), WAIT_S)
                answer = decode(OwnerShareAnswer, raw)
            return _parts(institution, answer)

        stores = stores_of(self._node, shown.chart, appended)
        return await gather(stores, give, holders_only=holders_only)

    async def sealed(self, shown: ReadingPass, record: int, source: int | None = None) -> AsyncIterator[bytes]:
        """The record's sealed bytes, from `source` alone or the first that has them. Raises as `OwnerJudge.record`, and
        what the last one that was asked refused."""
        _, appended = await self._judge.record(self._node.institution, shown, record)
        own = self._node.institution

        async def piece(institution: int, offset: int) -> bytes:
            request = OwnerBlobRequest(shown, record, offset)
            if institution == own:
                return (await self._releaser.blob(own, request)).data
            return decode(BlobPiece, await self._node.ask(institution, OWNER_BLOB, encode(request), WAIT_S)).data

        if source is not None:
            return await sealed_from([source], piece)
        order = [own, appended.institution, *order_of_holders(self._node, shown.chart, appended)]
        return await sealed_from(list(dict.fromkeys(order)), piece)

    async def details(self, shown: ReadingPass, events: Sequence[int]) -> list[Said]:
        """What was said to the owner about these events: from who asked, and from the custodian, whose copies may be
        for an earlier key. Who does not answer is left out. Raises as `OwnerJudge.check`."""
        leaf = await self._judge.check(self._node.institution, shown)
        raw = await self._node.events_at(shown.chart, events)
        askers = {number: decode_event(found).institution for number, found in raw.items()}
        asked = {one: tuple(n for n in sorted(askers) if askers[n] == one) for one in set(askers.values())}
        asked[leaf.custodian] = tuple(sorted(askers))
        found = await asyncio.gather(*(self._said(one, shown, about) for one, about in asked.items() if about))
        return sorted((one for part in found for one in part), key=lambda one: (one.event, one.institution))

    async def _said(self, institution: int, shown: ReadingPass, events: tuple[int, ...]) -> list[Said]:
        request = OwnerDetailsRequest(shown, events)
        try:
            if institution == self._node.institution:
                answer = await self._releaser.details(institution, request)
            else:
                raw = await self._node.ask(institution, OWNER_DETAILS, encode(request), WAIT_S)
                answer = decode(OwnerDetailsAnswer, raw)
        except ChartledgerError as error:
            log.info("details not given to the owner", institution=institution, code=error.code)
            return []
        return [Said(one.event, institution, one.sealed) for one in answer.said if one.event in events]


def _parts(institution: int, answer: OwnerShareAnswer) -> list[Part]:
    found = []
    if answer.owner_envelope:
        found.append(Part(institution, "owner", answer.owner_envelope, b"", answer.blob_bytes))
    if answer.envelope:
        found.append(Part(institution, "share", answer.envelope, answer.details, answer.blob_bytes))
    return found
