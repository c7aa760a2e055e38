"""Many histories, on all cores: which seeds are played by which process, and what of each comes back.

A history is one `World` of one seed and knows nothing of others, so they are shared out one at a time to processes that
are started afresh (spawn) and told their seeds through a pipe. Nothing is kept of a history but its `Outcome`, and
nothing of an outcome but what its consumer keeps, so memory does not grow with the number of seeds. A process that dies
is itself an outcome: of the seed that it was playing.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from msgspec import Struct

from node.simulation.history import History
from node.simulation.oracles.base import Failure
from node.simulation.plan import Plan, draw
from node.simulation.trace import last_views
from node.simulation.world import World

FORGETFUL = 50
"""One seed in so many shares neither verified signatures nor executed blocks between the nodes of the process."""
STEP = 1.02
"""Ratio between one bucket of `Times` and the next: what a quantile may be wrong by."""
END_S = 5.0
"""How long a process may take to end before it is killed."""


class Order(Struct, frozen=True):
    """What is asked of every seed; None leaves it to the seed. `patients`: whether any take part, if the seed says
    so."""

    nodes: int | None = None
    traitors: int | None = None
    profile: str | None = None
    patients: bool = True

    def plan(self, seed: int) -> Plan:
        """The plan of this seed."""
        return draw(seed, self.nodes, self.traitors, self.profile, patients=self.patients)


class Times:
    """How long things took, in milliseconds of simulated time: counted in buckets of 2 %, so that a million of them
    take no more room than a thousand, and those of many histories are added up."""

    def __init__(self, counts: dict[int, int] | None = None) -> None:
        self.counts = dict(counts or {})

    def add(self, times_ms: Iterable[float]) -> None:
        """Count these."""
        for time_ms in times_ms:
            bucket = round(math.log(max(time_ms, 0.5)) / math.log(STEP))
            self.counts[bucket] = self.counts.get(bucket, 0) + 1

    def merge(self, counts: dict[int, int]) -> None:
        """Count another's."""
        for bucket, count in counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count

    def quantile(self, share: float) -> float | None:
        """The time that this share of them did not exceed; None of none."""
        left = share * sum(self.counts.values())
        for bucket in sorted(self.counts):
            left -= self.counts[bucket]
            if left <= 0:
                return float(STEP**bucket)
        return None


class Outcome(Struct, frozen=True):
    """What is left of one history. Times by bucket of `Times`; `cpu_ms` is what it took to play; `happened` is how
    often what happened to charts."""

    seed: int
    profile: str
    authorities: int
    traitors: int
    event_hash: str
    simulated_ms: float
    cpu_ms: float
    heights: int
    epochs: int
    from_submission: dict[int, int]
    from_proposal: dict[int, int]
    failure: Failure | None = None
    trace: tuple[str, ...] = ()
    patients: int = 0
    happened: dict[str, int] = {}


def remembers(seed: int) -> bool:
    """Whether the nodes of this seed's history share what one of them verified and executed."""
    return seed % FORGETFUL != 0


def play_plan(plan: Plan) -> History:
    """One history. What the engine itself trips over is a crash, too: a history without an end has no meaning."""
    try:
        return World(plan, remember=remembers(plan.seed)).run()
    except Exception:
        return History.broken(plan, Failure("crash", "engine", traceback.format_exc(), 0))


def play(seed: int, order: Order) -> Outcome:
    """The outcome of one seed."""
    begun = time.process_time()
    plan = order.plan(seed)
    history = play_plan(plan)
    return outcome(history, (time.process_time() - begun) * 1000)


def outcome(history: History, cpu_ms: float) -> Outcome:
    """What to keep of a history."""
    plan, stats = history.plan, history.stats
    submission, proposal = Times(), Times()
    submission.add(stats.from_submission_ms)
    proposal.add(stats.from_proposal_ms)
    return Outcome(
        history.seed,
        plan.profile,
        plan.authorities,
        len(plan.traitors),
        history.event_hash,
        history.simulated_ms,
        cpu_ms,
        max(history.heights, default=0),
        stats.epochs,
        submission.counts,
        proposal.counts,
        history.failure,
        last_views(history.trace_tail) if history.failure is not None else (),
        plan.patients,
        history.happened,
    )


def play_all(seeds: Iterable[int], order: Order, jobs: int) -> Generator[Outcome, None, None]:
    """Outcomes as they come, in any order. Close the iterator to stop early: that ends the processes."""
    if jobs == 1:
        for seed in seeds:
            yield play(seed, order)
        return
    workers: list[_Worker] = []
    rest = iter(seeds)
    try:
        with _deaf_to_interrupts():  # inherited, so that Ctrl-C reaches this process alone, which then ends the others
            for seed in _first(rest, jobs):
                workers.append(_Worker(order, seed))
        while workers:
            ready = wait([worker.pipe for worker in workers])
            for worker in [worker for worker in workers if worker.pipe in ready]:
                yield worker.result()
                following = next(rest, None)
                if following is None or not worker.give(following):
                    workers.remove(worker)
                    worker.end()
                    if following is not None:
                        workers.append(_Worker(order, following))
    finally:
        for worker in workers:
            worker.end()


def cores() -> int:
    """How many processes this machine runs at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Worker:
    """One process and the seed that it is playing."""

    def __init__(self, order: Order, seed: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.order = order
        self.seed = seed
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(theirs, order), daemon=True)
        self.process.start()
        theirs.close()
        self.pipe.send(seed)

    def result(self) -> Outcome:
        """What it sends; if it died, that is the outcome."""
        try:
            told: Outcome = self.pipe.recv()
        except EOFError:
            self.process.join()
            code = self.process.exitcode
            sentence = f"the process that played it ended by itself, with exit code {code}"
            plan = self.order.plan(self.seed)
            return outcome(History.broken(plan, Failure("crash", "process", sentence, 0)), 0.0)
        return told

    def give(self, seed: int) -> bool:
        """The next seed to play; returns whether the process is there to play it."""
        self.seed = seed
        try:
            self.pipe.send(seed)
        except OSError:
            return False
        return True

    def end(self) -> None:
        """End the process, by its own id, and wait until it has."""
        self.pipe.close()
        self.process.terminate()
        self.process.join(END_S)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()


def _serve(pipe: Connection, order: Order) -> None:
    """What a process does: plays what it is told until nobody tells it any more, also because the teller died."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            seed = pipe.recv()
        except EOFError:
            return
        told = play(seed, order)
        try:
            pipe.send(told)
        except BrokenPipeError:
            return


def _first(seeds: Iterator[int], count: int) -> list[int]:
    return [seed for _, seed in zip(range(count), seeds, strict=False)]


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Python keeps an ignored SIGINT ignored in what it starts; only the main thread can say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
