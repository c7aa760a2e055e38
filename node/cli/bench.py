"""`chartledger bench`: throughput, latency and cost of a network on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from node.bench import Plan, measure
from node.cli.exits import BadArgument
from node.cli.options import JsonOption
from node.cli.output import emit, facts, spinner
from protocol import limits


def bench(
    authorities: Annotated[int, typer.Option("--authorities", min=1, max=32, help="How many nodes.")] = 4,
    *,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="How long the full load lasts.")] = 20.0,
    operations: Annotated[int, typer.Option("--operations", min=1, help="Record entries in a transaction.")] = 1,
    charts: Annotated[int, typer.Option("--charts", min=1, help="Charts that they are spread over.")] = 1,
    batch: Annotated[
        int, typer.Option("--batch", min=0, help="Transactions in a request. Default: 100 items, at least 10.")
    ] = 0,
    clients: Annotated[int, typer.Option("--clients", min=1, help="Requests under way at each node.")] = 2,
    folder: Annotated[Path | None, typer.Option("--folder", help="Keep the network's files here.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a network of its own: transactions signed beforehand, submitted through the sockets, final.

    Everything shares this machine, the load generator included; leave the machine alone meanwhile.
    """
    if operations % charts or charts > limits.OPERATIONS_PER_TRANSACTION:
        raise BadArgument(f"--charts must divide --operations and be at most {limits.OPERATIONS_PER_TRANSACTION}")
    if operations // charts > limits.ENTRIES_PER_OPERATION:
        raise BadArgument(f"an operation holds at most {limits.ENTRIES_PER_OPERATION} entries")
    plan = Plan(authorities, seconds, operations, charts, batch, clients)
    with spinner("bench", quiet=as_json) as tell:
        result = measure(plan, lambda text: tell(text, 0), folder)
    emit(result, as_json, lambda: facts((name, getattr(result, name)) for name in result.__struct_fields__))
