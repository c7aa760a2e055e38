"""A reading pass: what an owner's wallet signs to read its own chart through any institution's node.

Whoever stores something of the chart judges it by the ledger alone: the key in force must have signed it, a short while
ago, for the institution that shows it, and what is given is sealed to the owner's envelope key, whose digest stands on
the ledger. So a pass that is shown again, by whomever, opens nothing to anybody but the owner. It changes nothing on
the ledger: that patients read their own charts is nobody's business. Pure; relies on `protocol`.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from node.records.errors import PassRefused
from protocol.crypto.hashing import encryption_key_digest
from protocol.crypto.signing import ReadingPassSubject, SigningKey, reading_pass_message, verify
from protocol.ledger.leaves import Chart
from protocol.types.base import Number, Signature, TimeMs, Wire

PASS_BYTES: Final = 8 * 1024
"""No pass is larger: a key, a signature and numbers."""
LIFE_MS: Final = 10 * 60 * 1_000
"""How long a wallet makes a pass for: a chart's worth of records."""
LIFE_MOST_MS: Final = 20 * 60 * 1_000
"""What lasts longer is refused; the difference is left to clocks that differ."""


class ReadingPass(Wire, frozen=True):
    """The owner of `chart` reads it through the node of `institution`, until `expires_at`, judged at final `height` or
    above; `public` is its envelope key in force."""

    chart: Number
    institution: Number
    public: Annotated[bytes, Meta(min_length=32, max_length=4_096)]
    height: Number
    expires_at: TimeMs
    signature: Signature


def make_pass(  # what a pass says, and who signs it
    key: SigningKey, chain: bytes, suite: int, public: bytes, *, chart: int, institution: int, height: int, now_ms: int
) -> ReadingPass:
    """A pass for `LIFE_MS` from `now_ms` (ledger time, or close to it)."""
    expires_at = now_ms + LIFE_MS
    subject = ReadingPassSubject(chain, chart, institution, encryption_key_digest(suite, public), height, expires_at)
    return ReadingPass(chart, institution, public, height, expires_at, key.sign(reading_pass_message(subject)))


def check_pass(shown: ReadingPass, chain: bytes, leaf: Chart, by: int, time_ms: int) -> None:
    """Raise `PassRefused` unless the pass counts at `time_ms`, shown by institution `by`, for its chart as it stands on
    the ledger."""
    if shown.institution != by:
        raise PassRefused(f"it is for reading through institution {shown.institution}")
    if not time_ms < shown.expires_at <= time_ms + LIFE_MOST_MS:
        raise PassRefused("it has run out, or is for longer than a pass may be")
    if encryption_key_digest(leaf.encryption_suite, shown.public) != leaf.encryption_key:
        raise PassRefused("its envelope key is not the one that stands on the ledger for the chart's owner")
    subject = ReadingPassSubject(
        chain, shown.chart, shown.institution, leaf.encryption_key, shown.height, shown.expires_at
    )
    if not verify(leaf.owner_key, reading_pass_message(subject), shown.signature):
        raise PassRefused("it is not signed with the owner key that stands on the ledger for the chart")
