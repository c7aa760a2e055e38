"""A writer's copies: holders are chosen, and each is handed its share before an entry may name it.

Holders come in the order of rendezvous hashing over the accredited institutions. One that does not answer is passed
over for the next, within a bounded time, so a submission never waits for a dead peer for long and never fails for one:
with fewer holders than wanted the record is submitted all the same, and `node.records.repair` makes up for it. A holder
counts once it has said that all of it is durable there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msgspec import Struct

from node.logs import get_logger
from node.network.interface import PeerGone, RequestFailed, RequestTimedOut
from node.records.holding_messages import (
    HELD_PER_REQUEST,
    HOLD,
    HOLDER_KEY,
    Handover,
    HoldAnswer,
    HolderKeyAnswer,
    HolderKeyRequest,
    HoldRequest,
    Shares,
    batch_digest,
)
from node.records.messages import ANSWER_BYTES, PIECE_BYTES, BlobPiece
from node.records.seal import Split
from node.services import NodeServices
from node.storage.blobs import BlobStore
from node.storage.types import Copy
from protocol.codec.canonical import decode, encode
from protocol.crypto.envelopes import envelope_info, seal_envelope
from protocol.crypto.hashing import encryption_key_digest
from protocol.crypto.placement import ranked
from protocol.crypto.shares import KeyShare, threshold_of
from protocol.errors import CryptoError, DecodeError
from protocol.types.institutions import Institution

log = get_logger("holders")

ANSWER_S = 20.0
"""For a holder to take what was handed over. That of one that is busy, as all are in a burst of submissions: whoever
waits for it goes slower, and its records have copies. The network notices before that if a peer is no longer there."""
BYTES_PER_S = 4 * 1024 * 1024
"""And so much time more for the blobs."""
PLACE_S = 30.0
"""In all, besides the time for the blobs, that a submission may spend on finding holders."""
REST_S = 60.0
REST_MOST_S = 3_600.0
"""For which a holder that let a submission wait is passed over: for longer each time, until it takes something."""


class Owner(NamedTuple):
    """The public envelope key of a chart's owner."""

    suite: int
    public: bytes


class Offer(Struct, frozen=True):
    """A record to be held, with the shares of its key by index less one. `blob` is None for one to be fetched."""

    commitment: bytes
    record: int | None
    blob_id: bytes
    blob_bytes: int
    blob: bytes | None
    shares: tuple[KeyShare, ...]
    details: bytes
    owner_envelope: bytes

    def __repr__(self) -> str:
        return "Offer(hidden)"


class _Rest(NamedTuple):
    """When a holder is asked again, and for how long it was not."""

    until_s: float
    length_s: float


class NotTaken(Exception):
    """A holder did not take what it was handed; the text says why, for the log. `given`: it may have it all the same,
    whatever it said or did not say, so no other share may ever go to it."""

    def __init__(self, why: str, *, given: bool = True) -> None:
        super().__init__(why)
        self.given = given


