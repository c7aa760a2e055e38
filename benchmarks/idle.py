"""What idle nodes cost: resident memory, share of a core, and blocks written, a minute after start.

    .venv/bin/python benchmarks/idle.py [--nodes 4] [--settle 60] [--seconds 60]

Starts a devnet of its own, leaves it alone, and prints JSON with the largest figure of any node.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from node.cli.client import connect
from node.devnet import Devnet, wish_for
from node.processes import cpu_seconds, resident_bytes


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure idle nodes.")
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--settle", type=float, default=60.0, help="seconds after start before measuring")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to measure CPU")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cl-idle-"))
    devnet = Devnet.create(folder / "net", wish_for(options.nodes))
    try:
        devnet.start()
        time.sleep(options.settle)
        pids = [devnet.pid(number) for number in devnet.numbers]
        alive = [pid for pid in pids if pid is not None]
        if len(alive) != options.nodes:
            sys.exit("a node has stopped: see its log")
        before = [cpu_seconds(pid) for pid in alive]
        time.sleep(options.seconds)
        shares = [(cpu_seconds(pid) - was) / options.seconds for pid, was in zip(alive, before, strict=True)]
        resident = [resident_bytes(pid) for pid in alive]
        with connect(devnet.socket(0)) as session:
            height = session.status()["height"]
        result = {
            "nodes": options.nodes,
            "rss_mb_max": round(max(resident) / 1e6, 1),
            "core_share_percent_max": round(100 * max(shares), 3),
            "blocks": height,
            "settled_s": options.settle,
            "measured_s": options.seconds,
        }
        print(json.dumps(result, indent=2))
    finally:
        devnet.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
