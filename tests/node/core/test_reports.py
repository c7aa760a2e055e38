"""A report of equivocation is made until the evidence is on the ledger, and not twice at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from node import reports
from node.reports import Reports
from node.sansio.stepping import Evidence
from node.services import Dead, Outcome, Prepared, Waiting
from protocol.errors import Busy, ChartledgerError, Expired
from protocol.ledger import keys
from protocol.types.operations import SignedOperation
from protocol.types.votes import NOTARIZE, Vote, VoteSubject


def vote(block: int) -> Vote:
    return Vote(VoteSubject(NOTARIZE, bytes(32), 3, 7, 6, bytes([block]) * 32), 2, bytes(64))


EVIDENCE = Evidence(3, 2, 5, vote(1), vote(2))


class Ledger:
    """Store and submission: refuses with what is in `refuses`, then keeps; `outcome` is what became of all it kept."""

    def __init__(self, refuses: Sequence[ChartledgerError] = ()) -> None:
        self.refuses = list(refuses)
        self.outcome: Outcome = Waiting.PENDING
        self.kept: list[Prepared] = []
        self.final = False
        self.looked = asyncio.Event()

    async def read_leaves(self, wanted: Sequence[bytes]) -> dict[bytes, bytes]:
        assert wanted == [keys.evidence(3, 2)]
        self.looked.set()
        return dict.fromkeys(wanted, b"") if self.final else {}

    async def prepare(self, batches: Sequence[Sequence[SignedOperation]]) -> list[Prepared]:
        if self.refuses:
            raise self.refuses.pop(0)
        return [Prepared(bytes([len(self.kept)]) * 32, b"", len(self.kept), 0)]

    async def submit(self, prepared: Sequence[Prepared]) -> None:
        self.kept += prepared

    async def outcomes(self, ids: Sequence[bytes], wait_s: float) -> list[Outcome]:
        return [self.outcome]

    async def look_often(self, times: int = 3) -> None:
        for _ in range(times):
            self.looked.clear()
            async with asyncio.timeout(30):
                await self.looked.wait()


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "AGAIN_S", 0.001)


async def report(ledger: Ledger) -> tuple[Reports, asyncio.Task[None]]:
    made = Reports(cast(Any, ledger), cast(Any, ledger))
    running = asyncio.create_task(made.run())
    made.add(EVIDENCE)
    await ledger.look_often()
    return made, running


async def end(running: asyncio.Task[None]) -> None:
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_report_is_made_once_while_it_waits_and_ends_with_the_evidence_on_the_ledger() -> None:
    ledger = Ledger([Busy()])
    made, running = await report(ledger)
    await ledger.look_often()
    assert len(ledger.kept) == 1
    ledger.final = True
    await ledger.look_often(1)
    await asyncio.sleep(0)
    assert not made._waiting
    await end(running)


async def test_a_report_that_ran_out_is_made_again() -> None:
    ledger = Ledger()
    _, running = await report(ledger)
    assert len(ledger.kept) == 1
    ledger.outcome = Dead(ledger.kept[0].id, Expired())
    await ledger.look_often()
    assert len(ledger.kept) >= 2
    await end(running)
