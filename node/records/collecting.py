"""A reader's way without the writer: shares of keys collected from a record's holders, combined, and blamed if wrong.

Holders are asked in the order in which the record's event names them, then whoever else placement would have chosen,
until enough of their shares fit. That they fit shows when the details open, which takes the record's own key; what
comes out of the blob then must match the ledger's commitment, as always. A holder whose share does not fit is named
in the log and counted.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import NamedTuple

from msgspec import Struct

from node.logs import get_logger
from node.network.interface import RequestFailed
from node.records.envelope_key import EnvelopeKey
from node.records.errors import RecordsError, TooFewHolders
from node.records.holding_messages import SHARE, HeldDetails, ShareAnswer, Shared, ShareRequest, Shares, batch_digest
from node.records.messages import INLINE_BYTES, RECORD_BYTES
from node.records.opening import Key, sealed_bytes_most
from node.records.parts import Stores
from node.records.seal import open_held_details
from node.records.sharing import Sharing
from node.services import NodeServices, Queries
from node.storage.errors import StorageError
from protocol import limits
from protocol.codec.canonical import decode, encode
from protocol.crypto.envelopes import envelope_info, open_envelope
from protocol.crypto.placement import ranked
from protocol.crypto.shares import KeyShare, candidate_sets, combine_shares, threshold_of
from protocol.errors import ChartledgerError, CryptoError, DecodeError
from protocol.ledger.events import RecordAppended

log = get_logger("holders")

WAIT_S = 15.0
HOLDERS_LEAST = 2
"""No key is ever split so that one holder opens it."""


class Source(NamedTuple):
    """Who has the sealed bytes of a record, and how many these are by its own word."""

    institution: int
    blob_bytes: int


class Fetched(Struct, frozen=True):
    """What opens one record, and its blob if it came along, from the first of the sources; all of them have it, best
    first."""

    record: int
    media_type: str
    key: Key
    blob: bytes | None
    sources: tuple[Source, ...]

    def __repr__(self) -> str:
        return f"Fetched(record={self.record})"


class _Given(Struct, frozen=True):
    """What one holder gave: shares, in the order of the request, and what goes with them."""

    institution: int
    shares: tuple[KeyShare, ...]
    shared: tuple[Shared, ...]


class Wanted(Struct, frozen=True):
    """Records of one writer with one list of holders, to be read under event `asking` of `chart`."""

    chart: int
    asking: int
    records: tuple[int, ...]
    appended: Mapping[int, RecordAppended]


def order_of_holders(node: Queries, chart: int, appended: RecordAppended) -> list[int]:
    """Whom to ask for a record: those that its event names, then those that repair may have added since."""
    others = ranked(node.chain, chart, appended.institution, node.accredited())
    named = appended.holders
    # The ledger has them ascending; the first choice of placement comes first, for everybody alike.
    order = [one for one in others if one in named] + [one for one in named if one not in others]
    return [*order, *(one for one in others if one not in named)][: limits.HOLDERS_PER_RECORD]


def stores_of(node: Queries, chart: int, appended: RecordAppended) -> Stores:
    """The same for who cannot tell whether shares fit, with the record's writer."""
    order = order_of_holders(node, chart, appended)
    named = tuple(one for one in order if one in appended.holders)
    return Stores(appended.institution, named, tuple(one for one in order if one not in named))