class Placer:
    """Finds holders for what this institution writes, and hands over."""

    def __init__(self, node: NodeServices, blobs: BlobStore, replicas: int) -> None:
        self._node = node
        self._blobs = blobs
        self._replicas = replicas
        self._offered: dict[tuple[int, bytes], int] = {}
        self._keys: dict[bytes, HolderKeyAnswer] = {}
        self._rests: dict[int, _Rest] = {}

    def wanted(self) -> int:
        """How many holders a record should have now: as many as configured, or as there are others."""
        others = len([one for one in self._node.accredited() if one != self._node.institution])
        return min(self._replicas, others)

    def split(self) -> Split | None:
        """How to split keys now; None where fewer than two others could hold a share: then the writer releases alone
        or nobody does."""
        count = self.wanted()
        return Split(threshold_of(count), count) if count >= 2 else None

    async def place(self, chart: int, owner: Owner, offers: Sequence[Offer]) -> tuple[Copy, ...]:
        """Hand over to as many holders as there are shares, or as can be found in time: who took everything (`held`),
        and who may have a share although it did not say so."""
        count = min((len(one.shares) for one in offers), default=0)
        candidates = iter(self.candidates(chart, exclude=()))
        size = sum(one.blob_bytes for one in offers)
        found: list[Copy] = []

        async def fill(index: int) -> None:
            for holder in candidates:
                try:
                    await self.hand_over(holder, index, chart, owner, offers)
                except NotTaken as error:
                    log.warning("holder passed over", institution=holder, why=str(error))
                    if error.given:
                        found.append(Copy(holder, index, held=False))
                except asyncio.CancelledError:
                    found.append(Copy(holder, index, held=False))
                    raise
                else:
                    found.append(Copy(holder, index, held=True))
                    return

        try:
            async with asyncio.timeout(PLACE_S + size / BYTES_PER_S):
                await asyncio.gather(*(fill(index + 1) for index in range(count)))
        except TimeoutError:
            held = sum(copy.held for copy in found)
            log.warning("fewer holders than wanted", chart=chart, found=held, wanted=count)
        return tuple(sorted(found, key=lambda copy: copy.holder))

    def candidates(self, chart: int, exclude: Sequence[int]) -> Iterator[int]:
        """Whom to ask to hold this chart's records, first choice first; without those that let us wait just now."""
        now = asyncio.get_running_loop().time()
        for one in ranked(self._node.chain, chart, self._node.institution, self._node.accredited()):
            if one not in exclude and (one not in self._rests or self._rests[one].until_s <= now):
                yield one

    async def hand_over(self, holder: int, index: int, chart: int, owner: Owner, offers: Sequence[Offer]) -> None:
        """Give share number `index` and all that goes with it to one holder. Raises `NotTaken`."""
        begun = 0
        try:
            key = await self._holder_key(holder)
            for part in _parts(offers):
                begun += 1
                await self._hand_part(holder, key, index, chart, owner, part)
        except (RequestFailed, DecodeError, CryptoError) as error:
            if isinstance(error, RequestTimedOut):
                self._rest(holder)
            certain = isinstance(error, PeerGone) and not error.sent
            raise NotTaken(str(error), given=begun > certain) from None
        self._rests.pop(holder, None)

    def _rest(self, holder: int) -> None:
        now = asyncio.get_running_loop().time()
        before = self._rests.get(holder)
        if before is None or before.until_s <= now:  # else several submissions waited for it at once
            length_s = REST_S if before is None else min(2 * before.length_s, REST_MOST_S)
            self._rests[holder] = _Rest(now + length_s, length_s)

    async def _hand_part(
        self, holder: int, key: HolderKeyAnswer, index: int, chart: int, owner: Owner, part: Sequence[Offer]
    ) -> None:
        recipient = encryption_key_digest(key.suite, key.public)
        info = envelope_info(self._node.chain, chart, batch_digest([one.commitment for one in part]), recipient)
        shares = Shares(tuple(one.shares[index - 1] for one in part))
        request = HoldRequest(
            chart,
            owner.suite,
            owner.public,
            seal_envelope(key.suite, key.public, info, encode(shares)),
            tuple(
                Handover(
                    one.commitment,
                    one.record,
                    one.blob_id,
                    one.blob_bytes,
                    one.blob,
                    one.details,
                    one.owner_envelope,
                )
                for one in part
            ),
        )
        fetched = [one for one in part if one.blob is None]
        for one in fetched:
            at = (holder, one.blob_id)
            self._offered[at] = self._offered.get(at, 0) + 1
        wait_s = ANSWER_S + sum(one.blob_bytes for one in part) / BYTES_PER_S
        try:
            answer = decode(HoldAnswer, await self._node.ask(holder, HOLD, encode(request), wait_s))
        finally:
            for one in fetched:
                at = (holder, one.blob_id)
                self._offered[at] -= 1
                if not self._offered[at]:
                    del self._offered[at]
        if answer.held != len(part):
            raise NotTaken(f"institution {holder} took {answer.held} of {len(part)} records")

    async def _holder_key(self, holder: int) -> HolderKeyAnswer:
        """The holder's public key, compared with the ledger's digest."""
        leaf = await self._node.institution_leaf(holder)
        if not isinstance(leaf, Institution):
            raise NotTaken(f"there is no institution {holder}", given=False)
        known = self._keys.get(leaf.encryption_key)
        if known is None:
            request = encode(HolderKeyRequest(self._node.chain))
            known = decode(HolderKeyAnswer, await self._node.ask(holder, HOLDER_KEY, request, ANSWER_S))
            if encryption_key_digest(known.suite, known.public) != leaf.encryption_key:
                raise NotTaken(f"institution {holder} names another key than the ledger has of it", given=False)
            self._keys[leaf.encryption_key] = known
        return known

    # --- large blobs are fetched by their holders -----------------------------------------------------------------

    def is_offered(self, holder: int, blob_id: bytes) -> bool:
        """Whether this holder is being asked right now to take that blob."""
        return (holder, blob_id) in self._offered

    async def piece(self, blob_id: bytes, offset: int) -> BlobPiece:
        """Sealed bytes. Raises storage's `BlobMissing` or `StorageFailed`."""
        return BlobPiece(await self._blobs.part(blob_id, offset, PIECE_BYTES))


def _parts(offers: Sequence[Offer]) -> Iterator[Sequence[Offer]]:
    """In requests of bounded size."""
    part: list[Offer] = []
    size = 0
    for one in offers:
        size += len(one.blob or b"")
        if part and (size > ANSWER_BYTES or len(part) == HELD_PER_REQUEST):
            yield part
            part, size = [], len(one.blob or b"")
        part.append(one)
    if part:
        yield part
