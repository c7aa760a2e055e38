"""A reader with keys of its own, an owner or a delegate, puts together what a node handed on (`node.records.parts`).

Nothing is believed: whatever opens is tried, and what matches the commitment on the ledger is the record. So a liar
among those who gave parts, or the node itself, costs time and no more. Relies on `protocol.crypto`; asks nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from msgspec import Struct

from node.records.holding_messages import HeldDetails, Shares, batch_digest
from node.records.messages import RECORD_BYTES, ReleasedKey
from node.records.opening import Key, open_whole, sealed_bytes_most
from node.records.parts import Part
from node.records.seal import open_held_details, read_owner_plain
from protocol.codec.canonical import decode
from protocol.crypto.commitments import Opening
from protocol.crypto.envelopes import PrivateKey, envelope_info, keypair_from_seed, open_envelope
from protocol.crypto.hashing import encryption_key_digest
from protocol.crypto.shares import KeyShare, candidate_sets, combine_shares
from protocol.errors import ChartledgerError, CryptoError, DecodeError, UnknownRecord
from protocol.ledger.events import RecordAppended, decode_event

Fetch = Callable[[int], bytes]
"""(institution) -> the record's sealed bytes as it has them. Raises if it gives none."""


class NothingOpens(ChartledgerError):
    """What was handed over does not give the record that stands on the ledger."""

    advice = (
        "Ask through another institution's node, or again later: `chartledger peers` says who is away. A record that "
        "too few of its holders give cannot be opened by anybody."
    )


class ReaderKey(NamedTuple):
    """A key that parts may be sealed to; a reader may have several, the newest first."""

    suite: int
    private: PrivateKey
    digest: bytes

    @classmethod
    def from_seed(cls, suite: int, seed: bytes) -> ReaderKey:
        private, public = keypair_from_seed(suite, seed)
        return cls(suite, private, encryption_key_digest(suite, public))

    def __repr__(self) -> str:
        return f"ReaderKey({self.digest.hex()[:16]})"


class WhichRecord(NamedTuple):
    """Which record is to come out."""

    chain: bytes
    chart: int
    commitment: bytes

    @classmethod
    def of_event(cls, chain: bytes, chart: int, raw: bytes) -> WhichRecord:
        """The record of this canonical event. Raises `UnknownRecord` if it is none."""
        event = decode_event(raw)
        if not isinstance(event, RecordAppended):
            raise UnknownRecord("the event is not a record")
        return cls(chain, chart, event.entry.commitment)


class ReadRecord(Struct, frozen=True):
    """A record, and what opens its commitment."""

    data: bytes
    media_type: str
    opening: Opening

    def __repr__(self) -> str:
        return "ReadRecord(hidden)"


class _Opens(NamedTuple):
    """A key that might be the record's, and who might have its sealed bytes."""

    key: Key
    media_type: str
    sources: tuple[int, ...]


def read_parts(keys: Sequence[ReaderKey], record: WhichRecord, parts: Sequence[Part], fetch: Fetch) -> ReadRecord:
    """The record. CPU work besides what `fetch` does. Raises `NothingOpens`."""
    failed: ChartledgerError | None = None
    sealed: dict[int, bytes | None] = {}
    for opens in _keys(keys, record, parts):
        for source in opens.sources:
            if source not in sealed:
                try:
                    sealed[source] = fetch(source)
                except ChartledgerError as error:
                    sealed[source], failed = None, error
            found = sealed[source]
            if found is None:
                continue
            try:
                data = open_whole(opens.key, found)
            except CryptoError as error:
                failed = error
                continue
            return ReadRecord(data, opens.media_type, opens.key.opening)
    if failed is not None:
        raise NothingOpens(f"keys fit, and no sealed bytes open to the record: {failed}")
    raise NothingOpens(f"of {len(parts)} parts that were handed over none opens, and no shares fit together")


def _keys(keys: Sequence[ReaderKey], record: WhichRecord, parts: Sequence[Part]) -> Iterator[_Opens]:
    everybody = tuple(dict.fromkeys(part.institution for part in parts))
    for part in parts:
        if part.kind != "share":
            opens = _whole(keys, record, part)
            if opens is not None:
                yield opens._replace(sources=(part.institution, *(one for one in everybody if one != part.institution)))
    shares = [(part, share) for part in parts if part.kind == "share" for share in _share(keys, record, part)]
    details = list(dict.fromkeys(part.details for part, _ in shares))
    for chosen in candidate_sets([share for _, share in shares]):
        key = combine_shares([shares[place][1] for place in chosen])
        for sealed in details:
            held = _details(key, record, sealed)
            if held is None or held.length > RECORD_BYTES:
                continue
            used = [shares[place][0] for place in chosen]
            rest = [part for part, _ in shares if part not in used]
            most = sealed_bytes_most(held.length)
            sources = tuple(part.institution for part in [*used, *rest] if part.blob_bytes <= most)
            yield _Opens(Key(key, held.opening, held.length, record.commitment), held.media_type, sources)


def _whole(keys: Sequence[ReaderKey], record: WhichRecord, part: Part) -> _Opens | None:
    for mine in keys:
        info = envelope_info(record.chain, record.chart, record.commitment, mine.digest)
        try:
            plain = open_envelope(mine.suite, mine.private, info, part.envelope)
            secret = read_owner_plain(plain) if part.kind == "owner" else decode(ReleasedKey, plain)
        except (CryptoError, DecodeError):
            continue
        if secret.length <= RECORD_BYTES:
            key = Key(secret.key, secret.opening, secret.length, record.commitment)
            return _Opens(key, secret.media_type, (part.institution,))
    return None


def _share(keys: Sequence[ReaderKey], record: WhichRecord, part: Part) -> tuple[KeyShare, ...]:
    for mine in keys:
        info = envelope_info(record.chain, record.chart, batch_digest([record.commitment]), mine.digest)
        try:
            return decode(Shares, open_envelope(mine.suite, mine.private, info, part.envelope)).shares[:1]
        except (CryptoError, DecodeError):
            continue
    return ()


def _details(key: bytes, record: WhichRecord, sealed: bytes) -> HeldDetails | None:
    try:
        return decode(HeldDetails, open_held_details(key, sealed, record.chain, record.chart, record.commitment))
    except (CryptoError, DecodeError):
        return None
