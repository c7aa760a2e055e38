"""The owner reads: a chart's record opened with the wallet's own keys, checked against the ledger.

Writer or holder hands over sealed bytes and the envelope that was sealed to the owner; it learns nothing that it did
not have, and what comes out is believed only if it matches the commitment on the ledger. With parts that came through
another's node, `node.parts_reading` does the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from node.parts_reading import ReaderKey
from node.records.opening import Key, open_whole
from node.records.seal import read_owner_plain
from protocol.codec.canonical import decode
from protocol.crypto.commitments import LeafProof, Opening, bytes_proof
from protocol.crypto.envelopes import SUITES, envelope_info, keypair_from_seed, open_envelope
from protocol.crypto.fields import json_fields
from protocol.crypto.hashing import encryption_key_digest
from protocol.crypto.wallet import ChartKeys
from protocol.errors import UnknownRecord
from protocol.ledger.events import Event, RecordAppended


def reader_keys(versions: Sequence[ChartKeys], suite: int) -> list[ReaderKey]:
    """The envelope keys of these versions of an owner's keys, those of `suite`, the one in force, first: copies that
    lie about may be sealed to an earlier one."""
    suites = [suite, *(one for one in SUITES if one != suite)]
    return [ReaderKey.from_seed(one, keys.encryption_seed) for one in suites for keys in versions]


class OwnRecord(Struct, frozen=True):
    """A record as its owner reads it, and what opens its commitment."""

    data: bytes
    media_type: str
    opening: Opening

    def __repr__(self) -> str:
        return "OwnRecord(hidden)"

    @property
    def proof(self) -> LeafProof:
        """Shows these bytes to who holds them, and opens nothing else."""
        return bytes_proof(self.data, json_fields(self.data), self.opening)


def open_own(  # the parts come from three requests
    keys: ChartKeys, suite: int, chain: bytes, chart: int, event: bytes, *, envelope: bytes, sealed: bytes
) -> OwnRecord:
    """Open one record. `event` is its canonical event, `sealed` the blob. CPU work.

    Raises `UnknownRecord` if the event is no record, `SealBroken` or `CommitmentMismatch` if what was handed over is
    not what the ledger has.
    """
    appended: Event = decode(Event, event)  # type: ignore[arg-type]  # a union is no type to mypy
    if not isinstance(appended, RecordAppended):
        raise UnknownRecord("the event is not a record")
    private, public = keypair_from_seed(suite, keys.encryption_seed)
    commitment = appended.entry.commitment
    info = envelope_info(chain, chart, commitment, encryption_key_digest(suite, public))
    secret = read_owner_plain(open_envelope(suite, private, info, envelope))
    data = open_whole(Key(secret.key, secret.opening, secret.length, commitment), sealed)
    return OwnRecord(data, secret.media_type, secret.opening)
