"""A delegate reads: asked for under its own signature, released to its own key, checked against the ledger.

The custodian hands over sealed bytes and the envelope that only the delegate opens, as it does for the owner.
"""

from __future__ import annotations

from node.records.messages import ReleasedKey
from node.records.opening import Key, open_whole
from protocol.codec.canonical import decode
from protocol.crypto.envelopes import envelope_info, keypair_from_seed, open_envelope
from protocol.crypto.hashing import encryption_key_digest
from protocol.errors import UnknownRecord
from protocol.ledger.events import Event, RecordAppended


def open_released(  # the parts come from four requests
    encryption_seed: bytes, suite: int, chain: bytes, chart: int, event: bytes, *, envelope: bytes, sealed: bytes
) -> bytes:
    """The exact bytes of one record. `event` is its canonical event, `sealed` the blob. CPU work.

    Raises `UnknownRecord` if the event is no record, `SealBroken` or `CommitmentMismatch` if what was handed over is
    not what the ledger has.
    """
    appended: Event = decode(Event, event)  # type: ignore[arg-type]  # a union is no type to mypy
    if not isinstance(appended, RecordAppended):
        raise UnknownRecord("the event is not a record")
    private, public = keypair_from_seed(suite, encryption_seed)
    commitment = appended.entry.commitment
    info = envelope_info(chain, chart, commitment, encryption_key_digest(suite, public))
    secret = decode(ReleasedKey, open_envelope(suite, private, info, envelope))
    return open_whole(Key(secret.key, secret.opening, secret.length, commitment), sealed)
