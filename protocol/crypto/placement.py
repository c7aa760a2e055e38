"""Placement: which institutions hold a chart's sealed records, by rendezvous hashing (Thaler and Ravishankar, 1998).

Each institution has a score for each (chart, writer), the keyed digest of both under the chain's id, and the highest
hold. So everybody computes the same list from the ledger alone, holders of many charts spread evenly, and when an
institution leaves, only what it held moves. A chart's records by one writer lie at the same holders as long as the
membership stays: the fewer institutions ever had a patient's records, the fewer owe a receipt for their erasure.
"""

from __future__ import annotations

from collections.abc import Iterable

from protocol.crypto.hashing import Domain, keyed_digest


def score(chain: bytes, chart: int, writer: int, institution: int) -> bytes:
    """32 bytes: how much this institution is wanted as a holder of what `writer` writes to `chart`."""
    place = chart.to_bytes(8, "big") + writer.to_bytes(4, "big") + institution.to_bytes(4, "big")
    return keyed_digest(Domain.PLACEMENT, chain, place)


def ranked(chain: bytes, chart: int, writer: int, institutions: Iterable[int]) -> list[int]:
    """The institutions (numbers) from the first choice of a holder to the last; the writer, who keeps its own copy,
    is left out."""
    others = set(institutions) - {writer}
    return sorted(others, key=lambda one: (score(chain, chart, writer, one), one), reverse=True)