class Collector:
    """Asks holders. `suspects` counts by institution how often a share did not fit."""

    def __init__(self, node: NodeServices, sharing: Sharing, threads: Executor) -> None:
        self._node = node
        self._sharing = sharing
        self._threads = threads
        self.suspects: Counter[int] = Counter()

    async def collect(self, wanted: Wanted, mine: EnvelopeKey, why: str) -> list[Fetched]:
        """As many of the records, from the first, as holders send at once; at least one. `why` says what was wrong with
        the writer. Raises `TooFewHolders`."""
        first = wanted.appended[wanted.records[0]]
        left = order_of_holders(self._node, wanted.chart, first)
        given: list[_Given] = []
        refused: list[str] = []
        count = max(HOLDERS_LEAST, threshold_of(len(first.holders)))
        while left:
            asked, left = left[:count], left[count:]
            answers = await asyncio.gather(
                *(self._ask(one, wanted, mine, blobs=not given and place == 0) for place, one in enumerate(asked))
            )
            given += [one for one in answers if isinstance(one, _Given)]
            refused += [one for one in answers if isinstance(one, str)]
            given = await self._with_blobs(wanted, mine, given)
            found = await asyncio.get_running_loop().run_in_executor(self._threads, self._open, wanted, given)
            if found:
                return found
            count = 1
        said = "; ".join(refused) or "their shares do not fit together"
        raise TooFewHolders(f"{why}; of its holders {len(given)} gave a share: {said}")

    async def _with_blobs(self, wanted: Wanted, mine: EnvelopeKey, given: list[_Given]) -> list[_Given]:
        """The same, and small blobs along with the first, if whoever was to send them did not answer."""
        small = [one for one in given if one.shared[0].blob_bytes <= INLINE_BYTES]
        if not small or any(one.shared[0].blob is not None for one in given):
            return given
        again = await self._ask(small[0].institution, wanted, mine, blobs=True)
        if isinstance(again, str):
            return given
        return [again, *(one for one in given if one.institution != again.institution)]

    async def _ask(self, holder: int, wanted: Wanted, mine: EnvelopeKey, *, blobs: bool) -> _Given | str:
        """What it gave, or why it gave nothing."""
        height = self._node.head().height
        request = ShareRequest(wanted.chart, wanted.asking, wanted.records, mine.public, height, blobs)
        try:
            if holder == self._node.institution:
                answer = await self._sharing.share(holder, request)
            else:
                answer = decode(ShareAnswer, await self._node.ask(holder, SHARE, encode(request), WAIT_S))
            return self._opened(holder, wanted, mine, answer)
        except (RequestFailed, RecordsError, StorageError, CryptoError, DecodeError) as error:
            return f"institution {holder}: {error}"
        except ChartledgerError as error:  # what its rules, or this node's own, have against it
            return f"institution {holder}: {error}"

    def _opened(self, holder: int, wanted: Wanted, mine: EnvelopeKey, answer: ShareAnswer) -> _Given:
        records = wanted.records[: len(answer.shared)]
        if tuple(one.record for one in answer.shared) != records:
            raise DecodeError("it answered with other records than those asked for")
        commitments = [wanted.appended[record].entry.commitment for record in records]
        info = envelope_info(self._node.chain, wanted.chart, batch_digest(commitments), mine.digest)
        shares = decode(Shares, open_envelope(mine.suite, mine.private, info, answer.envelope)).shares
        if len(shares) != len(records):
            raise DecodeError("it answered with more or fewer shares than records")
        return _Given(holder, shares, answer.shared)

    # --- combining: CPU work -------------------------------------------------------------------------------------

    def _open(self, wanted: Wanted, given: Sequence[_Given]) -> list[Fetched]:
        """The records, from the first, that these answers open."""
        found: list[Fetched] = []
        order = list(given)
        for at, record in enumerate(wanted.records):
            here = [one for one in order if at < len(one.shared)]
            opened = self._open_one(wanted.chart, wanted.appended[record], at, here)
            if opened is None:
                break
            key, details, used = opened
            order = [*used, *(one for one in order if one not in used)]  # those that fitted once are tried first
            if details.length > RECORD_BYTES:
                break
            # A right share does not make the rest right: each has only its own word about the size taken from it.
            most = sealed_bytes_most(details.length)
            inline = [one for one in here if one.shared[at].blob is not None]
            sources = tuple(
                dict.fromkeys(
                    Source(one.institution, one.shared[at].blob_bytes)
                    for one in [*inline[:1], *used, *here]
                    if one.shared[at].blob_bytes <= most
                )
            )
            if not sources or (found and not inline):
                break  # a large one is read by itself
            blob = inline[0].shared[at].blob if inline and inline[0].institution == sources[0].institution else None
            commitment = wanted.appended[record].entry.commitment
            opens = Key(key, details.opening, details.length, commitment)
            found.append(Fetched(record, details.media_type, opens, blob, sources))
        return found

    def _open_one(
        self, chart: int, appended: RecordAppended, at: int, given: Sequence[_Given]
    ) -> tuple[bytes, HeldDetails, list[_Given]] | None:
        """The key of one record, its details, and whose shares fitted; None if none do."""
        commitment = appended.entry.commitment
        shares = [one.shares[at] for one in given]
        sealed = list(dict.fromkeys(one.shared[at].details for one in given))
        for misfits, chosen in enumerate(candidate_sets(shares)):
            key = combine_shares([shares[place] for place in chosen])
            details = self._details(key, chart, commitment, sealed)
            if details is not None:
                used = [given[place] for place in chosen]
                if misfits:
                    self._blame(key, at, given, used)
                return key, details, used
        return None

    def _details(self, key: bytes, chart: int, commitment: bytes, sealed: Sequence[bytes]) -> HeldDetails | None:
        for one in sealed:
            try:
                return decode(HeldDetails, open_held_details(key, one, self._node.chain, chart, commitment))
            except (CryptoError, DecodeError):
                continue
        return None

    def _blame(self, key: bytes, at: int, given: Sequence[_Given], used: Sequence[_Given]) -> None:
        """Which of the others' shares do not go with those that fitted."""
        for one in given:
            if one in used:
                continue
            beside = [good.shares[at] for good in used if good.shares[at].index != one.shares[at].index]
            tried = [one.shares[at], *beside][: one.shares[at].threshold]
            fits = (
                len(tried) == used[0].shares[at].threshold == one.shares[at].threshold and combine_shares(tried) == key
            )
            if not fits:
                self.suspects[one.institution] += 1
                log.warning("a holder gave a share that does not fit", institution=one.institution)
