"""What askers said in confidence, opened with the wallet's own keys and checked against the ledger.

Whoever said it seals it to the owner, and the custodian keeps a copy that it cannot open; what comes out is believed
only if the asking on the ledger committed to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from protocol.crypto.details import Details, details_info, open_details
from protocol.crypto.envelopes import PrivateKey, keypair_from_seed
from protocol.crypto.hashing import encryption_key_digest
from protocol.crypto.wallet import ChartKeys
from protocol.errors import CryptoError

NOT_OPENED = "does not open"
"""What is told of details that are for another key, or not what the ledger has a commitment to."""


def open_said(
    versions: Sequence[ChartKeys],
    suite: int,
    chain: bytes,
    chart: int,
    events: Iterable[Mapping[str, Any]],
    sealed: Mapping[int, Sequence[bytes]],
) -> dict[int, Details | str]:
    """By event number, what was said about each asking or review for which something sealed is there; where none of it
    opens, that. `versions` are the owner's keys, the newest first: what was said before a rotation is sealed to the
    keys of then. `events` are as the socket gives them. CPU work: 0.1 ms each."""
    pairs = [keypair_from_seed(suite, keys.encryption_seed) for keys in versions]
    found: dict[int, Details | str] = {}
    for event in events:
        number = event["number"]
        text = commitment_text(event)
        if text is not None and number in sealed:
            tried = (_open(pairs, suite, chain, chart, bytes.fromhex(text), one) for one in sealed[number])
            found[number] = next((one for one in tried if one != NOT_OPENED), NOT_OPENED)
    return found


def commitment_text(event: Mapping[str, Any]) -> str | None:
    """What an event, as the socket gives it, commits to as said in confidence, in hex; None for nothing."""
    return event.get("details") or event.get("justification") or event.get("findings")


def _open(
    pairs: Sequence[tuple[PrivateKey, bytes]], suite: int, chain: bytes, chart: int, commitment: bytes, sealed: bytes
) -> Details | str:
    for private, public in pairs:
        info = details_info(chain, chart, commitment, encryption_key_digest(suite, public))
        try:
            return open_details(suite, private, info, commitment, sealed)
        except CryptoError:
            continue
    return NOT_OPENED
