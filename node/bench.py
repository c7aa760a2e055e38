"""`chartledger bench`: what a network of real nodes on this machine does, measured from outside.

Signed transactions go through the nodes' sockets in batches, in a closed loop: a client sends its next batch when the
last one is final. An item is a record entry. A latency is from handing a batch to a socket until its answer says that
all of it is final, so it is never flattered by batching. CPU, memory and disk are the operating system's own figures
for the node processes; the load generator shares the machine and is not counted in them.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import msgspec
from msgspec import Struct

from node.bench_load import Signer
from node.devnet import Devnet, wish_for
from node.processes import cpu_seconds, folder_bytes, peak_resident_bytes
from protocol.errors import ChartledgerError

CHARTS_PER_INSTITUTION = 50
WARM_UP_SECONDS = 3.0
LOW_LOAD_ITEMS = 100
LOW_LOAD_PAUSE_SECONDS = 0.05
SPARE = 2.0
"""How many times what the warm-up managed is signed beforehand."""
TIMEOUT_SECONDS = 60.0
SETTLE_SECONDS = 30.0

Report = Callable[[str], None]
_lists = msgspec.msgpack.Encoder()


class BenchFailed(ChartledgerError):
    """The measurement does not count."""

    advice = "Run it again on a machine that is otherwise idle; --keep leaves the nodes' logs."


class Result(Struct):
    """What was measured. Latencies are in ms; `cpu_ms_per_item` is that of all nodes together, `disk_bytes_per_item`
    that of one node, `rss_mb_max` the peak of the largest node."""

    authorities: int
    operations: int
    charts_per_transaction: int
    seconds: float
    items: int
    transactions: int
    items_per_second: float
    transactions_per_second: float
    p50_ms: float
    p99_ms: float
    low_load_p50_ms: float
    low_load_p99_ms: float
    cpu_ms_per_item: float
    rss_mb_max: float
    disk_bytes_per_item: float
    blocks: int
    in_flight: int
    client_cpu_share: float
    cores: int
    transaction_bytes: int


class Plan(Struct, frozen=True):
    """What to measure. `operations` are record entries a transaction; `clients` is how many batches each
    institution's socket has under way at once."""

    authorities: int = 4
    seconds: float = 20.0
    operations: int = 1
    charts: int = 1
    batch: int = 0
    clients: int = 2

    @property
    def batch_size(self) -> int:
        """Transactions in a request: a hundred items, but at least ten transactions, unless told otherwise."""
        return self.batch or max(10, 100 // self.operations)


class Phase(Struct):
    """What one phase of load came to."""

    items: int = 0
    transactions: int = 0
    seconds: float = 0.0
    latencies_ms: list[float] = []


def measure(plan: Plan, report: Report, folder: Path | None = None) -> Result:
    """Make a network, load it, and take it down. Raises `BenchFailed` if not everything became final on every node.

    `folder` keeps the network's files; without, they lie in a temporary folder and are removed.
    """
    with tempfile.TemporaryDirectory(prefix="chartledger-bench-") as temporary:
        devnet = Devnet.create(folder or Path(temporary) / "net", wish_for(plan.authorities, "warning"), outside_keys=1)
        try:
            return asyncio.run(_measure(plan, devnet, report))
        finally:
            devnet.stop()


async def _measure(plan: Plan, devnet: Devnet, report: Report) -> Result:
    signers = [
        Signer(bytes.fromhex(devnet.plan.chain), n, devnet.outside_keys(n)[0], plan.operations, plan.charts)
        for n in devnet.numbers
    ]
    report("starting nodes and opening charts")
    devnet.start()
    async with _Sockets(devnet) as sockets:
        await _open_charts(sockets, signers)
        await sockets.settle()
    devnet.stop()
    disk_before = [folder_bytes(devnet.data(n)) for n in devnet.numbers]
    devnet.start()
    async with _Sockets(devnet) as sockets:
        report("warming up")
        warm = await _load(plan, sockets, signers, WARM_UP_SECONDS, None)
        await sockets.settle()
        report("low load")
        low = await _low_load(sockets, signers)
        wanted = int(warm.transactions / warm.seconds * plan.seconds * SPARE) + plan.batch_size * plan.clients * 4
        report(f"signing {wanted} transactions")
        signed = _sign(signers, wanted)
        size = len(signed[0][0])
        await sockets.settle()
        report(f"load for {plan.seconds:.0f} s")
        first = await sockets.height(0)
        cpu, own = _cpu(devnet), time.process_time()
        full = await _load(plan, sockets, signers, plan.seconds, signed)
        cpu, own = _cpu(devnet) - cpu, time.process_time() - own
        blocks = await sockets.settle() - first
        resident = max(peak_resident_bytes(_pid(devnet, n)) for n in devnet.numbers)
        items = warm.items + low.items + full.items
        await _check_everywhere(sockets, signers, items)
    report("stopping")
    devnet.stop()
    disk = [folder_bytes(devnet.data(n)) - before for n, before in zip(devnet.numbers, disk_before, strict=True)]
    return Result(
        authorities=plan.authorities,
        operations=plan.operations,
        charts_per_transaction=plan.charts,
        seconds=round(full.seconds, 2),
        items=full.items,
        transactions=full.transactions,
        items_per_second=round(full.items / full.seconds, 1),
        transactions_per_second=round(full.transactions / full.seconds, 1),
        p50_ms=percentile(full.latencies_ms, 0.50),
        p99_ms=percentile(full.latencies_ms, 0.99),
        low_load_p50_ms=percentile(low.latencies_ms, 0.50),
        low_load_p99_ms=percentile(low.latencies_ms, 0.99),
        cpu_ms_per_item=round(cpu * 1000 / full.items, 3),
        rss_mb_max=round(resident / 1e6, 1),
        disk_bytes_per_item=round(max(disk) / items, 1),
        blocks=blocks,
        in_flight=plan.batch_size * plan.clients * plan.authorities * plan.operations,
        client_cpu_share=round(own / full.seconds, 2),
        cores=os.cpu_count() or 1,
        transaction_bytes=size,
    )


class _Sockets:
    """The nodes' sockets."""

    def __init__(self, devnet: Devnet) -> None:
        self._devnet = devnet
        self._stack = AsyncExitStack()
        self.clients: list[httpx.AsyncClient] = []

    async def __aenter__(self) -> _Sockets:
        for number in self._devnet.numbers:
            transport = httpx.AsyncHTTPTransport(uds=str(self._devnet.socket(number)))
            client = httpx.AsyncClient(transport=transport, base_url="http://node", timeout=TIMEOUT_SECONDS)
            self.clients.append(await self._stack.enter_async_context(client))
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def submit(self, number: int, batch: Sequence[bytes]) -> None:
        """Submit a batch at one node and wait until all of it is final. Raises `BenchFailed` otherwise."""
        headers = {"content-type": "application/octet-stream"}
        answer = await self.clients[number].post(
            "/v1/transactions?wait=final", content=_lists.encode(batch), headers=headers
        )
        if answer.status_code != httpx.codes.OK:
            raise BenchFailed(f"node {number} answered {answer.status_code}: {answer.text[:200]}")
        states = msgspec.json.decode(answer.content)["transactions"]
        odd = [one for one in states if one["status"] != "final"]
        if odd:
            raise BenchFailed(f"node {number}: {len(odd)} of {len(states)} transactions are not final, first: {odd[0]}")

    async def get(self, number: int, path: str) -> Any:
        """A JSON document from one node."""
        answer = await self.clients[number].get(path)
        if answer.status_code != httpx.codes.OK:
            raise BenchFailed(f"node {number} answered {answer.status_code} to {path}")
        return msgspec.json.decode(answer.content)

    async def height(self, number: int) -> int:
        """A node's final height."""
        document = await self.get(number, "/v1/blocks?count=1")
        return int(document[-1]["height"])

    async def settle(self) -> int:
        """Wait until all nodes are at one height; returns it."""
        until = time.monotonic() + SETTLE_SECONDS
        while len(heights := {await self.height(number) for number in range(len(self.clients))}) > 1:
            if time.monotonic() > until:
                raise BenchFailed(f"the nodes are still apart after {SETTLE_SECONDS:.0f} s: heights {sorted(heights)}")
            await asyncio.sleep(0.05)
        return heights.pop()


async def _open_charts(sockets: _Sockets, signers: list[Signer]) -> None:
    for number, signer in enumerate(signers):
        await sockets.submit(number, list(signer.openings(CHARTS_PER_INSTITUTION, _now_ms())))
    for number, signer in enumerate(signers):
        listed = await sockets.get(number, f"/v1/charts?count={CHARTS_PER_INSTITUTION}")
        signer.charts = [one["chart"] for one in listed]
        if len(signer.charts) != CHARTS_PER_INSTITUTION:
            raise BenchFailed(f"node {number} has {len(signer.charts)} charts instead of {CHARTS_PER_INSTITUTION}")


def _sign(signers: list[Signer], count: int) -> list[list[bytes]]:
    now = _now_ms()
    each = -(-count // len(signers))
    return [list(itertools.islice(signer.appends(now), each)) for signer in signers]


async def _load(
    plan: Plan, sockets: _Sockets, signers: list[Signer], seconds: float, signed: list[list[bytes]] | None
) -> Phase:
    """Closed loop for so long. Without `signed`, each batch is signed when it is due."""
    phase = Phase(latencies_ms=[])
    began = time.monotonic()
    until = began + seconds

    async def client(number: int, source: Iterator[bytes]) -> None:
        while time.monotonic() < until:
            batch = list(itertools.islice(source, plan.batch_size))
            sent = time.monotonic()
            await sockets.submit(number, batch)
            took = (time.monotonic() - sent) * 1000
            phase.transactions += len(batch)
            phase.items += len(batch) * plan.operations
            phase.latencies_ms += [took] * len(batch)

    clients = []
    for number, signer in enumerate(signers):
        # If the load rises so far after the warm-up that what was signed is used up, the rest is signed when it is due.
        source = itertools.chain(() if signed is None else signed[number], signer.appends(_now_ms()))
        clients += [asyncio.ensure_future(client(number, source)) for _ in range(plan.clients)]
    try:
        await asyncio.gather(*clients)
    finally:
        for one in clients:
            one.cancel()
    phase.seconds = time.monotonic() - began
    return phase


async def _low_load(sockets: _Sockets, signers: list[Signer]) -> Phase:
    """One transaction at a time, at each node in turn, with a pause between."""
    phase = Phase(latencies_ms=[])
    sources = [signer.appends(_now_ms()) for signer in signers]
    for turn in range(LOW_LOAD_ITEMS):
        number = turn % len(signers)
        batch = [next(sources[number])]
        sent = time.monotonic()
        await sockets.submit(number, batch)
        phase.latencies_ms.append((time.monotonic() - sent) * 1000)
        phase.items += signers[number].entries
        await asyncio.sleep(LOW_LOAD_PAUSE_SECONDS)
    return phase


async def _check_everywhere(sockets: _Sockets, signers: list[Signer], items: int) -> None:
    """Every item stands in a chart's history on every node."""
    for node in range(len(sockets.clients)):
        found = 0
        for signer in signers:
            for chart in signer.charts:
                found += (await sockets.get(node, f"/v1/charts/{chart}"))["events"] - 1
        if found != items:
            raise BenchFailed(f"node {node} has {found} entries, and {items} were answered as final")


def _cpu(devnet: Devnet) -> float:
    return sum(cpu_seconds(_pid(devnet, number)) for number in devnet.numbers)


def _pid(devnet: Devnet, number: int) -> int:
    pid = devnet.pid(number)
    if pid is None:
        raise BenchFailed(f"node {number} is gone: {devnet.last_words(number)}")
    return pid


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all values do not exceed (nearest rank), rounded to 0.1."""
    ordered = sorted(values)
    return round(ordered[max(0, -(-len(ordered) * int(share * 1000) // 1000) - 1)], 1)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
