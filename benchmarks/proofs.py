"""Sizes and verification times of every kind of proof: `python benchmarks/proofs.py [--charts N] [--json]`.

Makes a chain in memory with N charts besides the one that is proved about (default 10,000), writes a proof of each kind
and checks each file 50 times, from its bytes and the genesis on, every signature verified. Prints the median. The
figures of docs/auditors.md are from this.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from protocol.codec.canonical import encode  # noqa: E402 - needs the path above
from protocol.ledger import keys, tree  # noqa: E402
from protocol.proofs import bundle, scan  # noqa: E402
from protocol.types.operations import AppendRecords, RecordEntry  # noqa: E402
from tests.protocol.conftest import World  # noqa: E402
from tests.protocol.proofs.proving import DATA, Prover, immunization  # noqa: E402

TIMES = 50
HISTORY_EVENTS = (100, 10_000)


def crowded(world: Any, charts: int) -> None:
    """Copies the chart's leaf for as many others, and a grant of each, so that the state tree is as deep as with them.

    They are put into the state below the next block's; nothing in a proof depends on how they came there.
    """
    leaf = world.leaves[keys.chart(0)]
    others = {keys.chart(number): leaf for number in range(1, charts + 1)}
    others |= {keys.policy(number): encode(number) for number in range(1, charts + 1)}
    others |= {keys.grant(number, 0): encode(number) for number in range(1, charts + 1)}
    world.leaves.update(others)
    world.nodes.update(tree.update(world.nodes, others).nodes)


def drawn(draw: random.Random) -> RecordEntry:
    """An entry with a commitment and tags of its own."""
    first, second, third, fourth = (draw.randbytes(16) for _ in range(4))
    return RecordEntry(draw.randbytes(32), (first, second, third, fourth))


def measure(prover: Prover, proof: Any, record: bytes | None = None) -> dict[str, Any]:
    """Size in bytes, size as text for a QR code, and the median of checking the file in ms."""
    data = bundle.write(proof)
    genesis = prover.world.genesis
    times = []
    for _ in range(TIMES):
        start = time.perf_counter()
        bundle.check(bundle.read(data), genesis=genesis, record=record)
        times.append((time.perf_counter() - start) * 1_000)
    characters = len(scan.to_text(data))
    return {
        "bytes": len(data),
        "qr_characters": characters,
        "fits_qr": characters <= scan.QR_CHARACTERS,
        "median_ms": round(statistics.median(times), 2),
    }


def run(charts: int, authorities: int) -> dict[str, Any]:
    """All kinds at one size of the ledger."""
    world = World(count=authorities)
    patient = world.open_chart()
    if charts:
        crowded(world, charts)
    prover = Prover(world, patient)
    world.run(0, AppendRecords(patient.chart, (immunization(), immunization()), (1, 2)))
    world.grant(patient)
    early = prover.block()
    erasure = prover.erase([2], [1, 2])
    prover.acknowledge(erasure, 1)
    kinds: dict[str, Callable[[], dict[str, Any]]] = {
        "block": lambda: measure(prover, prover.block()),
        "record": lambda: measure(prover, prover.record(1)),
        "record, bytes in hand": lambda: measure(prover, prover.record(1, opened=True), DATA),
        "field": lambda: measure(prover, prover.field(1)),
        "grant": lambda: measure(prover, prover.grant(0)),
        "grant, one record": lambda: measure(prover, prover.grant(0, record=1)),
        "grant, earlier height": lambda: measure(prover, prover.past(early, 0)),
        "erasure": lambda: measure(prover, prover.erasure(erasure)),
    }
    found = {name: take() for name, take in kinds.items()}
    draw = random.Random(1)  # what is drawn does not deflate, as commitments and tags do not
    for events in HISTORY_EVENTS:
        while (left := events - world.chart(patient).events) > 0:
            world.append(patient, *(drawn(draw) for _ in range(min(left, 1_000))))
        found[f"history of {events} events"] = measure(prover, prover.history())
    return found


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description="Sizes and verification times of proofs.")
    options.add_argument("--charts", type=int, default=10_000)
    options.add_argument("--authorities", type=int, default=4)
    options.add_argument("--json", action="store_true")
    asked = options.parse_args()
    found = run(asked.charts, asked.authorities)
    if asked.json:
        print(json.dumps({"charts": asked.charts, "authorities": asked.authorities, "proofs": found}, indent=2))
        return
    print(f"{asked.charts} other charts, {asked.authorities} authorities; median of {TIMES}")
    for name, one in found.items():
        fits = "fits" if one["fits_qr"] else "does not fit"
        print(f"{name:28} {one['bytes']:9} bytes {one['median_ms']:8.2f} ms   QR code: {fits}")


if __name__ == "__main__":
    main()
