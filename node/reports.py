"""Puts an authority's contradicting votes on the ledger, which takes its authority away and keeps them for ever.

Every node that comes to hold both votes reports them, since each may be the only one; the ledger takes the first report
and refuses the rest.
"""

from __future__ import annotations

import asyncio

from node.driver import Evidence
from node.logs import get_logger
from node.storage.ledger_store import LedgerStore
from node.submission import Submission
from protocol.codec.canonical import encode
from protocol.errors import AlreadyReported, BadEvidence, ChartledgerError
from protocol.ledger import keys
from protocol.types.governance import ReportEquivocation
from protocol.types.operations import SignedOperation

log = get_logger("reports")

AGAIN_S = 5.0
"""How long until a report that could not be submitted, perhaps for want of room, is tried again."""


class Reports:
    """This node's reports of equivocation, each until it is in the outbox or on the ledger."""

    def __init__(self, store: LedgerStore, submission: Submission) -> None:
        self._store = store
        self._submission = submission
        self._waiting: dict[tuple[int, int], Evidence] = {}
        self._wake = asyncio.Event()

    def add(self, evidence: Evidence) -> None:
        """Report this, unless that was done. Evidence is told once for each authority of an epoch."""
        self._waiting[evidence.epoch, evidence.index] = evidence
        self._wake.set()

    async def run(self) -> None:
        """Submit what waits, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                for place, evidence in list(self._waiting.items()):
                    if await self._done(evidence):
                        del self._waiting[place]
                if self._waiting:
                    await asyncio.sleep(AGAIN_S)

    async def _done(self, evidence: Evidence) -> bool:
        key = keys.evidence(evidence.epoch, evidence.index)
        if key in await self._store.read_leaves([key]):
            return True
        first, second = sorted((evidence.first, evidence.second), key=encode)
        try:
            prepared = await self._submission.prepare([[SignedOperation(ReportEquivocation(first, second))]])
            await self._submission.submit(prepared)
        except (AlreadyReported, BadEvidence) as error:
            log.info("equivocation not reported", institution=evidence.institution, reason=str(error))
            return True
        except ChartledgerError as error:
            log.warning("equivocation not reported yet", institution=evidence.institution, reason=str(error))
            return False
        log.info("equivocation reported", institution=evidence.institution, epoch=evidence.epoch)
        return True
